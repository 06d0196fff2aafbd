"""Plans that fail become small, and go on failing for the same reason."""

import gc
import weakref

import pytest
from msgspec.structs import replace

from dolmen.simulation.faults import AnyFault, Kill
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.plan import Plan, client_name
from dolmen.simulation.run import SimulationFailed
from dolmen.simulation.shrinking import Search, forget_frames, kind_of, shrink
from dolmen.simulation.work_plan import Work

FAILED = SimulationFailed("a story", "0" * 16)


def kill(second: int, name: str = "datanode-0") -> Kill:
    return Kill(at_ms=second * 1000, process=name, down_ms=1)


PLAN = Plan(
    seed=1,
    seconds=3600,
    clients=3,
    faults=tuple(kill(second) for second in range(60)),
    work=Work(kinds=("owned", "shared", "trees")),
)


class Culprits:
    """A plan fails if it has these faults and this kind of work."""

    def __init__(self, faults: tuple[AnyFault, ...], kind: str) -> None:
        self.faults = set(faults)
        self.kind = kind
        self.trials = 0

    def __call__(self, plan: Plan) -> SimulationFailed | None:
        self.trials += 1
        guilty = self.faults <= set(plan.faults) and self.kind in plan.work.kinds
        return FAILED if guilty else None


def test_what_has_no_part_in_a_failure_goes() -> None:
    culprits = Culprits((PLAN.faults[7], PLAN.faults[41]), "shared")
    search = Search(PLAN, FAILED, culprits)
    search.run()
    assert search.plan == replace(
        PLAN, faults=(kill(7), kill(41)), clients=1, seconds=42, work=Work(kinds=("shared",))
    )
    assert culprits.trials < 60


def test_a_failure_without_faults_needs_one_trial_for_all_of_them() -> None:
    search = Search(PLAN, FAILED, Culprits((), "owned"))
    search.run()
    assert search.plan == replace(
        PLAN, faults=(), clients=1, seconds=14, work=Work(kinds=("owned",))
    )


def test_a_plan_that_cannot_be_smaller_stays() -> None:
    search = Search(PLAN, FAILED, lambda plan: None)
    search.run()
    assert search.plan == PLAN


def test_a_client_that_a_fault_names_stays() -> None:
    last = kill(1, client_name(2))
    plan = replace(PLAN, faults=(last,))
    search = Search(plan, FAILED, Culprits((last,), "owned"))
    search.run()
    assert search.plan.clients == 3


def test_an_interrupted_search_has_what_it_found_so_far() -> None:
    def interrupted(plan: Plan) -> SimulationFailed | None:
        if len(plan.faults) < 30:
            return None
        if len(search.plan.faults) == 30:
            raise KeyboardInterrupt
        return FAILED

    search = Search(PLAN, FAILED, interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert len(search.plan.faults) == 30


def failed_by(cause: BaseException) -> SimulationFailed:
    failed = SimulationFailed("a story", "0" * 16)
    failed.__cause__ = cause
    return failed


def test_failures_are_alike_if_one_checker_or_one_error_made_them() -> None:
    assert kind_of(failed_by(CheckFailed("a"))) == kind_of(failed_by(CheckFailed("b")))
    assert kind_of(failed_by(CheckFailed("a"))) == "test_shrinking"
    assert kind_of(failed_by(RuntimeError("a"))) == "RuntimeError"


def test_no_time_to_shrink_leaves_a_plan_as_it_is() -> None:
    assert shrink(PLAN, FAILED, -1.0, lambda moment: None) == (PLAN, FAILED)


class Cluster:
    """What the frames of a run hold."""


def run_that_fails(held: list[weakref.ref[Cluster]]) -> SimulationFailed:
    cluster = Cluster()
    held.append(weakref.ref(cluster))
    try:
        raise ExceptionGroup("some", [CheckFailed("broken")])
    except ExceptionGroup as error:
        failed = SimulationFailed("a story", "0" * 16).with_traceback(error.__traceback__)
        failed.__cause__ = error
        return failed


def test_a_failure_keeps_nothing_of_its_run() -> None:
    held: list[weakref.ref[Cluster]] = []
    failed = run_that_fails(held)
    gc.collect()
    assert held[0]() is not None
    forget_frames(failed)
    gc.collect()
    assert held[0]() is None
    assert isinstance(failed.__cause__, ExceptionGroup)


def test_errors_that_led_to_each_other_are_gone_through_once() -> None:
    one, other = CheckFailed("one"), ExceptionGroup("others", [CheckFailed("two")])
    one.__context__, other.exceptions[0].__context__ = other, one
    forget_frames(one)
    assert one.__context__ is other
