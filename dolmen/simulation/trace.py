"""What happened in a run, as a digest over everything and the last lines in words.

Two runs of one seed have equal digests, whatever PYTHONHASHSEED is; if not, something depends on
chance, on time or on the order of a set, and the first line that differs says what.
"""

from collections import Counter, deque
from collections.abc import Callable

import xxhash

LINES_KEPT = 2000
"""Enough to see what led to a failure; a long run writes millions of lines."""


class Trace:
    """A record of one run."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._digest = xxhash.xxh3_64()
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.toll: Counter[str] = Counter()
        """What faults did to single messages and disk operations: how many of each kind."""
        self.listener: Callable[[str, str], None] = lambda actor, event: None
        """Hears every line."""

    def record(self, actor: str, event: str) -> None:
        """Add one line: who, and what happened."""
        line = f"{self._now_s():.6f} {actor} {event}"
        self._digest.update(line.encode())
        self._lines.append(line)
        self.listener(actor, event)

    def count(self, actor: str, event: str) -> None:
        """Add what happens too often to be told: to the digest alone."""
        self._digest.update(f"{self._now_s():.6f} {actor} {event}".encode())

    def digest(self) -> str:
        """Return the digest over all lines so far, 16 hexadecimal digits."""
        return self._digest.hexdigest()

    def last_lines(self) -> list[str]:
        """Return the last lines, the oldest first."""
        return list(self._lines)
