"""Makes a plan that fails smaller, as long as it fails in the same way.

Faults go first, by halves, quarters, and so on down to single ones (Zeller's ddmin), the latest
before the earliest, because what comes after a failure had no part in it; then kinds of work,
clients and time. A smaller plan is another run, so each is tried, and only one that breaks the same
property counts: what was looked for is not lost on the way. The search ends when its time is over,
or when somebody interrupts it, with the smallest plan that has been found. Nothing of a run but its
story stays while the next one runs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from msgspec.structs import replace

from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.plan import Plan, client_name
from dolmen.simulation.run import SimulationFailed, Watch, simulate

Trial = Callable[[Plan], SimulationFailed | None]
"""Runs a plan; returns how it failed, if it did in the way that matters."""

SECONDS_MIN = 10
"""Of a plan: less is no time to do anything."""


def kind_of(failed: SimulationFailed) -> str:
    """Return what distinguishes failures: whose checker it was, or else which error."""
    cause = failed.__cause__
    return cause.checker if isinstance(cause, CheckFailed) else type(cause).__name__


def forget_frames(error: BaseException) -> None:
    """Let an error, and what led to it, hold no frames: whole clusters hang on them."""
    met: set[int] = set()  # errors may have led to each other
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in met:
            continue
        met.add(id(one))
        one.__traceback__ = None
        left += [one.__cause__, one.__context__]
        left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def shrink(
    plan: Plan, failed: SimulationFailed, within_s: float, watch: Watch
) -> tuple[Plan, SimulationFailed]:
    """Return the smallest plan found that fails as this one did, and its failure."""
    kind, until = kind_of(failed), time.monotonic() + within_s
    forget_frames(failed)

    def trial(smaller: Plan) -> SimulationFailed | None:
        if time.monotonic() > until:
            raise TimeoutError
        try:
            simulate(smaller, watch)
        except SimulationFailed as found:
            forget_frames(found)
            return found if kind_of(found) == kind else None
        return None

    search = Search(plan, failed, trial)
    with suppress(TimeoutError, KeyboardInterrupt):  # what was found so far is good
        search.run()
    return search.plan, search.failed


class Search:
    """The smallest plan so far."""

    def __init__(self, plan: Plan, failed: SimulationFailed, trial: Trial) -> None:
        self.plan = plan
        self.failed = failed
        self._trial = trial

    def run(self) -> None:
        """Try smaller plans until none of them fails."""
        self._drop_faults()
        for ways in (_with_fewer_kinds, _with_fewer_clients, _with_less_time):
            while any(self._take(smaller) for smaller in ways(self.plan)):
                pass

    def _drop_faults(self) -> None:
        size = len(self.plan.faults)
        while size:
            for start in reversed(range(0, len(self.plan.faults), size)):
                faults = self.plan.faults
                self._take(replace(self.plan, faults=faults[:start] + faults[start + size :]))
            size //= 2

    def _take(self, smaller: Plan) -> bool:
        failed = self._trial(smaller)
        if failed is None:
            return False
        self.plan, self.failed = smaller, failed
        return True


def _with_fewer_kinds(plan: Plan) -> Iterator[Plan]:
    kinds = plan.work.kinds
    for kind in kinds if len(kinds) > 1 else ():
        rest = tuple(other for other in kinds if other != kind)
        yield replace(plan, work=replace(plan.work, kinds=rest))


def _with_fewer_clients(plan: Plan) -> Iterator[Plan]:
    last = client_name(plan.clients - 1)
    if plan.clients > 1 and not any(last in fault.places for fault in plan.faults):
        yield replace(plan, clients=plan.clients - 1)


def _with_less_time(plan: Plan) -> Iterator[Plan]:
    last_s = max((fault.at_ms // 1000 + 1 for fault in plan.faults), default=0)
    for seconds in (plan.seconds // 2, last_s):
        if max(last_s, SECONDS_MIN) <= seconds < plan.seconds:
            yield replace(plan, seconds=seconds)
