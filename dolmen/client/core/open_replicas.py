"""Which open replicas are kept, when there are more than may be: those that are used.

Whoever reads one, in whatever thread, only marks it. When room is needed the oldest goes that was
not marked since it was last looked at. So reading takes no lock and moves nothing.
"""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

OPEN_MAX = 256
"""Each is a descriptor, and a process may have 1024 by default: 32 GiB of blocks of 128 MiB."""

Key = tuple[int, int]


class Used(Protocol):
    """What is kept."""

    was_used: bool


R = TypeVar("R", bound=Used)


class OpenReplicas(Generic[R]):
    """The open replicas of a client, by block id and stamp."""

    def __init__(self, limit: int = OPEN_MAX) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, R] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> R | None:
        """Return the one of a block."""
        return self._kept.get(key)

    def add(self, key: Key, replica: R) -> list[R]:
        """Keep one; return what is to be given up for it."""
        replica.was_used = True  # it is about to be
        before = self._kept.pop(key, None)
        self._kept[key] = replica
        given_up = [] if before is None else [before]
        while len(self._kept) > self._limit:
            oldest, looked_at = self._kept.popitem(last=False)
            if looked_at.was_used:
                looked_at.was_used = False
                self._kept[oldest] = looked_at
            else:
                given_up.append(looked_at)
        return given_up

    def remove(self, key: Key, replica: R) -> None:
        """Keep this one no longer."""
        if self._kept.get(key) is replica:
            del self._kept[key]
