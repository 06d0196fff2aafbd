"""The numbers of mutations, by which a namenode knows a repeated one (rule 7).

A namenode keeps the answers to the last 8192 numbers of a client. A call whose answer was lost may
wait for a second before it is repeated, and a fast client makes more calls than that in a second:
so none may run too far ahead of one that has no answer yet, lest it be forgotten and done twice.
"""

NUMBERS_AHEAD = 8000
"""Below what a namenode keeps by more than the calls in flight."""


class CallNumbers:
    """The numbers drawn, and which of them have no answer yet."""

    def __init__(self, ahead: int = NUMBERS_AHEAD) -> None:
        self._ahead = ahead
        self._last = 0
        self._unanswered: dict[int, None] = {}  # in the order in which they were drawn

    @property
    def are_too_far_ahead(self) -> bool:
        """Whether the next one has to wait until the oldest has its answer."""
        oldest = next(iter(self._unanswered), self._last)
        return self._last - oldest >= self._ahead

    def draw(self) -> int:
        """Return the next number."""
        self._last += 1
        self._unanswered[self._last] = None
        return self._last

    def answered(self, number: int) -> None:
        """This one will not be repeated any more."""
        del self._unanswered[number]
