"""How lines are shown: one aligned line each for people, one object each for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from benchmarks.figures import Line, Spread

WIDTHS = (38, 34, 30, 20, 26)
HEADINGS = ("what", "Dolmen", "limit", "ratio", "aim", "the limit is; notes")


def heading() -> str:
    """Return the table's first line."""
    return _aligned(HEADINGS)


def row(line: Line) -> str:
    """Return one line of the table: medians, with the lowest and highest round in brackets."""
    return _aligned(
        (
            line.name,
            f"{spread(line.subject)} {line.unit.name}",
            spread(line.limit),
            f"{line.ratio.middle:.2f} ({line.ratio.lowest:.2f}–{line.ratio.highest:.2f})",
            _judged(line),
            line.limit_name + (f"; {line.notes}" if line.notes else ""),
        )
    )


def as_json(machine: Mapping[str, str], lines: Sequence[tuple[str, Line]]) -> str:
    """Return everything as one JSON object."""
    found = [{"benchmark": benchmark, **asdict(line)} for benchmark, line in lines]
    return json.dumps({"machine": dict(machine), "lines": found}, indent=2)


def spread(values: Spread) -> str:
    """Return `median (lowest–highest)`."""
    return f"{number(values.middle)} ({number(values.lowest)}–{number(values.highest)})"


def number(value: float) -> str:
    """Return three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _judged(line: Line) -> str:
    if line.is_met is None:
        return "-"
    return f"{line.aim}: {'met' if line.is_met else 'not met'}"


def _aligned(cells: Sequence[str]) -> str:
    *aligned, last = cells
    return "  ".join(
        [cell.ljust(width) for cell, width in zip(aligned, WIDTHS, strict=True)] + [last]
    )
