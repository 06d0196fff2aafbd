"""How soon after a datanode's death does repair begin, and how fast is it?

Every block is on three datanodes and a fourth is empty when one of the three is killed, so that all
of the file is copied to the fourth, once. How soon is compared with the time that the cluster waits
by its settings before it calls a datanode dead: one that was killed breaks its connection, and
`dead_after` begins; one that stands still is silent for `stale_after` before. How fast is compared
with a plain durable copy of the same bytes on the same disk, with `repair_rate` so high that it
bounds nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.cluster import BenchCluster, Daemon
from benchmarks.figures import MIB_PER_S, SECONDS, Line, Reading, compare
from benchmarks.harness import Benchmark, Workshop
from benchmarks.local_files import copy_files, write_blocks
from benchmarks.machine import Room
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import timed
from benchmarks.write_file import write
from dolmen.protocol.operator_messages import ClusterReport

REPLICATION = 3

FILES = 2
"""So many files of the size that others are measured with."""

NOTICED_WITHIN_S = 0.5
"""How much later than the settings demand repair may begin: our aim."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    sizes = workshop.sizes
    sources = [workshop.directory / f"local-{number}" for number in range(FILES)]
    for source in sources:
        await asyncio.to_thread(write_blocks, source, sizes)
    async with workshop.cluster(REPLICATION, **{"repair-rate": "1TiB"}) as cluster:
        for number in range(FILES):
            await write(cluster.client, f"/file-{number}", sizes.file_bytes)
        # A round takes longer than dead_after, and nothing in it is faster the second time.
        sides = _Sides(cluster, sources, sizes)
        repaired, copied = await workshop.interleave(sides.killed, sides.local, warm_up=False)
        hung = await sides.stopped()
    dead_s, stale_s = sizes.dead_after_ms / 1000, sizes.stale_after_ms / 1000
    waits = [Reading(dead_s)] * len(sides.begun)
    yield compare("kill to repair", SECONDS, sides.begun, ("dead_after", waits)).aiming_at(
        figure=dead_s + NOTICED_WITHIN_S
    )
    silent = ("stale_after and dead_after", [Reading(stale_s + dead_s)])
    yield compare("SIGSTOP to repair", SECONDS, [hung], silent).aiming_at(
        figure=stale_s + dead_s + NOTICED_WITHIN_S
    )
    name = f"repair of {FILES * sizes.file_bytes / MIB:,.0f} MiB"
    yield compare(
        name, MIB_PER_S, repaired, ("one local copy, fdatasync, 1 thread", copied)
    ).aiming_at(ratio=0.5)


@dataclass
class _Sides:
    """A death and its repair; and copies of the same bytes."""

    cluster: BenchCluster
    sources: list[Path]
    sizes: Sizes
    begun: list[Reading] = field(default_factory=list)
    """How long after each kill repair began."""
    _numbers: "count[int]" = field(default_factory=count)

    async def killed(self) -> Reading:
        """Kill the first that holds the files, and see an empty one get them."""
        newcomer = await self._newcomer()
        self.begun.append(await self._until_repair(self._victim().kill))
        started_s = time.perf_counter()
        wanted = FILES * -(-self.sizes.file_bytes // self.sizes.block_bytes)
        await self._until_holds(newcomer, wanted)
        return self._rate(time.perf_counter() - started_s)

    async def stopped(self) -> Reading:
        """Let one stand still that holds the files, until its blocks are repaired."""
        await self._newcomer()
        return await self._until_repair(self._victim().pause)

    async def local(self) -> Reading:
        """Copy the files."""
        number = next(self._numbers)

        def copy() -> None:
            for source in self.sources:
                copy_files(sorted(source.iterdir()), source.with_suffix(f".{number}"))

        return self._rate(timed(copy))

    def _rate(self, elapsed_s: float) -> Reading:
        return Reading(FILES * self.sizes.file_bytes / MIB / elapsed_s)

    def _victim(self) -> Daemon:
        return next(datanode for datanode in self.cluster.datanodes if datanode.runs)

    async def _newcomer(self) -> Daemon:
        newcomer = self.cluster.add_datanode()
        await self.cluster.until_datanodes(REPLICATION + 1)
        return newcomer

    async def _until_repair(self, harm: Callable[[], None]) -> Reading:
        """Harm a datanode; return how long it took until blocks were being copied."""
        newcomer = self.cluster.datanodes[-1].name

        def begins(now: ClusterReport) -> bool:
            return now.pending_transfers > 0 or _blocks_on(newcomer, now) > 0

        started_s = time.perf_counter()
        harm()
        await self.cluster.until_report(begins, "the first copy")
        return Reading(time.perf_counter() - started_s)

    async def _until_holds(self, datanode: Daemon, blocks: int) -> None:
        await self.cluster.until_report(
            lambda now: _blocks_on(datanode.name, now) >= blocks, f"{blocks} repaired blocks"
        )


def _blocks_on(name: str, now: ClusterReport) -> int:
    return sum(one.blocks for one in now.datanodes if one.host == name)


def _room(sizes: Sizes) -> Room:
    copies = FILES * (REPLICATION + 1 + 2 * sizes.rounds + 1)
    return Room(copies * sizes.file_bytes + GIB, GIB)


BENCHMARK = Benchmark(
    "repair",
    "how soon after a datanode's death repair begins, and how fast it is",
    run,
    _room,
    fills_page_cache=True,
)
