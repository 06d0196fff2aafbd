"""Which datanodes lost races of late: asked after the others for a while.

One lost race may be chance and costs a datanode a second; each further one, with no answer in time
between, twice as long as the one before. So one that stands still is tried again ever more rarely,
and one that was busy for a moment is back at once.
"""

FIRST_S = 1.0
LONGEST_S = 30.0
REMEMBERED = 256
"""In a cluster with so many slow datanodes, avoiding some helps nobody."""


class LostRaces:
    """The datanodes that lost, and until when they are avoided."""

    def __init__(self) -> None:
        self._lost: dict[str, tuple[float, float]] = {}  # avoided until, and for how long

    def add(self, datanode_id: str, now_s: float) -> None:
        """This one was slower than another, which was asked later."""
        until_s, for_s = self._lost.pop(datanode_id, (0.0, FIRST_S / 2))
        if until_s <= now_s:  # several races lost at once are one event
            for_s = min(LONGEST_S, 2 * for_s)
            until_s = now_s + for_s
        self._lost[datanode_id] = until_s, for_s
        if len(self._lost) > REMEMBERED:
            del self._lost[next(iter(self._lost))]

    def clear(self, datanode_id: str) -> None:
        """This one has just answered in time."""
        self._lost.pop(datanode_id, None)

    def current(self, now_s: float) -> tuple[str, ...]:
        """Return those to avoid."""
        return tuple(name for name, (until_s, _) in self._lost.items() if until_s > now_s)
