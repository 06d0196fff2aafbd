"""How fast a volume is gone round, in what order, and by which clock."""

import pytest

from datanode.core.scrub_schedule import (
    LEAST_COST_BYTES,
    LEAST_PACE_BYTES,
    QUEUE_REPLICAS,
    ScrubClock,
    ScrubPace,
    ScrubQueue,
    cost_of,
)

DAY_S = 86_400
PACE = ScrubPace(14 * DAY_S, 256 << 20)


def test_a_round_takes_less_than_the_period() -> None:
    cost_bytes = 10 << 40
    round_s = cost_bytes / PACE.rate(cost_bytes, overdue=False)
    assert round_s == pytest.approx(0.8 * PACE.period_s)
    assert PACE.is_kept(cost_bytes)


def test_what_is_overdue_makes_it_faster_by_a_factor_and_no_more() -> None:
    cost_bytes = 10 << 40
    usual = PACE.rate(cost_bytes, overdue=False)
    assert PACE.rate(cost_bytes, overdue=True) == 2 * usual


def test_repair_and_readers_come_first() -> None:
    huge = 1 << 60
    assert PACE.rate(huge, overdue=True) == PACE.greatest_rate
    assert PACE.reading_rate(PACE.greatest_rate) == PACE.greatest_rate
    assert not PACE.is_kept(huge)


def test_a_small_volume_is_read_at_a_useful_pace_and_seldom() -> None:
    rate = PACE.rate(1 << 20, overdue=False)
    assert rate < 2
    assert PACE.reading_rate(rate) == LEAST_PACE_BYTES
    assert PACE.rate(0, overdue=False) > 0


def test_an_empty_replica_counts_too() -> None:
    assert cost_of(0) == LEAST_COST_BYTES
    assert cost_of(1 << 27) == 1 << 27


def test_the_longest_unverified_comes_first_and_what_does_not_fit_the_next_time() -> None:
    queue = ScrubQueue()
    turns = [(time, block, 1) for block, time in enumerate(range(3 * QUEUE_REPLICAS, 0, -1))]
    for start in range(0, len(turns), 1000):
        queue.look_out(turns[start : start + 1000])
    assert queue.next() is None, "not before all have been looked at"
    queue.settle()
    assert queue.first() == turns[-1]
    taken = [queue.next() for _ in range(QUEUE_REPLICAS)]
    assert taken == turns[: -QUEUE_REPLICAS - 1 : -1]
    assert queue.next() is None
    assert queue.first() is None


def test_a_wall_clock_that_was_set_back_never_makes_a_replica_wait_longer() -> None:
    clock = ScrubClock(wall_ms=1_000_000, now_s=50.0)
    assert clock.now_ms(51.0) == 1_001_000
    clock.not_before(900_000)
    assert clock.now_ms(51.0) == 1_001_000
    clock.not_before(5_000_000)
    assert clock.now_ms(50.0) == 5_000_000
    assert clock.now_ms(52.0) == 5_002_000
