"""Does a namenode stay level while ten million files are made by real calls?

Clients create files of one block, and a scripted datanode reports its only replica: the three calls
of a writer (create, allocate, publish) and the incremental report that the last one waits for, many
on their way over each of a few connections. The ratio of the first line is that of each tenth of
the files to the first one. Then: what a file takes on disk (tables alone; log and checkpoints are
trimmed), what memory, how long a start takes after a clean end and after `kill -9`, and how long a
stat waits. The limits of these are the same of an empty namenode, and the bytes of names, ids,
times and digests alone.

One client process makes all calls, and is about as busy as the namenode.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from benchmarks.disk_bytes import tables_line
from benchmarks.figures import MIB, PER_S, SECONDS, Line, Reading, compare
from benchmarks.figures import MILLISECONDS as IN_MS
from benchmarks.harness import Benchmark, Workshop
from benchmarks.load_namespace import file_path
from benchmarks.lone_namenode import LoneNamenode
from benchmarks.machine import Room
from benchmarks.scripted_datanode import ScriptedDatanode
from benchmarks.sizes import GIB, Sizes
from benchmarks.sizes import MIB as MIB_BYTES
from benchmarks.stat_probe import Probe, Waits
from benchmarks.usage import memory_bytes
from dolmen.client import ClientOptions
from dolmen.client.connection import NamenodeConnection
from dolmen.protocol.checksums import DIGEST_BYTES
from dolmen.protocol.client_messages import (
    AllocateBlock,
    AllocatedBlock,
    CommittedBlock,
    CreatedFile,
    CreateFile,
    FileInfo,
    PublishFile,
)
from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState
from dolmen.runtime.real_machine import real_machine

CONNECTIONS = 4
FILES_IN_FLIGHT = 64
"""On each connection."""

PARTS = 10
LENGTH_BYTES = 100 * MIB_BYTES

EMPTY = "the same, empty"

ROOT = "/"
DISK_BYTES_PER_FILE = 6000
"""Above what tables, recorded answers, log, and three checkpoints take."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    files, for_s = workshop.sizes.many_files, workshop.sizes.rate_s
    namenode = LoneNamenode(workshop.directory / "namenode", {"reserved-space": "0B"})
    try:
        empty = await _Restarts.of(namenode, ROOT, for_s)
        rates = await _load(namenode, files)
        name = f"{files:,} files"
        on_disk = tables_line(name, namenode.directory, files)
        full = await _Restarts.of(namenode, file_path(files - 1), for_s)
    finally:
        namenode.kill()
    first = [rates[0]] * (PARTS - 1)
    yield compare(f"{name}: create one block", PER_S, rates[1:], ("the first tenth of them", first))
    yield on_disk
    yield compare(f"{name}: memory", MIB, [full.memory], (EMPTY, [empty.memory]), full.own_memory)
    for what, ours, limit in (
        ("start", full.stopped_s, empty.stopped_s),
        ("after a kill", full.killed_s, empty.killed_s),
    ):
        yield compare(f"{name}: {what}", SECONDS, [Reading(ours)], (EMPTY, [Reading(limit)]))
    ours_ms, limit_ms = full.waits.share_ms(0.99), empty.waits.share_ms(0.99)
    yield compare(
        f"{name}: stat, p99",
        *(IN_MS, [Reading(ours_ms)], (EMPTY, [Reading(limit_ms)]), full.waits.notes()),
    )


class _Restarts:
    """A namenode as it is after it was started: after a clean end, and after a kill."""

    def __init__(self, stopped_s: float, killed_s: float, pid: int, waits: Waits) -> None:
        self.stopped_s = stopped_s
        self.killed_s = killed_s
        self.memory = Reading(memory_bytes(pid) / MIB_BYTES)
        self.own_memory = f"anonymous {memory_bytes(pid, 'RssAnon') / MIB_BYTES:,.0f} MiB"
        self.waits = waits

    @classmethod
    async def of(cls, namenode: LoneNamenode, path: str, for_s: float) -> "_Restarts":
        """Measure, beginning and ending with one that is not running."""
        if not namenode.is_made:
            await namenode.start(path)
            await namenode.stop()
        stopped_s = await namenode.start(path)
        namenode.kill()
        killed_s = await namenode.start(path)
        with Probe(namenode.address, path) as probe:
            await asyncio.to_thread(probe.waits)
            await asyncio.sleep(for_s)
            found = cls(stopped_s, killed_s, namenode.pid, await asyncio.to_thread(probe.waits))
        await namenode.stop()
        return found


async def _load(namenode: LoneNamenode, files: int) -> list[Reading]:
    """Make the files, and return how many a second of each tenth."""
    await namenode.start(ROOT)
    machine = real_machine()
    datanode = ScriptedDatanode(machine, namenode.address, namenode.secret, 0)
    await datanode.join((), lambda block_id, storage_id: None)
    options = ClientOptions(namenode=namenode.address)
    connections = [
        NamenodeConnection(machine, namenode.address, "bench", options) for _ in range(CONNECTIONS)
    ]
    async with namenode.client() as client:
        await namenode.until_report(client, lambda now: now.live_datanodes == 1)
    rates = []
    for part in range(PARTS):
        numbers = range(files * part // PARTS, files * (part + 1) // PARTS)
        begun_s = time.perf_counter()
        await _make(connections, datanode, numbers)
        rates.append(Reading(len(numbers) / (time.perf_counter() - begun_s)))
    for connection in connections:
        await connection.close()
    await datanode.leave()
    await machine.transport.close()
    await namenode.stop()
    return rates


async def _make(
    connections: list[NamenodeConnection], datanode: ScriptedDatanode, numbers: range
) -> None:
    left = iter(numbers)

    async def make(connection: NamenodeConnection) -> None:
        for number in left:
            await _make_one(connection, datanode, number)

    async with asyncio.TaskGroup() as tasks:
        for connection in connections * FILES_IN_FLIGHT:
            tasks.create_task(make(connection))


async def _make_one(
    connection: NamenodeConnection, datanode: ScriptedDatanode, number: int
) -> None:
    """Make one file as a writer does whose datanode stores the block at once."""
    path, digest = file_path(number), number.to_bytes(DIGEST_BYTES, "big")
    created = await connection.call(CreateFile(path, replication=1), CreatedFile)
    block = await connection.call(AllocateBlock(created.inode_id, 0), AllocatedBlock)
    replica = (block.block_id, block.stamp, LENGTH_BYTES)
    datanode.stored(ReplicaReport(*replica, ReplicaState.FINALIZED, digest))
    last = CommittedBlock(*replica, digest)
    await connection.call(PublishFile(created.inode_id, path, last, digest), FileInfo)


def _room(sizes: Sizes) -> Room:
    return Room(sizes.many_files * DISK_BYTES_PER_FILE + GIB, sizes.many_files * 500 + GIB)


BENCHMARK = Benchmark(
    "namenode-10m",
    "whether a namenode stays level while ten million files are made by real calls",
    run,
    _room,
    only_named=True,
)
