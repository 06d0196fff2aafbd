import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmen.runtime.units import (
    format_duration,
    format_size,
    parse_count,
    parse_duration,
    parse_fraction,
    parse_size,
)

QUANTITIES = st.integers(min_value=0, max_value=10**18 - 1)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("7B", 7),
        ("64KiB", 65_536),
        ("4MiB", 4_194_304),
        (" 4 MiB ", 4_194_304),
        ("1GiB", 1_073_741_824),
        ("2TiB", 2_199_023_255_552),
    ],
)
def test_a_size_is_a_number_with_a_unit_or_plain_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("0s", 0),
        ("500ms", 500),
        ("10s", 10_000),
        ("5min", 300_000),
        ("1h", 3_600_000),
        ("14d", 1_209_600_000),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, duration_ms: int) -> None:
    assert parse_duration(text) == duration_ms


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5GiB", "4MB", "4mib", "٤KiB", "9" * 19])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write it as 64KiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "s", "10", "-1s", "1.5s", "10 sec", "5m", "1_000ms"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write it as 500ms"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "-1", "3x", "3.0", "True"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        parse_count(text)


def test_what_is_no_fraction_is_refused() -> None:
    assert parse_fraction("0.999") == 0.999
    with pytest.raises(ValueError, match="is not a fraction"):
        parse_fraction("most")


@given(QUANTITIES)
def test_a_formatted_size_reads_as_the_same_size(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(QUANTITIES)
def test_a_formatted_duration_reads_as_the_same_duration(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms


def test_the_greatest_unit_that_divides_evenly_is_written() -> None:
    assert format_size(128 << 20) == "128MiB"
    assert format_size((128 << 20) + 1) == "134217729B"
    assert format_duration(90_000) == "90s"
    assert format_duration(120_000) == "2min"
    assert format_size(0) == "0B"
    assert format_duration(0) == "0s"
