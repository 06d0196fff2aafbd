"""A machine's wall clock: it runs with the time of the run, unless it is set or runs wrongly."""

import asyncio

EPOCH_MS = 1_700_000_000_000
"""What every wall clock shows when a run begins."""


class SimClock:
    """One wall clock. It may jump, and be too fast or too slow; the loop's own time never is."""

    def __init__(self) -> None:
        self._shown_ms = float(EPOCH_MS)
        self._since_s = 0.0
        self._rate = 1.0

    def now_ms(self) -> int:
        """Return the time that it shows."""
        return int(self._now_ms())

    def set(self, ahead_ms: int) -> None:
        """Set it to the time of the run and so much more, or less."""
        self._hold(EPOCH_MS + asyncio.get_running_loop().time() * 1000 + ahead_ms)

    def drift(self, parts_per_million: int) -> None:
        """Let it gain so much from now on; lose, if negative."""
        self._hold(self._now_ms())
        self._rate = 1 + parts_per_million / 1e6

    def _now_ms(self) -> float:
        passed_s = asyncio.get_running_loop().time() - self._since_s
        return self._shown_ms + passed_s * 1000 * self._rate

    def _hold(self, shown_ms: float) -> None:
        self._shown_ms, self._since_s = shown_ms, asyncio.get_running_loop().time()
