"""How the figures of the benchmarks are shown."""

import json

import pytest

from benchmarks import table
from benchmarks.figures import PER_S, SECONDS, Line, Reading, compare


def line(name: str = "stat", value: float = 1234.5) -> Line:
    bare = ("an echo", [Reading(2 * value)])
    return compare(name, PER_S, [Reading(value)], bare, "notes")


@pytest.mark.parametrize(
    ("value", "shown"), [(1234567.8, "1,234,568"), (12.345, "12.3"), (0.1234, "0.12"), (0, "0.00")]
)
def test_a_number_has_the_digits_that_matter(value: float, shown: str) -> None:
    assert table.number(value) == shown


def test_lines_stand_below_their_headings() -> None:
    heading, row, other = table.heading(), table.row(line()), table.row(line("a longer name", 3))
    for column in table.HEADINGS[1:]:
        at = heading.index(column)
        assert row[at - 2 : at] == other[at - 2 : at] == "  "
        assert row[at] != " "
        assert other[at] != " "


def test_a_row_says_figure_limit_ratio_and_what_the_limit_is() -> None:
    cells = table.row(line())
    for cell in ("1,234 (1,234–1,234) per s", "2,469", "0.50 (0.50–0.50)", "an echo; notes"):
        assert cell in cells


def test_a_row_says_whether_its_aim_was_met() -> None:
    assert "≥ 1,000 per s: met  " in table.row(line().aiming_at(figure=1000))
    assert "≥ 5,000 per s: not met  " in table.row(line().aiming_at(figure=5000))
    assert "ratio ≥ 0.80: not met  " in table.row(line().aiming_at(ratio=0.8))
    slow = compare("start", SECONDS, [Reading(0.5)], ("an empty one", [Reading(0.4)]))
    assert "≤ 1 s: met  " in table.row(slow.aiming_at(figure=1))
    assert "  -  " in table.row(slow)


def test_programs_get_every_figure() -> None:
    document = json.loads(table.as_json({"cores": "2"}, [("stat", line())]))
    assert document["machine"] == {"cores": "2"}
    (found,) = document["lines"]
    assert found["benchmark"] == "stat"
    assert found["unit"] == {"name": "per s", "more_is_better": True}
    assert found["subject"] == {"middle": 1234.5, "lowest": 1234.5, "highest": 1234.5}
    assert found["ratio"]["middle"] == 0.5
