"""What clients did and were answered: kept for the checkers, counted, and told when one fails."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from dolmen.protocol.errors import BlockMissing, DolmenError, NoSpace, TooFewDatanodes
from dolmen.simulation.activity import Activity
from dolmen.simulation.checkers.extra_load import ExtraLoad
from dolmen.simulation.checkers.one_writer import OneWriter
from dolmen.simulation.checkers.true_reads import TrueReads
from dolmen.simulation.chronicle import Chronicle
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.namespace_history import NamespaceHistory
from dolmen.simulation.plan import Plan
from dolmen.simulation.trace import Trace
from dolmen.simulation.versions import Versions

GIVEN_UP = (BlockMissing, NoSpace, TooFewDatanodes)
"""How a write ends whose acknowledged bytes are nowhere any more: nothing was published."""

SHORTEST_PIPELINE = 2


@dataclass
class Replicating:
    """A wanted replication was asked for, and took effect before it ended, if ever."""

    path: str
    replication: int
    ended_s: float = float("inf")


class Written(Protocol):
    """A file some of whose bytes were acknowledged: as it is, or the writer that goes on."""

    @property
    def path(self) -> str: ...
    @property
    def inode_id(self) -> int: ...
    @property
    def replication(self) -> int: ...


class History:
    """The history of one run."""

    def __init__(self, plan: Plan, trace: Trace, flat: Iterable[str] = ()) -> None:
        self.versions = Versions(plan.seed)
        self.chronicle = Chronicle(now_s)
        self.namespace = NamespaceHistory(now_s, flat)
        self.true_reads = TrueReads(self.versions)
        self.one_writer = OneWriter()
        self.extra_load = ExtraLoad()
        self.activity = Activity()
        self.acknowledged: Counter[str] = Counter()
        """How many operations were acknowledged, by kind."""
        self.failed: Counter[str] = Counter()
        """How many failed for want of datanodes or of a namenode, as they may, by kind."""
        self.power_losses: list[tuple[float, str]] = []
        """When each machine lost its power."""
        self.replicating: list[Replicating] = []
        """Every change of a wanted replication."""
        self.published: Callable[[Written], None] = _nobody
        """Told of each file whose bytes were just acknowledged."""
        self._may_fail = plan.work.may_fail
        self._trace = trace
        trace.listener = self.chronicle.overhear

    @property
    def operations(self) -> int:
        """How many operations were acknowledged."""
        return sum(self.acknowledged.values())

    def tell(self, who: str, event: str, about: Iterable[str] = ()) -> None:
        """Note an event of a client."""
        self._trace.record(who, event)
        self.chronicle.tell(who, event, about)

    def least_wanted(self, name: str, since_s: float) -> int | None:
        """Return the least replication asked since then for files of this name."""
        return min(
            (
                each.replication
                for each in self.replicating
                if each.ended_s >= since_s and each.path.endswith(f"/{name}")
            ),
            default=None,
        )

    def forgive(self, kind: str, path: str, error: DolmenError, started_s: float) -> None:
        """An operation failed for a reason that lies outside the namespace: raise unless it may."""
        may_give_up = isinstance(error, GIVEN_UP) and self._lost_power(started_s)
        if not self._may_fail and not may_give_up:
            raise CheckFailed(
                f"{kind} {path} failed: {type(error).__name__}: {error}", (path,)
            ) from error
        self.failed[kind] += 1

    def _lost_power(self, since_s: float) -> bool:
        """Return whether a write since then may have lost what no disk had synced: more machines
        lost power than a pipeline in trouble has members."""
        hosts = {name for when_s, name in self.power_losses if when_s >= since_s}
        return len(hosts) >= SHORTEST_PIPELINE


def _nobody(_: Written) -> None:
    """Nobody is told."""


def now_s() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()
