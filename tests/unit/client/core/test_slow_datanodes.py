"""Who is slow: compared with the others, above a floor, for a while."""

from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.slow_datanodes import (
    FLOOR_S,
    FORGOTTEN_AFTER_S,
    LEFT_OUT_S,
    MEASURED_FOR_S,
    MEASURED_MIN,
    MIB,
    TIMES_SLOWER,
    SlowDatanodes,
    Step,
)
from dolmen.protocol.block_messages import HopTimes

SEGMENT_BYTES = 4 * MIB
NAMES = ("a", "b", "c")
ENOUGH = MEASURED_MIN[Step.STORING]


def hops(stored_s: dict[str, float], reach_s: dict[str, float]) -> tuple[float, list[HopTimes]]:
    """Return what the writer and each hop measure, if storing and reaching take so long."""
    waited_s, found = 0.0, list[HopTimes]()
    for name in reversed(stored_s):
        found.insert(0, HopTimes(stored_s[name], waited_s))
        waited_s += stored_s[name] + reach_s[name]
    return waited_s, found


def since(start_s: float) -> tuple[float, float]:
    """Return a time that is long enough to be judged by."""
    return start_s, start_s + 2 * MEASURED_FOR_S


def write(
    slow: SlowDatanodes,
    stored_s: dict[str, float],
    reach_s: dict[str, float] | None = None,
    *,
    segments: int = ENOUGH + 1,
    during_s: tuple[float, float] = (0.0, 2 * MEASURED_FOR_S),
) -> tuple[str, ...]:
    """Write so many segments within the time; return who was found."""
    took_s, told = hops(stored_s, reach_s or dict.fromkeys(stored_s, 0.0))
    found: tuple[str, ...] = ()
    for number in range(segments):
        start_s, end_s = during_s
        now_s = start_s + (end_s - start_s) * (number + 1) / segments
        found += slow.segment_took(tuple(stored_s), SEGMENT_BYTES, took_s, told, now_s)
    return found


def test_one_slow_disk_is_found_wherever_it_stands_and_told_once() -> None:
    for odd in NAMES:
        slow = SlowDatanodes()
        stored_s = dict.fromkeys(NAMES, 0.01) | {odd: 1.0}
        assert write(slow, stored_s, segments=ENOUGH - 1) == ()
        assert write(slow, stored_s, segments=50) == (odd,)
        assert slow.current(LEFT_OUT_S) == (odd,)


def test_one_slow_way_is_found_if_others_are_known_and_the_writers_own_is_nobodys_fault() -> None:
    stored_s = dict.fromkeys(NAMES, 0.01)
    for odd in NAMES[1:]:
        assert write(SlowDatanodes(), stored_s, dict.fromkeys(NAMES, 0.01) | {odd: 1.0}) == (odd,)
    slow = SlowDatanodes()
    assert write(slow, stored_s, {"a": 1.0, "b": 0.01, "c": 0.01}, segments=50) == ()
    others = {"d": 0.01, "b": 0.01, "c": 0.01}
    reach_s = {"d": 1.0, "b": 0.01, "c": 0.01}
    assert write(slow, others, reach_s, during_s=since(10.0)) == (), "all heads are as far"
    slow = SlowDatanodes()
    assert write(slow, others, others) == ()
    assert write(slow, stored_s, {"a": 1.0, "b": 0.01, "c": 0.01}, during_s=since(10.0)) == ("a",)


def test_a_slow_cluster_and_a_fast_one_have_no_slow_datanode() -> None:
    assert write(SlowDatanodes(), dict.fromkeys(NAMES, 5.0)) == ()
    little = FLOOR_S * SEGMENT_BYTES / MIB / 2
    assert write(SlowDatanodes(), {"a": little, "b": little / 100, "c": little / 100}) == ()


def test_a_short_outburst_is_no_slowness() -> None:
    slow = SlowDatanodes()
    write(slow, dict.fromkeys(NAMES, 0.01), segments=20)
    stored_s = dict.fromkeys(NAMES, 0.01) | {"b": 3.0}
    assert write(slow, stored_s, segments=15) == ()
    brief = MEASURED_FOR_S * 0.9
    assert write(SlowDatanodes(), stored_s, segments=99, during_s=(0.0, brief)) == ()


def test_what_others_did_long_ago_is_no_measure() -> None:
    slow = SlowDatanodes()
    write(slow, dict.fromkeys(NAMES, 0.01))
    stored_s = dict.fromkeys(("d", "e", "f"), 1.0)
    assert write(slow, stored_s, segments=50, during_s=since(2 * FORGOTTEN_AFTER_S)) == ()


def test_a_slow_one_is_tried_again_later_and_measured_anew() -> None:
    slow = SlowDatanodes()
    stored_s = dict.fromkeys(NAMES, 0.01) | {"b": 1.0}
    assert write(slow, stored_s) == ("b",)
    assert slow.current(LEFT_OUT_S) == ("b",)
    again_s = LEFT_OUT_S + 2 * MEASURED_FOR_S
    assert slow.current(again_s) == ()
    well = dict.fromkeys(NAMES, 0.01)
    assert write(slow, well, segments=50, during_s=since(again_s)) == ()
    assert write(slow, stored_s, segments=50, during_s=since(again_s + 10)) == ("b",)


def test_few_finalized_blocks_tell_a_slow_disk() -> None:
    slow = SlowDatanodes()
    found: tuple[str, ...] = ()
    for number in range(MEASURED_MIN[Step.FINALIZING]):
        for name in NAMES:
            took_s = 4.0 if name == "c" else 0.5
            found += slow.finalize_took(name, 32 * MIB, took_s, 2.0 * number)
    assert found == ("c",)


def test_small_segments_are_not_slow_for_what_every_request_costs() -> None:
    slow = SlowDatanodes()
    for number in range(50):
        told = [HopTimes(0.04, 0.002), HopTimes(0.001, 0.001), HopTimes(0.001, 0.0)]
        assert slow.segment_took(NAMES, 1000, 0.05, told, float(number)) == ()


@given(
    st.lists(
        st.tuples(
            st.permutations((*NAMES, "d", "e")),
            st.lists(st.floats(0.0, 2.0), min_size=6, max_size=6),
            st.floats(0, 10),
        ),
        max_size=60,
    )
)
def test_never_is_all_of_a_cluster_slow_at_once_by_one_step(
    written: list[tuple[list[str], list[float], float]],
) -> None:
    """Who is left out is slower than TIMES_SLOWER the median of others: the fastest never is."""
    slow, now_s = SlowDatanodes(), 0.0
    assert TIMES_SLOWER > 1
    for order, seconds, pause_s in written:
        now_s += pause_s
        stored_s = dict(zip(order[:3], seconds[:3], strict=True))
        took_s, told = hops(stored_s, dict.fromkeys(order[:3], 0.0))
        found = slow.segment_took(order[:3], SEGMENT_BYTES, took_s, told, now_s)
        assert min(stored_s, key=lambda name: stored_s[name]) not in found or len(found) < 3
        assert set(found) <= set(slow.current(now_s))
        assert slow.current(now_s + LEFT_OUT_S) == ()
