"""What must hold when the faults are over, each as a small class that raises CheckFailed.

The answers of the cluster are compared with what the clients know (`Namespace`), with what is on
the simulated disks (`Replicas`), and with each other; nothing that is checked is believed.
"""

import asyncio
from dataclasses import dataclass

from datanode.core.layout import Place, block_directory, checksums_name, data_name, parse_name
from datanode.node import Datanode
from dolmen.client.client import Client
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import DolmenError
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.key_value import fingerprint_of
from dolmen.simulation.cluster import DIRECTORY, SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.lives import Lives
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_storage import SimDirectory, SimStorage
from dolmen.simulation.workloads import SHARED, Workload
from namenode.checkpoint import Checkpoints
from namenode.core.records import BLOCK, INODE, Block, Inode
from namenode.core.redundancy import TRANSFER_PATIENCE_MS
from namenode.core.tables import BLOCKS, DOOMED, DURABLE_TABLES, INODES, LEASES
from namenode.file_edit_log import open_file_edit_log
from namenode.node import Namenode
from namenode.recovery import Recovery

VOLUME = f"{DIRECTORY}/volumes/0"
POLL_S = 1.0

LOST_ORDERS = 3
"""Commands given to a process that then died: copies, then deletions, then what these uncover."""


class Healing:
    """Every block comes back to its replication, and what is too much goes, within a bound."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    def bound_s(self, stored_bytes: int) -> float:
        """Return how long it may take once all processes run: each step's longest wait."""
        settings = self._cluster.settings
        noticing_ms = settings.stale_after_ms + settings.dead_after_ms + settings.safe_mode_quiet_ms
        repeating_ms = LOST_ORDERS * (TRANSFER_PATIENCE_MS + settings.dead_after_ms)
        copying_ms = 1000 * stored_bytes // settings.repair_rate_bytes
        forgetting_ms = (
            settings.lease_hard_limit_ms  # files of writers that died
            + settings.delete_after_ms
            + settings.block_token_life_ms
        )
        return (noticing_ms + repeating_ms + copying_ms + forgetting_ms) / 1000

    async def wait(self, inspector: Client) -> ClusterReport:
        """Return the report of a cluster that has healed, or raise."""
        await asyncio.sleep(self._cluster.settings.stale_after_ms / 1000)  # all that died is known
        report = await inspector.report()
        bound_s = self.bound_s(report.used_bytes)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + bound_s
        while problems := self._problems(report):
            if loop.time() > until_s:
                raise CheckFailed(f"not healed after {bound_s:.0f} s: {'; '.join(problems)}")
            await asyncio.sleep(POLL_S)
            report = await inspector.report()
        return report

    def _problems(self, report: ClusterReport) -> list[str]:
        figures = {
            "under-replicated": report.under_replicated_blocks,
            "over-replicated": report.over_replicated_blocks,
            "mis-replicated": report.mis_replicated_blocks,
            "missing": report.missing_blocks,
            "corrupt": report.corrupt_replicas,
            "pending transfers": report.pending_transfers,
            "in safe mode": int(report.safe_mode),
            "not live": self._cluster.plan.datanodes - report.live_datanodes,
        }
        problems = [f"{value} {name}" for name, value in figures.items() if value]
        kept = Stored(self._cluster)
        if kept.leases or kept.doomed:
            problems.append(f"{kept.leases} open and {kept.doomed} deleted files are kept")
        return problems + Replicas(self._cluster).left_over(kept.blocks)


class Stored:
    """What the namenode's durable tables hold, decoded."""

    def __init__(self, cluster: SimCluster) -> None:
        self.blocks: dict[int, Block] = {}
        self.inodes: dict[int, Inode] = {}
        with cluster.open_namenode_tables(read_only=True).snapshot() as view:
            for _, value in view.scan(BLOCKS):
                block = BLOCK.decode(value)
                self.blocks[block.block_id] = block
            for _, value in view.scan(INODES):
                inode = INODE.decode(value)
                self.inodes[inode.inode_id] = inode
            self.leases = view.count(LEASES)
            self.doomed = view.count(DOOMED)


