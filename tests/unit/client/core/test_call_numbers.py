"""The numbers of mutations."""

from dolmen.client.core.call_numbers import NUMBERS_AHEAD, CallNumbers
from namenode.core.apply_answers import ANSWERED_PER_CLIENT_LIMIT


def test_numbers_wait_for_the_oldest_that_has_no_answer() -> None:
    numbers = CallNumbers(ahead=3)
    assert [numbers.draw() for _ in range(3)] == [1, 2, 3]
    numbers.answered(2)
    assert not numbers.are_too_far_ahead
    assert numbers.draw() == 4
    assert numbers.are_too_far_ahead
    numbers.answered(1)
    assert not numbers.are_too_far_ahead
    assert [numbers.draw(), numbers.draw()] == [5, 6]
    assert numbers.are_too_far_ahead


def test_without_calls_under_way_nothing_waits() -> None:
    numbers = CallNumbers(ahead=1)
    for _ in range(10):
        assert not numbers.are_too_far_ahead
        numbers.answered(numbers.draw())


def test_a_namenode_keeps_the_answers_to_more_calls_than_run_ahead() -> None:
    assert NUMBERS_AHEAD < ANSWERED_PER_CLIENT_LIMIT
