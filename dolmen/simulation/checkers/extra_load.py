"""Property 8, of readers: what is asked of a second replica stays a small share of what is asked.

Each client's own count is compared with what it may: its share, and one burst. Without that bound a
cluster that is slow because it is busy would get twice the work.

It cannot see the bytes, which the client bounds too.
"""

from dolmen.client.core.hedge_budget import BURST_REQUESTS
from dolmen.client.hedging import HedgingFigures
from dolmen.simulation.finding import CheckFailed


class ExtraLoad:
    """The readers of a run, each for one life of its client."""

    def __init__(self) -> None:
        self._readers: list[HedgingFigures] = []

    def watch(self, reader: HedgingFigures) -> None:
        """A client begins to read; its figures grow as it does."""
        self._readers.append(reader)

    def check(self, share: float) -> None:
        """Raise if anybody has asked twice for more than his share."""
        for reader in self._readers:
            allowed = BURST_REQUESTS + share * reader.asked
            if reader.hedged > allowed:
                raise CheckFailed(
                    f"a client has asked {reader.hedged} of {reader.asked} times twice, and may"
                    f" {allowed:.0f} times"
                )

    @property
    def asked_twice(self) -> int:
        """How many reads were asked of a second replica."""
        return sum(reader.hedged for reader in self._readers)

    @property
    def won_by_the_second(self) -> int:
        """How many of them that replica answered first."""
        return sum(reader.won for reader in self._readers)