@dataclass(frozen=True)
class DiskReplica:
    """The data file of a replica on one datanode's disk."""

    datanode: str
    block_id: int
    place: Place
    data: bytes


class Replicas:
    """What is on the disks of the datanodes."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self.found = [
            DiskReplica(lives.machine.name, block_id, place, data)
            for lives in cluster.datanodes
            for place in (Place.FINALIZED, Place.BEING_WRITTEN)
            for block_id, data in _data_files(lives.machine.storage, place)
        ]

    def left_over(self, blocks: dict[int, Block]) -> list[str]:
        """Return what is on the disks and of no use."""
        useless = [
            replica
            for replica in self.found
            if replica.block_id not in blocks or replica.place is not Place.FINALIZED
        ]
        return [f"{r.datanode} keeps block {r.block_id:016x} {r.place.value}" for r in useless[:3]]

    def check(self, workload: Workload) -> None:
        """Every block has as many replicas as wanted, and each the bytes that were written."""
        stored = Stored(self._cluster)
        by_block: dict[int, list[DiskReplica]] = {block_id: [] for block_id in stored.blocks}
        for replica in self.found:
            by_block[replica.block_id].append(replica)
        for block_id, replicas in by_block.items():
            block = stored.blocks[block_id]
            inode = stored.inodes[block.inode_id]
            wanted = min(inode.replication, self._cluster.plan.datanodes)
            if len(replicas) != wanted:
                raise CheckFailed(f"block {block_id:016x} of {inode.name} is on {len(replicas)}")
            expected = _contents_of(inode, workload)[block.offset_bytes :][: block.length_bytes]
            for replica in replicas:
                if replica.data != expected:
                    raise CheckFailed(
                        f"block {block_id:016x} of {inode.name} on {replica.datanode} is not what"
                        " was written"
                    )

    def check_counts(self, report: ClusterReport) -> None:
        """The report counts each datanode's replicas as they are on its disk."""
        for datanode in report.datanodes:
            name = datanode.address.partition(":")[0]
            there = sum(replica.datanode == name for replica in self.found)
            if datanode.blocks != there:
                raise CheckFailed(f"{name} has {there} replicas, its report {datanode.blocks}")


class Lasting:
    """What a datanode had finalized is on its disk after a loss of power, byte by byte.

    A file may be back in its earlier place, if the process that moved it was killed before it
    could make that last: the next start moves it again.
    """

    def __init__(self, lives: Lives) -> None:
        """Remember what must last, just before the power is lost."""
        self._lives = lives
        self._files: dict[tuple[int, str], bytes | None] = {}
        if isinstance(lives.process, Datanode):
            for block_id, stamp in lives.process.settled_replicas():
                for name in (data_name(block_id), checksums_name(block_id, stamp)):
                    self._files[block_id, name] = self._find(Place.FINALIZED, block_id, name)

    def check(self) -> None:
        """Compare, before the datanode starts again."""
        for (block_id, name), data in self._files.items():
            places = (Place.FINALIZED, Place.BEING_WRITTEN)
            if data not in [self._find(place, block_id, name) for place in places]:
                raise CheckFailed(f"{self._lives.machine.name} lost {name} with the power")

    def _find(self, place: Place, block_id: int, name: str) -> bytes | None:
        path = f"{VOLUME}/{block_directory(place, block_id)}/{name}"
        try:
            return bytes(self._lives.machine.storage.file(path).data)
        except FileNotFoundError:
            return None


