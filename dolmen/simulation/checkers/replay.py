"""Property 7: replay(log) == live.

The edit log of a stopped namenode, replayed on what it begins with, gives the very tables that
lived, record by record: from every checkpoint that counts, and from nothing if the log goes back to
the first edit. There is one namenode yet, so this is every node.

It cannot see checkpoints that were dropped during the run.
"""

from dolmen.runtime.key_value import KeyValue, fingerprint_of
from dolmen.simulation.cluster import DIRECTORY, SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.sim_disk import SimDisk
from namenode.checkpoint import Checkpoint, Checkpoints
from namenode.core.tables import DURABLE_TABLES
from namenode.file_edit_log import open_file_edit_log
from namenode.recovery import Recovery


class OneCheckpoint(Checkpoints):
    """The checkpoints of a namenode, of which all but one, or all, are hidden."""

    only: Checkpoint | None = None

    async def find(self) -> list[Checkpoint]:
        return [] if self.only is None else [self.only]


class Replay:
    """The edit log, replayed, gives the live tables."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster

    async def check(self, cluster_id: str) -> int:
        """Build tables beside those of a stopped namenode, each way there is; return how many."""
        host = self._cluster.namenode.machine
        disk = SimDisk(host.storage, "replay")
        log = await open_file_edit_log(disk, f"{DIRECTORY}/edits", cluster_id)
        machine = host.begin_life()
        checkpoints = OneCheckpoint(machine, disk, f"{DIRECTORY}/checkpoints", cluster_id)
        ways: list[Checkpoint | None] = list(await Checkpoints.find(checkpoints))
        if log.first_txid == 1:
            ways.append(None)
        live = self._cluster.open_namenode_tables(read_only=True)
        for checkpoints.only in ways:
            replayed = await Recovery(machine, "/replayed", log, checkpoints).rebuild()
            _compare(replayed, live, checkpoints.only)
            replayed.close()
        if not ways:
            raise CheckFailed("neither a checkpoint nor the whole log is there")
        return len(ways)


def _compare(replayed: KeyValue, live: KeyValue, start: Checkpoint | None) -> None:
    with replayed.snapshot() as one, live.snapshot() as other:
        if fingerprint_of(one, DURABLE_TABLES) == fingerprint_of(other, DURABLE_TABLES):
            return
        tables = [name for name in DURABLE_TABLES if list(one.scan(name)) != list(other.scan(name))]
        way = "its beginning" if start is None else start.path
        raise CheckFailed(f"the log from {way} does not lead to the live tables: {tables} differ")
