"""Bytes do not flow faster than their rate."""

from hypothesis import given
from hypothesis import strategies as st

from datanode.core.throttle import BURST_S, Throttle


@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=50), pause_s=st.floats(0, 2))
def test_the_rate_holds_but_for_one_burst(sizes: list[int], pause_s: float) -> None:
    throttle, now_s = Throttle(1000, 0.0), pause_s
    for size in sizes:
        now_s += throttle.take(size, now_s)
    elapsed_s = now_s - pause_s
    assert sum(sizes[:-1]) <= 1000 * (elapsed_s + BURST_S) + 1e-6


def test_a_step_is_whole_units_and_short_at_a_slow_rate() -> None:
    assert Throttle(1, 0.0).step_bytes(64, 512) == 64
    assert Throttle(1000, 0.0).step_bytes(64, 512) == 192
    assert Throttle(10**9, 0.0).step_bytes(64, 512) == 512


def test_the_first_bytes_after_a_pause_wait_for_nothing() -> None:
    throttle = Throttle(1000, 0.0)
    assert throttle.take(10_000, 100.0) == 0.0
    assert throttle.take(1, 100.0) > 9.0
