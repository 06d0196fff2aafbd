"""What a daemon tells of itself, as plain figures: no library, no clock, no I/O.

Whoever does the work counts in plain integers and in `Histogram`s; when somebody asks, a `Status`
turns them into `Metric`s, and the edge (`http_metrics`) into text. Names follow Prometheus: a
prefix of the daemon, base units, `_total` for what only grows. Names and labels are listed in
docs/operations.md, and a test compares.
"""

import enum
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""From a call answered out of memory to the deadline of a silent peer."""

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""How many at once."""

NAMES_LIMIT = 64
"""Different values of a label that a figure keeps; whatever comes beyond counts as `other`."""

OTHER = "other"


class Kind(enum.Enum):
    """What may be done with a figure."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Histogram:
    """How often a value fell into each of fixed ranges, and the sum of all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Take one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were taken."""
        return sum(self.counts)


@dataclass(frozen=True)
class Sample:
    """One value under one set of labels."""

    value: float | Histogram
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """A figure with its samples, which all have the same labels."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


class Timings:
    """Calls by name: how long each took, and how many failed with what."""

    def __init__(self) -> None:
        self.seconds: dict[str, Histogram] = {}
        self.errors: dict[tuple[str, str], int] = {}

    def took(self, name: str, seconds: float) -> None:
        """A call has ended, well or not."""
        histogram = self.seconds.get(name)
        if histogram is None:
            if len(self.seconds) >= NAMES_LIMIT:
                name = OTHER
            histogram = self.seconds.setdefault(name, Histogram())
        histogram.observe(seconds)

    def failed(self, name: str, error: BaseException) -> None:
        """A call has ended with this error."""
        key = (name, type(error).__name__)
        if key not in self.errors and len(self.errors) >= NAMES_LIMIT**2:
            key = (OTHER, OTHER)
        self.errors[key] = self.errors.get(key, 0) + 1

    def metrics(self, prefix: str, label: str, what: str) -> Iterator[Metric]:
        """Yield `<prefix>_seconds` and `<prefix>_errors_total`, by `label`."""
        yield Metric(
            f"{prefix}_seconds",
            Kind.HISTOGRAM,
            f"How long {what} took, by {label}.",
            tuple(Sample(taken, {label: name}) for name, taken in self.seconds.items()),
        )
        yield Metric(
            f"{prefix}_errors_total",
            Kind.COUNTER,
            f"How many of {what} failed, by {label} and error.",
            tuple(
                Sample(count, {label: name, "error": error})
                for (name, error), count in self.errors.items()
            ),
        )


def counter(name: str, help_text: str, value: float) -> Metric:
    """Return what only grows; its name ends with `_total`."""
    return Metric(name, Kind.COUNTER, help_text, (Sample(value, {}),))


def gauge(name: str, help_text: str, value: float) -> Metric:
    """Return what goes up and down."""
    return Metric(name, Kind.GAUGE, help_text, (Sample(value, {}),))


def histogram(name: str, help_text: str, taken: Histogram) -> Metric:
    """Return the distribution of one thing."""
    return Metric(name, Kind.HISTOGRAM, help_text, (Sample(taken, {}),))


def gauges(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return what goes up and down, by one label."""
    return Metric(name, Kind.GAUGE, help_text, _by(label, values))


def counters(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return what only grows, by one label."""
    return Metric(name, Kind.COUNTER, help_text, _by(label, values))


def _by(label: str, values: Mapping[str, float]) -> tuple[Sample, ...]:
    return tuple(Sample(value, {label: name}) for name, value in values.items())


@dataclass(frozen=True)
class Health:
    """Whether a daemon can do its work, and what to know of its state (text, numbers, flags)."""

    ok: bool
    details: Mapping[str, str | int | float | bool | None]


class Status(Protocol):
    """What a daemon tells of itself; both answer at once, from memory."""

    def metrics(self) -> Iterable[Metric]:
        """Return the figures as they are now."""

    def health(self) -> Health:
        """Return whether it is well."""
