"""The ways between hosts, each in one direction, as far as something is the matter with them."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Link:
    """The way from one host to another."""

    cut: int = 0
    """How many cuts there are: nothing gets through until all are healed."""
    held: list[Callable[[], None]] = field(default_factory=list)
    """What was sent meanwhile: TCP sends it again until it gets through."""
    gone: asyncio.TimerHandle | None = None
    delay_s: float = 0.0
    bytes_per_s: float = math.inf

    @property
    def is_good(self) -> bool:
        """Whether nothing is the matter."""
        return not self.cut and not self.delay_s and self.bytes_per_s == math.inf


class SimLinks:
    """The ways with which something is the matter."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Link] = {}

    def between(self, source: str, target: str) -> Link | None:
        """Return the way from `source` to `target`; None if nothing is the matter with it."""
        return self._links.get((source, target)) if self._links else None

    def make(self, source: str, target: str) -> Link:
        """Return the way, to change it."""
        return self._links.setdefault((source, target), Link())

    def forget_if_good(self, source: str, target: str) -> None:
        """A way with which nothing is the matter any more costs nothing."""
        if self.make(source, target).is_good:
            del self._links[source, target]

    def slow(self, source: str, target: str, delay_s: float, bytes_per_s: float) -> None:
        """Let a way be slow until it is sped up again."""
        link = self.make(source, target)
        link.delay_s, link.bytes_per_s = delay_s, bytes_per_s

    def speed_up(self, source: str, target: str) -> None:
        """Let a way be as fast as all are."""
        self.slow(source, target, 0.0, math.inf)
        self.forget_if_good(source, target)
