"""Does a namenode stay level while it has much to do?

A client asks about one file every few milliseconds, from a process of its own, while two datanodes
report a replica of each of a million blocks in full, safe mode ends and all blocks are looked at,
one datanode dies and all its blocks are to be repaired, it returns and reports again, and at last
all files are deleted in one call. The figure is the longest that any call had to wait, or, while
files are deleted, what 99 of 100 calls did not exceed; the limit is the same client's wait while
nothing else happens. The datanodes are scripted ones, and a third has nothing: copies are ordered
from it, and not made.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import MILLISECONDS, Line, Reading, compare
from benchmarks.harness import Benchmark, Workshop
from benchmarks.load_namespace import (
    FILES_PER_DIRECTORY,
    LENGTH_BYTES,
    block_digest_of,
    file_path,
    load,
)
from benchmarks.lone_namenode import LoneNamenode
from benchmarks.machine import Room
from benchmarks.peers import Worker
from benchmarks.scripted_datanode import ScriptedDatanode
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.stat_probe import Probe, Waits
from benchmarks.usage import memory_bytes
from dolmen.client import Client
from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState
from dolmen.protocol.identifiers import block_namespace, block_number, make_block_id
from dolmen.runtime.machine import Machine
from dolmen.runtime.real_machine import real_machine

REPLICATION = 2

LONGEST_MS = 50.0
LONGEST_OF_99_MS = 20.0
"""Our aims: for any call at all, and for 99 of 100 while files are deleted."""

TREE = "/tree"

BYTES_PER_FILE = 4000
"""Above what tables, log, and checkpoints take, and the replica map."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    sizes, directory = workshop.sizes, workshop.directory / "namenode"
    files = sizes.level_files
    await asyncio.to_thread(_load, directory, files)
    namenode = LoneNamenode(directory, _settings(sizes))
    try:
        await namenode.start(file_path(0))
        async with namenode.client() as client:
            cluster = await _Cluster.of(namenode, client, files)
            with Probe(namenode.address, file_path(0)) as probe:
                async for line in _phases(cluster, probe, sizes):
                    yield line
            await cluster.close()
    finally:
        namenode.kill()


async def _phases(cluster: "_Cluster", probe: Probe, sizes: Sizes) -> AsyncIterator[Line]:
    async def measure(work: Callable[[], Awaitable[object]]) -> tuple[Waits, float]:
        await asyncio.to_thread(probe.waits)
        begun_s = time.perf_counter()
        await work()
        took_s = time.perf_counter() - begun_s
        return await asyncio.to_thread(probe.waits), took_s

    idle, _ = await measure(lambda: asyncio.sleep(sizes.rate_s))
    for name, work in (
        ("full reports", cluster.report),
        ("all looked at", cluster.until_looked_at),
        ("one datanode dead", cluster.death),
        ("it returns", cluster.rejoin),
    ):
        waits, took_s = await measure(work)
        longest, limit = Reading(waits.longest_ms), ("the same, idle", [Reading(idle.longest_ms)])
        notes = f"{waits.notes()}; {took_s:.0f} s; {cluster.memory()}"
        yield compare(
            f"stat, {cluster.files:,} blocks, {name}", MILLISECONDS, [longest], limit, notes
        ).aiming_at(figure=LONGEST_MS)
    await cluster.gather_tree()
    waits, took_s = await measure(cluster.delete_tree)
    limit = ("the same, idle", [Reading(idle.share_ms(0.99))])
    notes = f"{waits.notes()}; {took_s:.0f} s; {cluster.memory()}"
    yield compare(
        f"stat, {cluster.files:,} files being deleted",
        *(MILLISECONDS, [Reading(waits.share_ms(0.99))], limit, notes),
    ).aiming_at(figure=LONGEST_OF_99_MS)


