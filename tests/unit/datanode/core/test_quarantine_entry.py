"""What a quarantine keeps, and what has to go."""

import pytest

from datanode.core.quarantine_entry import Held, Limits, entry_name, overdue, parse_entry_name

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000


def held(days: float, size_bytes: int) -> Held:
    then_ms = NOW_MS - int(days * DAY_MS)
    return Held(entry_name(0x20, then_ms), then_ms, size_bytes)


@pytest.mark.parametrize(
    ("entries", "going"),
    [
        ([], []),
        ([held(1, 50)], []),
        ([held(8, 1)], [0]),
        ([held(1, 50), held(9, 1), held(8, 1)], [1, 2]),
        ([held(1, 60), held(2, 60)], [1]),
        ([held(1, 60), held(2, 30), held(3, 30)], [2]),
        ([held(1, 101)], [0]),
        ([held(1, 60), held(8, 60)], [1]),
        ([held(-5, 100)], []),
    ],
)
def test_the_oldest_entries_go_that_are_too_old_or_too_much(
    entries: list[Held], going: list[int]
) -> None:
    limits = Limits(7 * DAY_MS, 100)
    found = [entry for entry, _ in overdue(entries, limits, NOW_MS)]
    assert found == [entries[index] for index in going]


def test_each_removal_has_a_reason() -> None:
    limits = Limits(7 * DAY_MS, 100)
    reasons = [reason for _, reason in overdue([held(8, 50), held(1, 101)], limits, NOW_MS)]
    assert "quarantine_age" in reasons[0]
    assert "100 bytes" in reasons[1]


def test_a_small_volume_gives_a_twentieth_at_most() -> None:
    limits = Limits(DAY_MS, 10 << 30)
    assert limits.within(1 << 30).space_bytes == (1 << 30) // 20
    assert limits.within(1 << 50).space_bytes == 10 << 30


def test_a_name_says_when_and_of_which_block() -> None:
    assert parse_entry_name(entry_name(0x20, NOW_MS)) == (NOW_MS, f"{0x20:016x}")
    assert parse_entry_name(entry_name(None, NOW_MS)) == (NOW_MS, "unknown")
    for other in ("0000", "lost+found", f"{NOW_MS}", f"{NOW_MS}-{0x20:016x}.new", "12-unknown"):
        assert parse_entry_name(other) is None
