"""Property 6: the last good replica of a live block is never deleted or quarantined on an order.

Looked at when it happens: when a datanode removes the data file of a finalized replica, or moves it
into quarantine, the other disks are read. If the replica was what was committed and its block
belongs to a published file, as many others as the file wants must be just as good, each on a
datanode that ran at some time while the order can have been under way: one that is long gone is no
proof. While faults last that hide or destroy replicas, and once bits have rotted, at least one
other must be left; after a wanted replication was changed, the least that any file of a run wants.

It cannot see an order that was given without proof and came to nothing.
"""

from collections.abc import Callable

from datanode.core.layout import Place, parse_name
from dolmen.simulation.checkers.disks import find_live, has_good
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.faults import Blackout, ClockJump, Kill, PowerLoss, RollingRestart, Rot
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.history import History, now_s
from dolmen.simulation.lives import Lives

ORDER_LIFE_S = 10.0
"""From its decision an order takes some milliseconds, and is void with the connection it is on."""

SPARING = (Blackout, ClockJump, Kill, PowerLoss, RollingRestart, Rot)
"""Faults that neither take replicas away nor let an order wait."""


class LastReplica:
    """Watches what datanodes remove."""

    def __init__(
        self, cluster: SimCluster, history: History, report: Callable[[CheckFailed], None]
    ) -> None:
        self._cluster = cluster
        self._history = history
        self._report = report
        self.removals = 0
        """Good replicas of live blocks that were removed, and might be."""
        for lives in cluster.datanodes:
            lives.machine.storage.watch(self._watcher(lives))

    def _watcher(self, lives: Lives) -> Callable[[str, str | None], None]:
        def moved(source: str, target: str | None) -> None:
            if f"/{Place.FINALIZED.value}/" not in source or not lives.is_running:
                return
            parsed = parse_name(source.rpartition("/")[2])
            if parsed is None or parsed[1] is not None:
                return
            if target is None or f"/{Place.QUARANTINE.value}/" in target:
                self._check(lives, parsed[0], "deletes" if target is None else "quarantines")

        return moved

    def _check(self, remover: Lives, block_id: int, verb: str) -> None:
        """A data file is about to go."""
        live = find_live(self._cluster, block_id)
        if live is None or not has_good(remover, live[0]):
            return
        block, inode = live
        others = [
            lives
            for lives in self._cluster.datanodes
            if lives is not remover and self._may_be_proof(lives) and has_good(lives, block)
        ]
        self.removals += 1
        needed = 1 if self._has_rotted() else self._needed(inode.replication)
        if len(others) < needed:
            names = ", ".join(lives.machine.name for lives in others) or "nobody"
            about = (f"{block_id:016x}", f"/{inode.name}")
            self._report(
                CheckFailed(
                    f"{remover.machine.name} {verb} a good replica of block {block_id:016x} of"
                    f" {inode.name}, which wants {inode.replication}; left on {names}",
                    about,
                )
            )

    def _may_be_proof(self, lives: Lives) -> bool:
        return lives.is_running or lives.down_since_s > now_s() - ORDER_LIFE_S

    def _needed(self, wanted: int) -> int:
        now_ms = now_s() * 1000
        if any(
            fault.at_ms <= now_ms <= fault.until_ms + ORDER_LIFE_S * 1000
            for fault in self._cluster.plan.faults
            if not isinstance(fault, SPARING)
        ):
            return 1
        changed = now_s() - self._history.replicated_s < ORDER_LIFE_S
        plan = self._cluster.plan
        least = min(plan.work.replications) if changed else plan.datanodes
        return min(wanted, least)

    def _has_rotted(self) -> bool:
        now_ms = now_s() * 1000
        return any(
            isinstance(fault, Rot) and fault.at_ms <= now_ms for fault in self._cluster.plan.faults
        )