@dataclass(frozen=True)
class _Cluster:
    """The namenode under measurement, its scripted datanodes, and what is done to them."""

    namenode: LoneNamenode
    client: Client
    machine: Machine
    datanodes: tuple[ScriptedDatanode, ...]
    block_ids: tuple[int, ...]
    first_stamp: int

    @classmethod
    async def of(cls, namenode: LoneNamenode, client: Client, files: int) -> "_Cluster":
        """Make the datanodes for a namespace that `load` has filled: one block after the other,
        one stamp after the other."""
        first, last = [
            await anext(client.locate_blocks(file_path(number))) for number in (0, files - 1)
        ]
        namespace_id, number = block_namespace(first.block_id), block_number(first.block_id)
        block_ids = tuple(make_block_id(namespace_id, number + place) for place in range(files))
        loaded = (block_ids[-1], first.stamp + files - 1)
        assert (last.block_id, last.stamp) == loaded, "blocks were not numbered as they were loaded"
        machine = real_machine()
        datanodes = tuple(
            ScriptedDatanode(machine, namenode.address, namenode.secret, number)
            for number in range(REPLICATION + 1)
        )
        return cls(namenode, client, machine, datanodes, block_ids, first.stamp)

    @property
    def files(self) -> int:
        """How many files there are, each of one block."""
        return len(self.block_ids)

    def memory(self) -> str:
        """Return what the namenode takes of memory that no file stands behind."""
        return f"anonymous {memory_bytes(self.namenode.pid, 'RssAnon') / MIB:,.0f} MiB"

    async def report(self) -> None:
        """Have all datanodes report in full, one of them nothing."""
        *full, empty = self.datanodes
        await empty.join((), self._replica)
        async with asyncio.TaskGroup() as reports:
            for datanode in full:
                reports.create_task(datanode.join(self.block_ids, self._replica))

    async def until_looked_at(self) -> None:
        """Return when the walks over blocks are done that the end of safe mode, or a return, has
        begun."""
        await self.namenode.until_metric("dolmen_namenode_walks", 0)

    async def death(self) -> None:
        """Break a datanode's connection, and wait until all its blocks lack a replica."""
        await self.datanodes[0].leave()
        await self.namenode.until_report(
            self.client, lambda now: now.under_replicated_blocks == self.files
        )

    async def rejoin(self) -> None:
        """Have it return, and wait until no block lacks a replica."""
        await self.datanodes[0].join(self.block_ids, self._replica)
        await self.namenode.until_report(self.client, lambda now: now.under_replicated_blocks == 0)

    async def gather_tree(self) -> None:
        """Bring all directories but the first, whose file is asked about, below one."""
        await self.client.make_directory(TREE)
        for number in range(FILES_PER_DIRECTORY, self.files, FILES_PER_DIRECTORY):
            directory = file_path(number).rpartition("/")[0]
            await self.client.rename(directory, TREE + directory)

    async def delete_tree(self) -> None:
        """Delete it, and wait until nothing is left of it, here and on the datanodes."""
        await self.client.delete(TREE, recursive=True)
        left = REPLICATION * min(self.files, FILES_PER_DIRECTORY)
        await self.namenode.until_metric("dolmen_namenode_replicas", left)

    async def close(self) -> None:
        """End the datanodes."""
        for datanode in self.datanodes:
            await datanode.leave()
        await self.machine.transport.close()

    def _replica(self, block_id: int, storage_id: str) -> ReplicaReport:
        number = block_number(block_id) - block_number(self.block_ids[0])
        return ReplicaReport(
            *(block_id, self.first_stamp + number, LENGTH_BYTES),
            *(ReplicaState.FINALIZED, block_digest_of(number)),
        )


def _settings(sizes: Sizes) -> dict[str, str]:
    return {
        "heartbeat-interval": f"{sizes.stale_after_ms // 3}ms",
        "stale-after": f"{sizes.stale_after_ms}ms",
        "dead-after": f"{sizes.dead_after_ms}ms",
        "delete-after": "1s",
        "block-token-life": "2s",  # deleted blocks are kept as long
        "reserved-space": "0B",
    }


def _load(directory: Path, files: int) -> None:
    with Worker(load, directory, range(files), REPLICATION) as worker:
        while worker.answer() < files:
            pass


def _room(sizes: Sizes) -> Room:
    return Room(sizes.level_files * BYTES_PER_FILE + GIB, sizes.level_files * 2000 + GIB)


BENCHMARK = Benchmark(
    "namenode-level",
    "how long a stat waits while datanodes with a million blocks report, die and return",
    run,
    _room,
    only_named=True,
)
