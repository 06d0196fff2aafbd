"""What is under way: a fault counts if it hits a cluster that is at work."""

from collections.abc import Generator
from contextlib import contextmanager


class Activity:
    """The operations of all clients, as they begin and end."""

    def __init__(self) -> None:
        self.under_way = 0
        self.begun = 0
        self.faults = 0
        self.faults_in_flight = 0
        """Those that began, or lasted, while an operation was under way."""
        self.faults_in_growth = 0
        """Those of them that hit files being appended to, followed, cut or joined."""
        self._growing = self._grown = 0

    @contextmanager
    def operation(self, *, growing: bool) -> Generator[None]:
        """An operation lasts as long as this context."""
        self.begun += 1
        self.under_way += 1
        self._grown += growing
        self._growing += growing
        try:
            yield
        finally:
            self.under_way -= 1
            self._growing -= growing

    @contextmanager
    def fault(self) -> Generator["Happening"]:
        """A fault lasts as long as this context; it counts if it happened."""
        this, hit, begun = Happening(), self.under_way > 0, self.begun
        hit_growth, grown = self._growing > 0, self._grown
        yield this
        if this.happened:
            self.faults += 1
            self.faults_in_flight += hit or self.begun > begun
            self.faults_in_growth += hit_growth or self._grown > grown


class Happening:
    """One fault, of which it may turn out that it did not happen."""

    happened = True
