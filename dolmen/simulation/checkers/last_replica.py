"""Property 6: the last good replica of a live block is never deleted or quarantined on an order.

Looked at when it happens: when a datanode removes the data file of a finalized replica, or moves it
into quarantine, the other disks are read. If the replica was what was committed and its block
belongs to a published file, as many others as the file wants must be just as good, each on a
datanode that ran at some time while the order can have been under way: one that is long gone is no
proof. A volume that vanished in that time takes its proof along. While faults last that hide or
destroy replicas, and once bits have rotted, at least one other must be left; after a wanted
replication was changed, the least that was asked lately. What is left of a bad replica may go only
when there is a good one. A datanode that finds a block on two of its volumes, as when one came
back, may quarantine either while the other is good: it keeps one.

It cannot see an order that was given without proof and came to nothing.
"""

from collections.abc import Callable
from math import inf

from datanode.core.layout import Place, parse_name
from dolmen.simulation.checkers.disks import find_live, has_good, is_good_on, volumes_of
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.faults import (
    Blackout,
    ClockJump,
    Fault,
    Kill,
    PowerLoss,
    RollingRestart,
    Rot,
)
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.history import History, now_s
from dolmen.simulation.lives import Lives
from dolmen.simulation.plan import Pace, Plan
from namenode.core.records import Block, BlockState, Inode

ORDER_LIFE_S = 10.0
"""From its decision an order takes some milliseconds, and is void with the connection it is on."""

QUICK_LIFE_S = 2.0
"""The same where nothing delays what a machine does or notices."""

QUICK = Pace()

DEATHS = (Blackout, ClockJump, Kill, PowerLoss, RollingRestart)
SPARING = (*DEATHS, Rot)
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
        self._order_life_s = _order_life_s(cluster.plan)
        self._vanished_s: dict[str, float] = {}
        """When a datanode last lost a volume."""
        for lives in cluster.datanodes:
            lives.machine.storage.watch(self._watcher(lives))

    def _watcher(self, lives: Lives) -> Callable[[str, str | None], None]:
        def moved(source: str, target: str | None) -> None:
            if source in lives.machine.storage.plugged:
                self._vanished_s[lives.machine.name] = now_s()
            if f"/{Place.FINALIZED.value}/" not in source or not lives.is_running:
                return
            parsed = parse_name(source.rpartition("/")[2])
            if parsed is None or parsed[1] is not None:
                return
            if target is None:
                self._check(lives, parsed[0], "deletes")
            elif f"/{Place.QUARANTINE.value}/" in target:
                self._check_aside(lives, parsed[0], source)

        return moved

    def _check_aside(self, remover: Lives, block_id: int, path: str) -> None:
        """A data file is about to go into quarantine: of a datanode with a good one on another
        volume as well that takes nothing away, and needs no proof elsewhere."""
        live = find_live(self._cluster, block_id)
        if live is None or not _has_good_twin(remover, live[0], path):
            self._check(remover, block_id, "quarantines")

    def _check(self, remover: Lives, block_id: int, verb: str) -> None:
        """A data file is about to go."""
        live = find_live(self._cluster, block_id)
        if live is None:
            return
        if not has_good(remover, live[0]):
            self._check_bad(remover, live[0], verb)
            return
        block, inode = live
        others = [
            lives
            for lives in self._cluster.datanodes
            if lives is not remover and self._may_be_proof(lives, block)
        ]
        self.removals += 1
        needed = 1 if self._has_rotted() else self._needed(inode)
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

    def _check_bad(self, remover: Lives, block: Block, verb: str) -> None:
        """What is left of a bad replica goes only when there is a good one (rules 21, 24)."""
        if block.state is not BlockState.COMMITTED or self._is_disturbed(
            self._order_life_s, DEATHS
        ):
            return
        if not any(has_good(lives, block) for lives in self._cluster.datanodes):
            self._report(
                CheckFailed(
                    f"{remover.machine.name} {verb} what is left of block {block.block_id:016x},"
                    " of which there is no good replica",
                    (f"{block.block_id:016x}",),
                )
            )

    def _may_be_proof(self, lives: Lives, block: Block) -> bool:
        since_s = now_s() - self._order_life_s
        if self._vanished_s.get(lives.machine.name, -inf) > since_s:
            return True
        return (lives.is_running or lives.down_since_s > since_s) and has_good(lives, block)

    def _needed(self, inode: Inode) -> int:
        if self._is_disturbed(ORDER_LIFE_S, SPARING):
            return 1
        asked = self._history.least_wanted(inode.name, now_s() - self._order_life_s)
        wanted = inode.replication if asked is None else min(asked, inode.replication)
        return min(wanted, self._cluster.plan.datanodes)

    def _is_disturbed(self, order_life_s: float, sparing: tuple[type[Fault], ...]) -> bool:
        """Return whether there is, or lately was, a fault that is not among the `sparing`."""
        now_ms = now_s() * 1000
        return any(
            fault.at_ms <= now_ms <= fault.until_ms + order_life_s * 1000
            for fault in self._cluster.plan.faults
            if not isinstance(fault, sparing)
        )

    def _has_rotted(self) -> bool:
        now_ms = now_s() * 1000
        return any(
            isinstance(fault, Rot) and fault.at_ms <= now_ms for fault in self._cluster.plan.faults
        )


def _has_good_twin(lives: Lives, block: Block, path: str) -> bool:
    """Return whether a datanode has a good replica also on a volume that a file is not on."""
    return any(
        not path.startswith(f"{volume}/") and is_good_on(volume, lives, block)
        for volume in volumes_of(lives)
    )


def _order_life_s(plan: Plan) -> float:
    """Return how long after its decision an order may be carried out: its proof may be gone by
    then. Nobody notices at once that power is gone, or that a process stands still."""
    reset = (ClockJump, Kill, RollingRestart, Rot)
    quick = plan.pace == QUICK and all(isinstance(fault, reset) for fault in plan.faults)
    return QUICK_LIFE_S if quick else ORDER_LIFE_S
