"""Who failed us a moment ago: asked last, or not at all, until it is forgotten."""

FAILURES_LIMIT = 256
"""More are not remembered: in a cluster with so many failures, avoiding some helps nobody."""


class RecentFailures:
    """The datanodes that failed within the last `forget_after_s`."""

    def __init__(self, forget_after_s: float) -> None:
        self._forget_after_s = forget_after_s
        self._until_s: dict[str, float] = {}

    def add(self, datanode_id: str, now_s: float) -> None:
        """This one just failed."""
        self._until_s.pop(datanode_id, None)
        self._until_s[datanode_id] = now_s + self._forget_after_s
        if len(self._until_s) > FAILURES_LIMIT:
            del self._until_s[next(iter(self._until_s))]

    def clear(self, datanode_id: str) -> None:
        """This one has just served us well."""
        self._until_s.pop(datanode_id, None)

    def current(self, now_s: float) -> tuple[str, ...]:
        """Return those still remembered, the oldest failure first."""
        self._until_s = {name: until for name, until in self._until_s.items() if until > now_s}
        return tuple(self._until_s)
