"""When to try again: full jitter, so that a thousand clients do not return at the same instant."""

from collections.abc import Iterator
from random import Random

FIRST_PAUSE_S = 0.05
"""About what a lost packet costs."""

LONGEST_PAUSE_S = 1.0
"""A namenode that is back is found within this; the load of waiting clients stays small."""


def pauses(random: Random) -> Iterator[float]:
    """Yield, without end, how long to wait before the next attempt: up to a growing cap."""
    cap = FIRST_PAUSE_S
    while True:
        yield random.uniform(0, cap)
        cap = min(LONGEST_PAUSE_S, cap * 2)
