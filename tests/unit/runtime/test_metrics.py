from dolmen.runtime.http_metrics import exposition
from dolmen.runtime.metrics import (
    NAMES_LIMIT,
    OTHER,
    Histogram,
    Timings,
    counter,
    gauges,
    histogram,
)


def lines(text: bytes) -> list[str]:
    return [line for line in text.decode().splitlines() if not line.startswith("process_")]


def test_a_histogram_counts_each_value_in_its_range() -> None:
    taken = Histogram((1, 10))
    for value in (0.5, 1, 2, 10, 11):
        taken.observe(value)
    assert taken.counts == [2, 2, 1]
    assert (taken.count, taken.total) == (5, 24.5)


def test_buckets_add_up_in_the_text() -> None:
    taken = Histogram((1, 10))
    for value in (1, 2, 11):
        taken.observe(value)
    said = lines(exposition([histogram("dolmen_x_seconds", "How long.", taken)]))
    assert 'dolmen_x_seconds_bucket{le="1"} 1.0' in said
    assert 'dolmen_x_seconds_bucket{le="10"} 2.0' in said
    assert 'dolmen_x_seconds_bucket{le="+Inf"} 3.0' in said
    assert "dolmen_x_seconds_sum 14.0" in said


def test_counters_and_gauges_keep_their_names_and_labels() -> None:
    said = lines(
        exposition(
            [
                counter("dolmen_x_total", "So many.", 7),
                gauges("dolmen_y", "By state.", "state", {"LIVE": 2, 'a "b"\n': 1}),
                gauges("dolmen_z", "Nothing yet.", "state", {}),
            ]
        )
    )
    assert "dolmen_x_total 7.0" in said
    assert 'dolmen_y{state="LIVE"} 2.0' in said
    assert 'dolmen_y{state="a \\"b\\"\\n"} 1.0' in said
    assert "# TYPE dolmen_z gauge" in said


def test_the_process_tells_of_itself() -> None:
    assert b"process_resident_memory_bytes " in exposition([])
    assert b"process_open_fds " in exposition([])


def test_timings_keep_a_bounded_number_of_names() -> None:
    timings = Timings()
    for number in range(10 * NAMES_LIMIT):
        timings.took(f"call {number}", 0.1)
        for kind in (ValueError, KeyError, OSError):
            timings.failed(f"call {number}", kind())
    assert len(timings.seconds) == NAMES_LIMIT + 1
    assert timings.seconds[OTHER].count == 9 * NAMES_LIMIT
    assert len(timings.errors) <= NAMES_LIMIT**2 + 1
