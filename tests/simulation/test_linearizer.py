"""Which answers one namespace, doing one operation after the other, can have given."""

from itertools import permutations
from random import Random

import pytest

from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.namespace_history import LOST_S, Call, NamespaceHistory
from dolmen.simulation.namespace_model import (
    DIRECTORY,
    DONE,
    ListTree,
    Look,
    Move,
    Node,
    Open,
    Operation,
    Publish,
    Remove,
    Replicate,
    State,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.history = NamespaceHistory(lambda: self.now_s, flat=("/flat",))

    def do(self, operation: Operation, answer: object) -> None:
        self.history.begin(operation).answered(answer)


def written(path: str, version: int, exclusive: bool = False) -> Publish:
    return Publish(path, version, 3, exclusive)


def test_what_was_acknowledged_is_seen() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.do(Look("/d/a"), Node(1, 3))
    with pytest.raises(CheckFailed, match="no order of the operations on /d explains"):
        clock.do(Look("/d/a"), "NoSuchPath")


def test_a_replaced_version_is_not_seen_again() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.do(written("/d/a", 2), DONE)
    with pytest.raises(CheckFailed):
        clock.do(Look("/d/a"), Node(1, 3))


@pytest.mark.parametrize("version", [1, 2])
def test_a_read_beside_a_write_sees_the_old_or_the_new_version(version: int) -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    write = clock.history.begin(written("/d/a", 2))
    clock.do(Look("/d/a"), Node(version, 3))
    write.answered(DONE)
    clock.do(Look("/d/a"), Node(2, 3))


def test_once_the_new_version_was_seen_the_old_one_is_gone() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.history.begin(written("/d/a", 2))
    clock.do(Look("/d/a"), Node(2, 3))
    with pytest.raises(CheckFailed):
        clock.do(Look("/d/a"), Node(1, 3))


def test_a_read_that_began_before_may_see_what_was_there_then() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    look = clock.history.begin(Look("/d/a"))
    clock.do(written("/d/a", 2), DONE)
    clock.do(Remove("/d/a"), DONE)
    look.answered(Node(1, 3))


def test_two_exclusive_creates_are_never_both_acknowledged() -> None:
    clock = Clock()
    one = clock.history.begin(written("/d/a", 1, exclusive=True))
    two = clock.history.begin(written("/d/a", 2, exclusive=True))
    one.answered(DONE)
    with pytest.raises(CheckFailed):
        two.answered(DONE)


@pytest.mark.parametrize("seen", [Node(1, 3), Node(2, 3)])
def test_a_lost_answer_may_have_been_either(seen: Node) -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.history.begin(written("/d/a", 2)).lost()
    clock.do(Look("/d/a"), seen)


def test_a_lost_operation_does_not_happen_ages_later() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.history.begin(Remove("/d/a")).lost()
    clock.now_s = LOST_S + 1
    clock.do(Look("/d/a"), Node(1, 3))
    with pytest.raises(CheckFailed):
        clock.do(Look("/d/a"), "NoSuchPath")


def test_a_lost_operation_may_have_happened_long_before_anybody_looks() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.history.begin(Remove("/d/a")).lost()
    clock.do(Look("/d/a"), Node(1, 3))
    clock.now_s = LOST_S + 1
    clock.do(Look("/d/a"), "NoSuchPath")


def test_no_state_is_certain_while_a_lost_operation_may_change_it() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    clock.history.begin(Remove("/d/a")).lost()
    realm = clock.history.realm_of("/d/a")
    assert realm.certain_state() is None
    assert realm.last_state() is not None
    clock.do(Look("/d/a"), "NoSuchPath")
    assert realm.certain_state() == realm.last_state() != {}


def test_what_was_done_twice_is_found() -> None:
    clock = Clock()
    clock.do(written("/d/a", 1), DONE)
    rename = clock.history.begin(Move("/d/a", "/d/b"))
    clock.do(Look("/d/b"), Node(1, 3))
    clock.do(written("/d/a", 2), DONE)
    rename.answered(DONE)
    with pytest.raises(CheckFailed):
        clock.do(Look("/d/b"), Node(2, 3))


def test_what_ended_without_effect_has_none() -> None:
    clock = Clock()
    call = clock.history.begin(written("/d/a", 1))
    clock.do(Look("/d/a"), Node(1, 3))
    with pytest.raises(CheckFailed):
        call.not_done()


def test_trees_move_with_all_that_is_in_them() -> None:
    clock = Clock()
    clock.do(written("/d/p/x", 1), DONE)
    clock.do(written("/d/q/y", 2), DONE)
    clock.do(Move("/d/p", "/d/q"), "DirectoryNotEmpty")
    clock.do(Move("/d/p", "/d/p/x/z"), "NotADirectory")
    clock.do(Move("/d/p", "/d/p/z"), "InvalidRequest")
    clock.do(Move("/d/q/y", "/d/r/y"), "NoSuchPath")
    clock.do(Move("/d/q/y", "/d/p"), "IsADirectory")
    clock.do(Move("/d/p", "/d/q/y"), "NotADirectory")
    clock.do(Open("/d/p"), "IsADirectory")
    clock.do(Remove("/d/q/y"), DONE)
    clock.do(Move("/d/p", "/d/q"), DONE)
    clock.do(Replicate("/d/q/x", 2), DONE)
    clock.do(Replicate("/d/q", 2), "InvalidRequest")
    clock.do(Look("/d/q/x"), Node(1, 2))
    clock.do(ListTree("/d"), frozenset({("/d/q", DIRECTORY), ("/d/q/x", 1)}))
    clock.do(Remove("/d/q"), DONE)
    clock.do(ListTree("/d"), frozenset())


def test_a_tree_that_moves_from_one_realm_to_another_joins_them() -> None:
    clock = Clock()
    clock.do(written("/d/p/x", 1), DONE)
    clock.do(written("/e/a", 2), DONE)
    late = clock.history.begin(Look("/e/a"))
    clock.do(Move("/d/p", "/e/p"), DONE)
    clock.do(Look("/e/p/x"), Node(1, 3))
    clock.do(Remove("/e/a"), DONE)
    late.answered(Node(2, 3))
    assert clock.history.realm_of("/d/z") is clock.history.realm_of("/e/z")


def test_files_of_a_flat_directory_are_realms_of_their_own() -> None:
    clock = Clock()
    clock.do(written("/flat/a", 1), DONE)
    clock.do(Remove("/flat/b"), "NoSuchPath")
    assert clock.history.realm_of("/flat/a") is not clock.history.realm_of("/flat/b")
    clock.do(Move("/flat/a", "/flat/b"), DONE)
    clock.do(Look("/flat/b"), Node(1, 3))
    assert clock.history.realm_of("/flat/a") is clock.history.realm_of("/flat/b")


def test_many_lost_answers_make_a_realm_blind_and_never_unjust() -> None:
    clock = Clock()
    for version in range(1, 20):
        clock.history.begin(written(f"/d/{version}", version)).lost()
    clock.do(Look("/d/1"), "NoSuchPath")
    clock.do(Look("/d/19"), Node(19, 3))
    for version in range(1, 20):
        clock.do(Look(f"/d/{version}"), Node(version, 3))
    assert clock.history.blind() in ([], ["/d"])


def test_it_agrees_with_trying_every_order() -> None:
    """Small histories in which all operations overlap, against all permutations of them."""
    random = Random(3)
    disagreed = 0
    for _ in range(500):
        operations = [_draw(random, version) for version in range(1, 5)]
        answers = _some_answers(random, operations)
        expected = any(_gives(operations, answers, order) for order in permutations(range(4)))
        disagreed += not expected
        assert _is_accepted(operations, answers) == expected, (operations, answers)
    assert disagreed > 10


def _draw(random: Random, version: int) -> Operation:
    path, other = random.choice(("/d/a", "/d/b")), random.choice(("/d/a", "/d/b"))
    kinds: list[Operation] = [
        written(path, version),
        written(path, version, exclusive=True),
        Remove(path),
        Move(path, other),
        Look(path),
        Look(other),
    ]
    return random.choice(kinds)


def _some_answers(random: Random, operations: list[Operation]) -> list[object]:
    """The answers of one order, one of them at times replaced by that of another order."""
    answers = _answers(operations, random.sample(range(4), 4))
    others = _answers(operations, random.sample(range(4), 4))
    for index in range(4):
        if random.random() < 0.6:
            answers[index] = others[index]
    return answers


def _answers(operations: list[Operation], order: list[int]) -> list[object]:
    state: State = {}
    answers: dict[int, object] = {}
    for index in order:
        state, answers[index] = operations[index].apply(state, "")
    return [answers[index] for index in range(4)]


def _gives(operations: list[Operation], answers: list[object], order: tuple[int, ...]) -> bool:
    return _answers(operations, list(order)) == answers


def _is_accepted(operations: list[Operation], answers: list[object]) -> bool:
    clock = Clock()
    calls: list[Call] = [clock.history.begin(operation) for operation in operations]
    try:
        for call, answer in zip(calls, answers, strict=True):
            call.answered(answer)
    except CheckFailed:
        return False
    return True
