"""How long something is tried again: a first attempt at once, the last one at the very end."""

import asyncio
from random import Random

from dolmen.client.core.retry_schedule import pauses


class Patience:
    """The time for one thing, from now on or since `begun_s`, and the pauses between attempts."""

    def __init__(self, random: Random, for_s: float, begun_s: float | None = None) -> None:
        self._pauses = pauses(random)
        self._start_s = asyncio.get_running_loop().time() if begun_s is None else begun_s
        self.for_s = for_s

    @property
    def left_s(self) -> float:
        """How much is left; at zero there is no sense in another attempt."""
        return max(0.0, self._start_s + self.for_s - asyncio.get_running_loop().time())

    async def pause(self) -> None:
        """Return when to try again: never later than the end."""
        await asyncio.sleep(min(next(self._pauses), self.left_s))
