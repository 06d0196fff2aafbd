"""How long after a datanode's death is the first block whole again, and how long until all are?

Every block is on three datanodes and a fourth is empty when one of the three is killed, so that all
of the file is copied to the fourth, once. The limit is the time that the cluster waits by its
settings before it calls a datanode dead (`dead_after`), and then a plain durable copy of the same
bytes on the same disk.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmarks.cluster import BenchCluster, Daemon
from benchmarks.figures import SECONDS, Line, Reading, compare
from benchmarks.harness import Benchmark, Workshop
from benchmarks.local_files import copy_files, write_blocks
from benchmarks.machine import Room
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import timed
from benchmarks.write_file import write
from dolmen.protocol.operator_messages import ClusterReport

REPLICATION = 3


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    sizes = workshop.sizes
    source = workshop.directory / "local"
    await asyncio.to_thread(write_blocks, source, sizes)
    async with workshop.cluster(REPLICATION) as cluster:
        await write(cluster.client, "/file", sizes.file_bytes)
        # A round takes longer than dead_after, and nothing in it is faster the second time.
        sides = _Sides(cluster, source, sizes)
        whole, copied = await workshop.interleave(sides.dolmen, sides.local, warm_up=False)
    waits = f"dead_after {sizes.dead_after_ms / 1000:g} s"
    first = (f"{waits}, then copying one block", sides.first_copied)
    yield compare("kill to first block repaired", SECONDS, sides.first, first)
    name = f"kill to {sizes.file_bytes / MIB:,.0f} MiB repaired"
    yield compare(name, SECONDS, whole, (f"{waits}, then copying as much", copied))


@dataclass
class _Sides:
    """A death and its repair; and copies of the same bytes."""

    cluster: BenchCluster
    source: Path
    sizes: Sizes
    first: list[Reading] = field(default_factory=list)
    first_copied: list[Reading] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    async def dolmen(self) -> Reading:
        """Kill the first that holds the file, and see an empty one get it."""
        newcomer = self.cluster.add_datanode()
        await self.cluster.until_datanodes(REPLICATION + 1)
        victim = next(datanode for datanode in self.cluster.datanodes if datanode.runs)
        wanted = -(-self.sizes.file_bytes // self.sizes.block_bytes)
        started_s = time.perf_counter()
        victim.kill()
        await self._until_holds(newcomer, 1)
        self.first.append(Reading(time.perf_counter() - started_s))
        await self._until_holds(newcomer, wanted)
        return Reading(time.perf_counter() - started_s)

    async def local(self) -> Reading:
        """Copy one block, and all of them."""
        blocks = sorted(self.source.iterdir())
        folder = self.source.with_name(f"copy-{next(self._numbers)}")
        one_s = timed(lambda: copy_files(blocks[:1], folder.with_suffix(".first")))
        all_s = timed(lambda: copy_files(blocks, folder))
        waited_s = self.sizes.dead_after_ms / 1000
        self.first_copied.append(Reading(waited_s + one_s))
        return Reading(waited_s + all_s)

    async def _until_holds(self, datanode: Daemon, blocks: int) -> None:
        def holds(now: ClusterReport) -> bool:
            return any(one.host == datanode.name and one.blocks >= blocks for one in now.datanodes)

        await self.cluster.until_report(holds, f"{blocks} repaired blocks")


def _room(sizes: Sizes) -> Room:
    files = REPLICATION + 1 + 2 * sizes.rounds + 1
    return Room(files * sizes.file_bytes + GIB, GIB)


BENCHMARK = Benchmark(
    "repair",
    "how long after a datanode's death the first block is repaired, and how long until all are",
    run,
    _room,
    fills_page_cache=True,
)
