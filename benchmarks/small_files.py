"""How many small files a second do programs make, each durable before the next is begun?

A program opens, writes and closes them by the synchronous filesystem. Those of 4 KiB the namenode
keeps itself; those of 12 KiB are just too long for that, and get a block with three replicas. The
limit makes the same files with plain system calls: each three times, written, synced, given its
name, its directory synced. One process waits for the disk and for answers; eight show what the
group commits of namenode and file system are worth.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.cluster import BenchCluster
from benchmarks.figures import PER_S, Line, Reading, compare, cpu_notes
from benchmarks.harness import Benchmark, Workshop
from benchmarks.local_files import COPIES, DATA, make_small_files
from benchmarks.machine import Room
from benchmarks.peers import Worker
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import Meter
from dolmen.protocol.identifiers import parse_address
from fsspec_plugin.filesystem import DolmenFileSystem

LENGTHS_KIB = (4, 12)

AIMS_PER_S = {(4, 1): 1500, (4, 8): 5000}
"""For files of so many KiB, made by so many processes at once."""

MOST_PER_S = 2000
"""More than any machine makes, for the room that they take."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    async with workshop.cluster() as cluster:
        for processes in workshop.sizes.processes:
            folder = workshop.folder(f"local-{processes}")
            with ExitStack() as closing:
                crew = [
                    closing.enter_context(Worker(work, cluster.address, folder / str(number)))
                    for number in range(processes)
                ]
                for kib in LENGTHS_KIB:
                    sides = _Sides(cluster, crew, kib * 1024, workshop.sizes.rate_s)
                    ours, bare = await workshop.interleave(sides.dolmen, sides.local)
                    line = _line(f"create {kib} KiB files, {processes}", ours, bare)
                    aim = AIMS_PER_S.get((kib, processes))
                    yield line if aim is None else line.aiming_at(figure=aim)


def _line(name: str, ours: Sequence[Reading], bare: Sequence[Reading]) -> Line:
    limit_name = f"{COPIES} local files each, fdatasync, rename, fsync"
    notes = cpu_notes(ours, bare, "s/1000")
    return compare(f"{name} at once", PER_S, ours, (limit_name, bare), notes)


class _Sides:
    """The two ways to make files, by a crew of processes."""

    def __init__(
        self, cluster: BenchCluster, crew: Sequence[Worker], length_bytes: int, for_s: float
    ) -> None:
        self._cluster = cluster
        self._crew = crew
        self._length_bytes = length_bytes
        self._for_s = for_s

    async def dolmen(self) -> Reading:
        return await self._made(
            "dolmen", self._cluster.meter([worker.pid for worker in self._crew])
        )

    async def local(self) -> Reading:
        return await self._made("local", Meter({"limit": [worker.pid for worker in self._crew]}))

    async def _made(self, side: str, meter: Meter) -> Reading:
        for worker in self._crew:
            worker.ask((side, self._length_bytes, self._for_s))
        answers = [await asyncio.to_thread(worker.answer) for worker in self._crew]
        made = sum(answers)
        return Reading(made / meter.elapsed_s, meter.cpu_s_per(max(1.0, made) / 1000))


def work(pipe: Connection, address: str, folder: Path) -> None:
    """Make files as the pipe says, one way or the other, and say how many."""
    host, port = parse_address(address)
    filesystem = DolmenFileSystem(host, port)
    for number in count():
        side, length_bytes, for_s = pipe.recv()
        place, content = f"{folder.name}-{number}", DATA[:length_bytes]
        if side == "dolmen":
            path = f"/{folder.parent.name}/{place}"
            pipe.send(_store_small_files(filesystem, path, content, for_s))
        else:
            pipe.send(make_small_files(folder / place, content, for_s))


def _store_small_files(
    filesystem: DolmenFileSystem, path: str, content: bytes, for_s: float
) -> int:
    made, until_s = 0, time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        with filesystem.open(f"{path}/{made}", "wb") as file:
            file.write(content)
        made += 1
    return made


def _room(sizes: Sizes) -> Room:
    rounds = len(sizes.processes) * len(LENGTHS_KIB) * 2 * (sizes.rounds + 1)
    files = int(rounds * sizes.rate_s * MOST_PER_S) * COPIES
    return Room(files * 5 * 4096 + GIB, (sizes.processes[-1] + 8) * 80 * MIB)


BENCHMARK = Benchmark(
    "small-files", "how many small files a second are made, by 1 process and by 8", run, _room
)
