"""When a read is late, how much may be asked twice, and who is avoided after a lost race."""

from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core import hedge_budget, lost_races, recent_times
from dolmen.client.core.hedge_budget import BURST_BYTES, BURST_REQUESTS, HedgeBudget
from dolmen.client.core.lost_races import FIRST_S, LONGEST_S, LostRaces
from dolmen.client.core.recent_times import (
    CEILING_S,
    FLOOR_S,
    KEPT_PER_CLASS,
    MARGIN,
    MEASURED_MIN,
    UNMEASURED_S,
    RecentTimes,
)

KIB = 1024
MIB = 1024 * KIB


def test_little_measured_is_nothing_measured() -> None:
    times = RecentTimes()
    for _ in range(MEASURED_MIN - 1):
        times.took("read", MIB, 0.1)
    assert times.late_after_s("read", MIB) == UNMEASURED_S
    times.took("read", MIB, 0.1)
    assert times.late_after_s("read", MIB) == MARGIN * 0.1


def test_what_one_in_twenty_takes_is_not_what_counts() -> None:
    times = RecentTimes()
    for number in range(100):
        times.took("read", MIB, 0.9 if number % 25 == 0 else 0.04)
    assert times.late_after_s("read", MIB) == MARGIN * 0.04


def test_only_the_like_is_compared_and_only_what_was_lately() -> None:
    times = RecentTimes()
    for _ in range(KEPT_PER_CLASS):
        times.took("read", 4 * MIB, 0.4)
        times.took("read", 4 * KIB, 0.1)
    assert times.late_after_s("read", 3 * MIB) == MARGIN * 0.4
    assert times.late_after_s("read", 60 * KIB) == MARGIN * 0.1
    assert times.late_after_s("list", 4 * MIB) == UNMEASURED_S
    for _ in range(KEPT_PER_CLASS):
        times.took("read", 4 * MIB, 0.05)
    assert times.late_after_s("read", 4 * MIB) == MARGIN * 0.05


@given(st.lists(st.floats(0, 1000), max_size=200))
def test_late_is_never_sooner_than_the_floor_nor_later_than_the_ceiling(taken: list[float]) -> None:
    times = RecentTimes()
    for seconds in taken:
        times.took("read", MIB, seconds)
    assert FLOOR_S <= times.late_after_s("read", MIB) <= CEILING_S


ASKED = st.lists(st.tuples(st.booleans(), st.integers(1, 8 * MIB) | st.just(4 * KIB)), max_size=400)


@given(ASKED, st.sampled_from([0.0, 0.01, 0.05, 0.5]))
def test_no_more_is_asked_twice_than_the_share_and_one_burst(
    asked: list[tuple[bool, int]], share: float
) -> None:
    """Whatever the order and the sizes, in requests and in bytes."""
    budget = HedgeBudget(share)
    once = once_bytes = twice = twice_bytes = 0
    for is_late, length in asked:
        budget.asked(length)
        once, once_bytes = once + 1, once_bytes + length
        if is_late and budget.take(length):
            twice, twice_bytes = twice + 1, twice_bytes + length
        burst = 1 if share else 0
        assert twice <= share * once + burst * BURST_REQUESTS + 1e-6
        assert twice_bytes <= share * once_bytes + burst * BURST_BYTES + 1e-3


def test_a_share_of_one_in_twenty_lets_one_in_twenty_be_asked_twice() -> None:
    budget = HedgeBudget(0.05)
    taken = 0
    for _ in range(10_000):
        budget.asked(MIB)
        taken += budget.take(MIB)
    assert 500 <= taken <= 500 + BURST_REQUESTS


def test_a_share_of_zero_asks_nothing_twice() -> None:
    budget = HedgeBudget(0)
    budget.asked(MIB)
    assert not budget.take(1)


def test_who_loses_again_and_again_is_avoided_ever_longer() -> None:
    lost = LostRaces()
    now_s, waits = 0.0, []
    for _ in range(8):
        lost.add("a", now_s)
        lost.add("a", now_s + 0.1)  # the same event
        until_s = now_s
        while lost.current(until_s):
            until_s += 0.5
        waits.append(until_s - now_s)
        now_s = until_s
    assert waits == [FIRST_S, 2, 4, 8, 16, LONGEST_S, LONGEST_S, LONGEST_S]


def test_an_answer_in_time_makes_good_for_all_lost_races() -> None:
    lost = LostRaces()
    for now_s in (0.0, 2.0, 9.0):
        lost.add("a", now_s)
    lost.clear("a")
    assert lost.current(9.0) == ()
    lost.add("a", 9.0)
    assert lost.current(9.0 + FIRST_S) == ()
    assert lost.current(9.0) == ("a",)


def test_no_more_losers_are_remembered_than_the_limit() -> None:
    lost = LostRaces()
    for number in range(lost_races.REMEMBERED + 5):
        lost.add(str(number), 0)
    assert len(lost.current(0)) == lost_races.REMEMBERED


def test_the_limits_make_sense_together() -> None:
    assert FLOOR_S < UNMEASURED_S < CEILING_S
    assert MEASURED_MIN <= recent_times.KEPT_PER_CLASS
    assert hedge_budget.BURST_BYTES >= 16 * 4 * MIB  # all streams of a client, once
