"""Sizes, durations, counts and fractions as people write them: `4MiB`, `10s`, `3`, `0.999`.

Inside Dolmen a size is a whole number of bytes and a duration a whole number of milliseconds. The
formatted text is exact: reading it again gives the same number.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SIZE_FACTORS: Mapping[str, int] = {
    "PiB": 1 << 50,
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "B": 1,
}
DURATION_FACTORS: Mapping[str, int] = {
    "d": 86_400_000,
    "h": 3_600_000,
    "min": 60_000,
    "s": 1_000,
    "ms": 1,
}

#: Eighteen digits hold every size and duration there is, and keep `int` quick on hostile input.
QUANTITY = re.compile(r"([0-9]{1,18}) ?([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Bytes of `text`: a whole number with a unit (`64KiB`, `4MiB`), or plain bytes (`4096`)."""
    match = QUANTITY.fullmatch(text.strip())
    if match is None or (match[2] or "B") not in SIZE_FACTORS:
        raise ValueError(f"{text!r} is not a size: write it as 64KiB, 4MiB, 1GiB or plain bytes")
    return int(match[1]) * SIZE_FACTORS[match[2] or "B"]


def format_size(size_bytes: int) -> str:
    return _format(size_bytes, SIZE_FACTORS) if size_bytes else "0B"


def parse_duration(text: str) -> int:
    """Milliseconds of `text`, a whole number with its unit: `500ms`, `10s`, `5min`, `1h`, `14d`."""
    match = QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in DURATION_FACTORS:
        raise ValueError(f"{text!r} is not a duration: write it as 500ms, 10s, 5min, 1h or 14d")
    return int(match[1]) * DURATION_FACTORS[match[2]]


def format_duration(duration_ms: int) -> str:
    return _format(duration_ms, DURATION_FACTORS) if duration_ms else "0s"


def parse_count(text: str) -> int:
    match = QUANTITY.fullmatch(text.strip())
    if match is None or match[2]:
        raise ValueError(f"{text!r} is not a whole number")
    return int(match[1])


def parse_fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a fraction: write it as 0.999") from None


def parse_switch(text: str) -> bool:
    try:
        return {"on": True, "true": True, "off": False, "false": False}[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither on nor off") from None


def format_switch(is_on: bool) -> str:
    return "on" if is_on else "off"


def _format(value: int, factors: Mapping[str, int]) -> str:
    """`value` in the greatest unit that divides it evenly."""
    unit, factor = next((unit, factor) for unit, factor in factors.items() if value % factor == 0)
    return f"{value // factor}{unit}"


@dataclass(frozen=True)
class Unit:
    """What a quantity measures: how it is read and written, and how names of it end."""

    name: str
    suffix: str
    parse: Callable[[str], int | float]
    format: Callable[[Any], str]


SIZE = Unit("size", "_bytes", parse_size, format_size)
DURATION = Unit("duration", "_ms", parse_duration, format_duration)
COUNT = Unit("count", "", parse_count, str)
FRACTION = Unit("fraction", "", parse_fraction, str)
SWITCH = Unit("switch", "", parse_switch, format_switch)
