"""Who is connected to a listener, and who has to go when there are too many, or too much is unread.

A connection is *fresh* until it has asked for something, then *busy* with an exchange, *talking*
as a control connection, or *idle* between two requests. Whoever is fresh or idle for too long has
to go; so has, when the listener is full, the one that has been fresh for longest, then the one idle
for longest: a stranger that only holds connections open gives way to whoever does something.

Bytes that have arrived and of which nothing came yet (half a head, half a frame) are counted; when
all connections together hold too many, those that hold some go in the same order. Bytes of bodies
are not counted: they are read as fast as there is room for them.

Nothing in here closes anything or knows the time: keys stand for connections, and what has to go is
returned.
"""

import enum
from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import takewhile


class Doing(enum.Enum):
    """What a connection does; of those that do nothing, the order in which they go."""

    FRESH = "fresh"
    IDLE = "idle"
    TALKING = "talking"
    BUSY = "busy"


class Reason(enum.Enum):
    """Why a connection was reset."""

    SILENT = "silent"
    CROWDED = "crowded"
    UNREAD = "unread"


@dataclass(frozen=True)
class CrowdLimits:
    """How many may be there, and for how long without doing anything."""

    connections: int
    unread_bytes: int
    fresh_s: float
    idle_s: float


@dataclass
class Crowd:
    """The connections of one listener, by what they do, each since when."""

    limits: CrowdLimits
    accepted: int = 0
    unreadable: int = 0  # requests that made no sense
    unread_bytes: int = 0
    resets: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(Reason, 0))
    _since: dict[Doing, dict[Hashable, float]] = field(
        default_factory=lambda: {doing: {} for doing in Doing}
    )
    _doing: dict[Hashable, Doing] = field(default_factory=dict)
    _unread: dict[Hashable, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._doing)

    def count(self, doing: Doing) -> int:
        """How many do this."""
        return len(self._since[doing])

    def came(self, key: Hashable, now_s: float) -> Hashable | None:
        """A connection was accepted; return which one has to go for it: maybe itself."""
        self.accepted += 1
        self.becomes(key, Doing.FRESH, now_s)
        if len(self._doing) <= self.limits.connections:
            return None
        silent = next(iter(self._since[Doing.FRESH]))
        if silent is key:
            silent = next(iter(self._since[Doing.IDLE]), key)
        return self._goes(silent, Reason.CROWDED)

    def becomes(self, key: Hashable, doing: Doing, now_s: float) -> None:
        """A connection begins to do something else; what it sent before was for that."""
        self.gone(key)
        self._doing[key] = doing
        self._since[doing][key] = now_s

    def gone(self, key: Hashable) -> None:
        """A connection is closed. Harmless if it is not there."""
        before = self._doing.pop(key, None)
        if before is not None:
            del self._since[before][key]
            self.used(key)

    def received(self, key: Hashable, length_bytes: int) -> Hashable | None:
        """Bytes have arrived; return who has to go for them."""
        if self._doing.get(key, Doing.BUSY) is Doing.BUSY:
            return None
        self._unread[key] = self._unread.get(key, 0) + length_bytes
        self.unread_bytes += length_bytes
        if self.unread_bytes <= self.limits.unread_bytes:
            return None
        order = (Doing.FRESH, Doing.IDLE, Doing.TALKING)
        holding = (one for doing in order for one in self._since[doing] if one in self._unread)
        return self._goes(next(holding, key), Reason.UNREAD)

    def used(self, key: Hashable) -> None:
        """What a connection had sent has become a call."""
        self.unread_bytes -= self._unread.pop(key, 0)

    def overdue(self, now_s: float, at_most: int) -> list[Hashable]:
        """Return who has done nothing for too long, and has to go now."""
        patience = ((Doing.FRESH, self.limits.fresh_s), (Doing.IDLE, self.limits.idle_s))
        late = [
            key
            for doing, patience_s in patience
            for key, since_s in takewhile(
                lambda item, until_s=now_s - patience_s: item[1] <= until_s,  # type: ignore[misc]
                self._since[doing].items(),
            )
        ]
        return [self._goes(key, Reason.SILENT) for key in late[:at_most]]

    def _goes(self, key: Hashable, reason: Reason) -> Hashable:
        self.resets[reason] += 1
        self.gone(key)
        return key