def _data_files(storage: SimStorage, place: Place) -> list[tuple[int, bytes]]:
    """Return (block id, bytes) of the data files in one tree of a volume."""
    found: list[tuple[int, bytes]] = []
    pending = [f"{VOLUME}/{place.value}"]
    while pending:
        path = pending.pop()
        try:
            names = sorted(storage.directory(path).entries)
        except FileNotFoundError:
            continue
        for name in names:
            below = f"{path}/{name}"
            if isinstance(storage.find(below), SimDirectory):
                pending.append(below)
            elif (parsed := parse_name(name)) and parsed[1] is None:
                found.append((parsed[0], bytes(storage.file(below).data)))
    return found


def _contents_of(inode: Inode, workload: Workload) -> bytes:
    number = workload.versions.number_of(inode.content_hash)
    if number is None:
        raise CheckFailed(f"the hash of {inode.name} is of nothing that was written")
    return workload.versions.contents(number)


class Namespace:
    """The namespace is what the clients' histories say, and every file reads back."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    async def check(self, inspector: Client) -> ClusterReport:
        """Compare all that there is, and return a report with the right counts."""
        found = [entry async for entry in inspector.walk_tree("/")]
        files = [entry for entry in found if entry.kind is EntryKind.FILE]
        self._check_owned({entry.path: entry.content_hash for entry in found})
        await self._check_shared(inspector)
        for entry in files:
            await self._check_file(inspector, entry.path, entry.content_hash)
        report = await inspector.report()
        if report.files != len(files):
            raise CheckFailed(f"{len(files)} files are there, the report says {report.files}")
        return report

    def _check_owned(self, hashes: dict[str, bytes]) -> None:
        known = (*(owned.path for owned in self._workload.owned), SHARED)
        strange = [path for path in hashes if not path.startswith(known)]
        if strange:
            raise CheckFailed(f"nobody made {strange}")
        for owned in self._workload.owned:
            prefix = f"{owned.path}/"
            there = {p.removeprefix(prefix): h for p, h in hashes.items() if p.startswith(prefix)}
            owned.observe(there)

    async def _check_shared(self, inspector: Client) -> None:
        now_s = asyncio.get_running_loop().time()
        for register in self._workload.registers.values():
            version = await self._workload.read(inspector, register.path)
            register.check_read(version, now_s)

    async def _check_file(self, inspector: Client, path: str, content_hash: bytes) -> None:
        try:
            version = await self._workload.read(inspector, path)
        except DolmenError as error:
            raise CheckFailed(f"{path} was acknowledged and cannot be read: {error}") from error
        if version is None or self._workload.versions.get(version).content_hash != content_hash:
            raise CheckFailed(f"{path} does not have the bytes of the version that it is")


class Invariants:
    """What the daemons know of themselves fits together."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    def check(self) -> None:
        """To be asked at any time."""
        self._cluster.check_invariants()

    def check_at_rest(self) -> None:
        """To be asked when nothing is under way."""
        self.check()
        namenode = self._cluster.namenode.process
        assert isinstance(namenode, Namenode)
        namenode.check_conditions()


class Replay:
    """The edit log, replayed, gives the live tables."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    async def check(self, cluster_id: str) -> None:
        """Build tables beside those of a stopped namenode, and compare."""
        host = self._cluster.namenode.machine
        disk = SimDisk(host.storage, "replay")
        log = await open_file_edit_log(disk, f"{DIRECTORY}/edits", cluster_id)
        machine = host.begin_life()
        checkpoints = Checkpoints(machine, disk, f"{DIRECTORY}/checkpoints", cluster_id)
        replayed = await Recovery(machine, "/replayed", log, checkpoints).rebuild()
        live = self._cluster.open_namenode_tables(read_only=True)
        with replayed.snapshot() as view, live.snapshot() as live_view:
            if fingerprint_of(view, DURABLE_TABLES) != fingerprint_of(live_view, DURABLE_TABLES):
                tables = [
                    table
                    for table in DURABLE_TABLES
                    if list(view.scan(table)) != list(live_view.scan(table))
                ]
                raise CheckFailed(f"the log does not lead to the live tables: {tables} differ")
        replayed.close()
