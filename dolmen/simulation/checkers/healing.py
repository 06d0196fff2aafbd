"""Property 5: once faults stop and enough nodes live, everything becomes as it should be.

Within a bound computed from the settings and the bytes that are stored, every block is on as many
disks as wanted (no more, no fewer), on two racks if there are two and two are wanted, each replica
with the bytes that were committed; nothing is missing, under way, unfinished or kept of what was
deleted; no file lacks its hash; no disk holds a replica of no block. The disks are looked at, not
only the report, and the report must count what is on them.

It cannot see how long something took while faults went on, and with faults that destroy disks a
block whose every replica was destroyed is let go: property 1 says whether it was.
"""

import asyncio
from collections import Counter

from datanode.core.layout import Place
from dolmen.client.client import Client
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.simulation.checkers.disks import DiskReplica, Stored, replicas_on
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.versions import Versions
from namenode.core.hashing import LAST_PAUSE_MS
from namenode.core.records import Block, Inode
from namenode.core.redundancy import TRANSFER_PATIENCE_MS

POLL_S = 1.0

LOST_ORDERS = 3
"""Commands given to a process that then died: copies, then deletions, then what these uncover."""

FAILED_HASHES = 2
"""Orders to hash a file that fail in a row when all runs again: one from before, and its next."""


class Healing:
    """Waits until the cluster has healed, and looks whether it has."""

    def __init__(self, cluster: SimCluster, versions: Versions) -> None:
        self._cluster = cluster
        self._versions = versions

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
        hashing_ms = settings.hash_after_ms + FAILED_HASHES * LAST_PAUSE_MS
        return (noticing_ms + repeating_ms + copying_ms + forgetting_ms + hashing_ms) / 1000

    async def wait(self, inspector: Client) -> ClusterReport:
        """Return the report of a cluster that has healed, or raise."""
        await asyncio.sleep(self._cluster.settings.stale_after_ms / 1000)  # all that died is known
        report = await inspector.report()
        bound_s = self.bound_s(report.used_bytes)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + bound_s
        while problems := self._problems(report):
            if loop.time() > until_s:
                raise self._not_healed(f"not healed after {bound_s:.0f} s", problems)
            await asyncio.sleep(POLL_S)
            report = await inspector.report()
        return report

    def check(self) -> None:
        """Look at every replica of every block."""
        stored, found = Stored(self._cluster), replicas_on(self._cluster)
        by_block: dict[int, list[DiskReplica]] = {block_id: [] for block_id in stored.blocks}
        for replica in found:
            by_block[replica.block_id].append(replica)
        for block_id, replicas in by_block.items():
            block = stored.blocks[block_id]
            self._check_block(block, stored.inodes[block.inode_id], replicas)

    def _check_block(self, block: Block, inode: Inode, replicas: list[DiskReplica]) -> None:
        name = f"block {block.block_id:016x} of {inode.name}"
        about = (f"{block.block_id:016x}",)
        plan = self._cluster.plan
        wanted = min(inode.replication, plan.datanodes)
        if len(replicas) != wanted:
            raise CheckFailed(f"{name} is on {len(replicas)}, not {wanted}", about)
        racks = {self._rack_of(replica) for replica in replicas}
        if len(racks) < min(2, wanted, plan.racks):
            raise CheckFailed(f"{name} is in one rack, and there are {plan.racks}", about)
        expected = self._contents_of(inode)[block.offset_bytes :][: block.length_bytes]
        for replica in replicas:
            if replica.data != expected:
                raise CheckFailed(f"{name} on {replica.datanode} is not what was written", about)

    def _contents_of(self, inode: Inode) -> bytes:
        if inode.inode_id in self._versions.grown:
            return self._versions.grown[inode.inode_id]
        number = self._versions.number_of(inode.content_hash)
        if number is None:
            raise CheckFailed(f"the hash of {inode.name} is of nothing that was written")
        return self._versions.contents(number)

    def _rack_of(self, replica: DiskReplica) -> int:
        return int(replica.datanode.rpartition("-")[2]) % self._cluster.plan.racks

    def _not_healed(self, what: str, problems: list[str]) -> CheckFailed:
        replicas = replicas_on(self._cluster)
        strange = self.left_over(Stored(self._cluster).blocks, replicas)
        return CheckFailed(
            f"{what}: {'; '.join(problems)}",
            tuple({f"{replica.block_id:016x}": None for replica in strange[:3]}),
        )

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
        stored = Stored(self._cluster)
        if stored.leases or stored.doomed:
            problems.append(f"{stored.leases} open and {stored.doomed} deleted files are kept")
        if stored.unhashed:
            problems.append(f"{stored.unhashed} files lack their hash")
        found = replicas_on(self._cluster)
        problems += [
            f"{one.datanode} keeps block {one.block_id:016x} {one.place.value}"
            for one in self.left_over(stored.blocks, found)[:3]
        ]
        there, told = Counter(replica.datanode for replica in found), _told_of(report)
        if told != there:  # the report may be as old as its way to us
            problems.append(f"the disks hold {dict(there)}, the report says {dict(told)}")
        return problems

    def left_over(self, blocks: dict[int, Block], replicas: list[DiskReplica]) -> list[DiskReplica]:
        """Return the replicas that are of no use."""
        return [
            replica
            for replica in replicas
            if replica.block_id not in blocks or replica.place is not Place.FINALIZED
        ]


def _told_of(report: ClusterReport) -> Counter[str]:
    """Return how many replicas the report knows on each host."""
    told: Counter[str] = Counter()
    for datanode in report.datanodes:
        if datanode.state == "LIVE":  # a host whose disks were lost has a former one, too
            told[datanode.address.partition(":")[0]] += datanode.blocks
    return +told
