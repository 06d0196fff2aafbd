"""What replicas are good for when datanodes leave or rest: the rule as a table."""

import pytest

from namenode.core.conditions import Condition
from namenode.core.datanodes import DatanodeState, Liveness
from namenode.core.presence import Members, Presence, count_members
from namenode.core.records import AdminState

IN_SERVICE, LEAVING = AdminState.IN_SERVICE, AdminState.DECOMMISSIONING
RESTING = AdminState.MAINTENANCE


def datanodes(
    count: int, state: AdminState, liveness: Liveness = Liveness.LIVE
) -> tuple[DatanodeState, ...]:
    return tuple(
        DatanodeState(f"{state.name} {number}", number, "a:1", "h", "/r", state, liveness, 0)
        for number in range(count)
    )


def presence(serving: int, resting: int = 0, leaving: int = 0) -> Presence:
    return Presence(
        datanodes(serving, IN_SERVICE), datanodes(resting, RESTING), datanodes(leaving, LEAVING)
    )


@pytest.mark.parametrize(
    ("serving", "resting", "leaving", "lacking"),
    [
        (3, 0, 0, 0),
        (2, 0, 0, 1),
        (2, 0, 1, 1),
        (0, 0, 3, 3),
        (2, 1, 0, 0),
        (1, 2, 0, 1),
        (0, 3, 0, 2),
        (0, 1, 0, 2),
        (4, 0, 1, 0),
    ],
)
def test_what_a_block_of_three_replicas_lacks(
    serving: int, resting: int, leaving: int, lacking: int
) -> None:
    assert presence(serving, resting, leaving).lacking(3, durable=2) == lacking


def test_what_is_on_its_way_is_not_made_again() -> None:
    assert presence(1, 2).lacking(3, durable=2, coming=1) == 0


@pytest.mark.parametrize(
    ("found", "condition"),
    [
        (presence(3), None),
        (presence(3, 1), None),
        (presence(3, 0, 1), None),
        (presence(4), Condition.OVER_REPLICATED),
        (presence(2, 0, 1), Condition.SOME_GONE),
        (presence(0, 0, 1), Condition.ONE_LEFT),
        (presence(0), Condition.MISSING),
        (Presence((), datanodes(3, RESTING, Liveness.DEAD), ()), Condition.MISSING),
    ],
)
def test_how_a_block_of_three_replicas_fares(found: Presence, condition: Condition | None) -> None:
    assert found.condition(3, Members(2, serving=5, registered=5)) is condition


@pytest.mark.parametrize(
    ("serving", "members", "needed"),
    [
        (3, Members(2, 5, 5), False),
        (2, Members(2, 5, 5), True),
        (2, Members(2, 2, 2), False),
        (2, Members(2, 2, 4), False),
        (1, Members(2, 1, 3), True),
        (1, Members(2, 1, 1), False),
        (0, Members(2, 0, 0), True),
    ],
)
def test_when_a_leaving_datanode_is_needed(serving: int, members: Members, needed: bool) -> None:
    found = presence(serving, leaving=1)
    assert bool(found.needed(3, members)) is needed


@pytest.mark.parametrize(
    ("serving", "members", "needed"),
    [
        (2, Members(2, 5, 5), False),
        (1, Members(2, 5, 5), True),
        (1, Members(2, 1, 2), False),
        (0, Members(2, 1, 1), True),
    ],
)
def test_when_a_resting_datanode_is_needed(serving: int, members: Members, needed: bool) -> None:
    assert bool(presence(serving, resting=1).needed(3, members)) is needed


def test_a_dead_datanode_serves_nobody_and_is_still_registered() -> None:
    every = [*datanodes(2, IN_SERVICE), *datanodes(1, IN_SERVICE, Liveness.DEAD)]
    assert count_members([*every, *datanodes(4, LEAVING)], 2) == Members(2, 2, 3)
