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

    @contextmanager
    def operation(self) -> Generator[None]:
        """An operation lasts as long as this context."""
        self.begun += 1
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    @contextmanager
    def fault(self) -> Generator["Happening"]:
        """A fault lasts as long as this context; it counts if it happened."""
        this, hit, begun = Happening(), self.under_way > 0, self.begun
        yield this
        if this.happened:
            self.faults += 1
            self.faults_in_flight += hit or self.begun > begun


class Happening:
    """One fault, of which it may turn out that it did not happen."""

    happened = True
