"""What a namenode tells of itself: everything in here is counted already, or counted in constant
time; nothing walks over files or blocks.

A call for commands waits until there are some: its seconds say nothing of the namenode's speed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dolmen import __version__
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.metrics import (
    Health,
    Metric,
    counter,
    gauge,
    gauges,
    histogram,
)
from namenode.checkpoint import Checkpointer
from namenode.core.datanodes import Liveness
from namenode.core.figures import ClusterFigures
from namenode.core.lookup import load_meta
from namenode.core.records import AdminState
from namenode.core.tables import DETACHED, DOOMED, LEASES, REPLICAS, UNHASHED
from namenode.datanode_calls import Membership
from namenode.rpc import RpcFigures
from namenode.store import Store


@dataclass(frozen=True)
class NamenodeStatus:
    """The figures of one namenode."""

    membership: Membership
    rpc: RpcFigures
    store: Store
    checkpointer: Checkpointer
    works: Callable[[], bool]

    def health(self) -> Health:
        """See Status: a namenode in safe mode is well, and says so."""
        cluster = self.membership.cluster
        return Health(
            self.works() and self.store.damage is None,
            {
                "role": "namenode",
                "version": __version__,
                "cluster_id": self.store.cluster_id,
                "epoch": self.store.epoch,
                "safe_mode": cluster.in_safe_mode(),
                "live_datanodes": cluster.datanodes.count(Liveness.LIVE),
                "damage": self.store.damage,
            },
        )

    def metrics(self) -> Iterator[Metric]:
        """See Status."""
        with self.membership.journal.snapshot() as view:
            report = self.membership.cluster.report(view)
            directories = load_meta(view).directories
        yield gauge("dolmen_namenode_files", "Files in the tree.", report.files)
        yield gauge("dolmen_namenode_directories", "Directories in the tree.", directories)
        yield gauge("dolmen_namenode_blocks", "Blocks of the files in the tree.", report.blocks)
        yield gauge(
            "dolmen_namenode_inline_files",
            "Files in the tree whose bytes the namenode keeps.",
            report.inline_files,
        )
        yield gauge("dolmen_namenode_inline_bytes", "Their bytes.", report.inline_bytes)
        yield from _datanodes(report)
        yield from _space(report)
        yield from _replicas(report)
        yield from _upkeep(self.membership.cluster.figures(), report)
        yield from self._tables()
        yield from self._journal()
        yield gauges(
            "dolmen_namenode_connections",
            "Control connections by the role in which they have greeted.",
            "role",
            dict(self.rpc.roles),
        )
        yield from self.rpc.calls.metrics("dolmen_namenode_calls", "call", "calls")

    def _tables(self) -> Iterator[Metric]:
        store = self.store
        with store.tables.snapshot() as view:
            leases, doomed = view.count(LEASES), view.count(DOOMED) + view.count(DETACHED)
            unhashed = view.count(UNHASHED)
        with store.soft.snapshot() as soft:
            replicas = soft.count(REPLICAS)
        yield gauge("dolmen_namenode_leases", "Files that are being written.", leases)
        yield gauge(
            "dolmen_namenode_doomed",
            "Deleted files and trees whose blocks are still to be given up.",
            doomed,
        )
        yield gauge(
            "dolmen_namenode_unhashed",
            "Files that grew, were cut or joined, and whose hash is still to be computed.",
            unhashed,
        )
        yield gauge("dolmen_namenode_replicas", "Replicas that datanodes have reported.", replicas)
        sizes = {"namespace": store.tables.used_bytes(), "replicas": store.soft.used_bytes()}
        yield gauges(
            "dolmen_namenode_tables_bytes", "What the tables take on disk.", "tables", sizes
        )
        used = {"namespace": store.tables.used_fraction(), "replicas": store.soft.used_fraction()}
        yield gauges(
            "dolmen_namenode_tables_used_ratio",
            "How full the size limits of the tables are.",
            "tables",
            used,
        )

    def _journal(self) -> Iterator[Metric]:
        journal, position = self.membership.journal, self.store.log.position
        prefix = "dolmen_namenode_journal"
        yield counter(f"{prefix}_txid_total", "The last transaction in the log.", position.txid)
        behind = position.txid - (self.checkpointer.last_txid or 0)
        yield gauge(
            "dolmen_namenode_edits_since_checkpoint",
            "Transactions since the last checkpoint; all of them until it was looked for.",
            behind,
        )
        yield gauge(f"{prefix}_queued", "Changes that wait for their turn.", journal.queued)
        yield gauge(f"{prefix}_waiting", "Changes that wait for datanodes.", journal.waiting)
        taken = journal.figures
        yield histogram(f"{prefix}_batch_edits", "Changes in a batch.", taken.batch_edits)
        yield histogram(
            f"{prefix}_batch_seconds", "How long a batch took in all.", taken.batch_seconds
        )
        yield histogram(
            f"{prefix}_append_seconds",
            "How long appending a batch to the log and syncing it took.",
            taken.append_seconds,
        )


def _datanodes(report: ClusterReport) -> Iterator[Metric]:
    by_state = {liveness.name: 0 for liveness in Liveness}
    by_admin_state = {state.name: 0 for state in AdminState}
    for datanode in report.datanodes:
        by_state[datanode.state] += 1
        by_admin_state[datanode.admin_state] += 1
    yield gauges("dolmen_namenode_datanodes", "Datanodes by state.", "state", by_state)
    yield gauges(
        "dolmen_namenode_datanodes_admin",
        "Datanodes by what an operator wants of them.",
        "state",
        by_admin_state,
    )


def _space(report: ClusterReport) -> Iterator[Metric]:
    capacity, used = report.capacity_bytes, report.used_bytes
    prefix = "dolmen_namenode"
    yield gauge(f"{prefix}_capacity_bytes", "Size of the volumes of LIVE datanodes.", capacity)
    yield gauge(f"{prefix}_used_bytes", "Taken by replicas on LIVE datanodes.", used)
    yield gauge(
        f"{prefix}_free_bytes", "What replicas may still take on LIVE datanodes.", report.free_bytes
    )


def _replicas(report: ClusterReport) -> Iterator[Metric]:
    yield gauges(
        "dolmen_namenode_blocks_unhealthy",
        "Blocks by what is wrong with them.",
        "condition",
        {
            "under_replicated": report.under_replicated_blocks,
            "over_replicated": report.over_replicated_blocks,
            "mis_replicated": report.mis_replicated_blocks,
            "missing": report.missing_blocks,
        },
    )
    yield gauge(
        "dolmen_namenode_corrupt_replicas",
        "Replicas found damaged and not replaced yet.",
        report.corrupt_replicas,
    )
    yield gauge(
        "dolmen_namenode_safe_mode", "1 while nothing can be changed.", int(report.safe_mode)
    )


def _upkeep(figures: ClusterFigures, report: ClusterReport) -> Iterator[Metric]:
    prefix = "dolmen_namenode"
    yield gauges(f"{prefix}_repair_queue", "Blocks by urgency.", "level", figures.waiting)
    yield gauge(f"{prefix}_transfers", "Copies on their way.", report.pending_transfers)
    yield gauge(f"{prefix}_orders", "Replicas ordered deleted or put aside.", figures.orders)
    yield gauge(f"{prefix}_checks", "Replicas that datanodes are to verify.", figures.checks)
    yield gauge(f"{prefix}_walks", "Walks through blocks under way.", figures.walks)
    yield counter(f"{prefix}_copied_blocks_total", "Copies that arrived.", figures.copied_blocks)
    yield counter(f"{prefix}_copied_bytes_total", "Their bytes.", figures.copied_bytes)
    yield counter(f"{prefix}_failed_copies_total", "Copies given up.", figures.failed_copies)
