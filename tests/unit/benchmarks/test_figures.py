"""What the benchmarks make of their readings."""

import pytest

from benchmarks.figures import PER_S, SECONDS, Reading, Spread, compare, cpu_notes, ratio


def readings(*values: float) -> list[Reading]:
    return [Reading(value) for value in values]


def test_a_ratio_of_one_is_as_good_as_the_limit_for_rates_and_for_times() -> None:
    assert ratio(PER_S, 50.0, 100.0) == 0.5
    assert ratio(SECONDS, 2.0, 1.0) == 0.5
    assert ratio(SECONDS, 1.0, 1.0) == ratio(PER_S, 1.0, 1.0) == 1.0


def test_a_line_has_medians_and_their_spread() -> None:
    line = compare("read", PER_S, readings(30, 10, 20), ("a copy", readings(100, 100, 400)))
    assert line.subject == Spread(20, 10, 30)
    assert line.limit == Spread(100, 100, 400)
    assert (line.name, line.limit_name) == ("read", "a copy")


def test_the_ratio_is_of_rounds_that_were_run_one_after_the_other() -> None:
    """A machine that becomes ten times slower changes both sides, and not the ratio."""
    line = compare("read", PER_S, readings(50, 5, 5), ("a copy", readings(100, 10, 10)))
    assert line.ratio == Spread(0.5, 0.5, 0.5)


def test_sides_with_unequal_rounds_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare("read", PER_S, readings(1, 2), ("a copy", readings(1)))


def test_processor_time_is_told_by_role() -> None:
    ours = [Reading(1.0, {"client": spent, "datanodes": 2.0}) for spent in (1.0, 9.0, 1.5)]
    bare = [Reading(1.0, {"limit": 0.25})] * 3
    said = cpu_notes(ours, bare, "s/GiB")
    assert said == "CPU s/GiB: client 1.50, datanodes 2.00; limit 0.25"
