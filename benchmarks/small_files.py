"""How many files of 4 KiB a second do programs make, each durable before the next is begun?

The limit makes the same files with plain system calls: each three times, written, synced, given its
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
from dolmen.client import Client, ClientOptions
from dolmen.runtime.real_machine import real_machine

CONTENT = DATA[: 4 * 1024]

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
                sides = _Sides(cluster, crew, workshop.sizes.rate_s)
                ours, bare = await workshop.interleave(sides.dolmen, sides.local)
            yield compare(
                f"create 4 KiB files, {processes} process{'es' if processes > 1 else ''}",
                PER_S,
                ours,
                (f"{COPIES} local files each, fdatasync, rename, fsync", bare),
                cpu_notes(ours, bare, "s/1000"),
            )


class _Sides:
    """The two ways to make files, by a crew of processes."""

    def __init__(self, cluster: BenchCluster, crew: Sequence[Worker], for_s: float) -> None:
        self._cluster = cluster
        self._crew = crew
        self._for_s = for_s

    async def dolmen(self) -> Reading:
        return await self._made(
            "dolmen", self._cluster.meter([worker.pid for worker in self._crew])
        )

    async def local(self) -> Reading:
        return await self._made("local", Meter({"limit": [worker.pid for worker in self._crew]}))

    async def _made(self, side: str, meter: Meter) -> Reading:
        for worker in self._crew:
            worker.ask((side, self._for_s))
        answers = [await asyncio.to_thread(worker.answer) for worker in self._crew]
        made = sum(answers)
        return Reading(made / meter.elapsed_s, meter.cpu_s_per(max(1.0, made) / 1000))


def work(pipe: Connection, address: str, folder: Path) -> None:
    """Make files as the pipe says, one way or the other, and say how many."""
    asyncio.run(_work(pipe, address, folder))


async def _work(pipe: Connection, address: str, folder: Path) -> None:
    numbers = count()
    async with Client(real_machine(), ClientOptions(namenode=address)) as client:
        while True:
            side, for_s = await asyncio.to_thread(pipe.recv)
            place = f"{folder.name}-{next(numbers)}"
            if side == "dolmen":
                made = await _store_small_files(client, f"/{folder.parent.name}/{place}", for_s)
            else:
                made = make_small_files(folder / place, CONTENT, for_s)
            pipe.send(made)


async def _store_small_files(client: Client, path: str, for_s: float) -> int:
    made, until_s = 0, time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        await client.write_file(f"{path}/{made}", CONTENT)
        made += 1
    return made


def _room(sizes: Sizes) -> Room:
    rounds = len(sizes.processes) * 2 * (sizes.rounds + 1)
    files = int(rounds * sizes.rate_s * MOST_PER_S) * COPIES
    return Room(files * 4 * 4096 + GIB, (sizes.processes[-1] + 8) * 80 * MIB)


BENCHMARK = Benchmark(
    "small-files", "how many files of 4 KiB a second are made, by 1 process and by 8", run, _room
)
