"""What was measured, and how it compares: medians, spreads, ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median


@dataclass(frozen=True)
class Unit:
    """What a figure counts, and whether more of it is better."""

    name: str
    more_is_better: bool = True


MIB_PER_S = Unit("MiB/s")
PER_S = Unit("per s")
SECONDS = Unit("s", more_is_better=False)
MILLISECONDS = Unit("ms", more_is_better=False)
MIB = Unit("MiB", more_is_better=False)
BYTES = Unit("bytes", more_is_better=False)


@dataclass(frozen=True)
class Reading:
    """One round of one side; what processes, by role, spent on a unit of the work."""

    value: float
    cpu_s_per_unit: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and how far they lay apart."""

    middle: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Line:
    """One line of the table: a subject, one limit, and what their rounds gave."""

    name: str
    unit: Unit
    limit_name: str
    subject: Spread
    limit: Spread
    ratio: Spread
    notes: str = ""
    aim: str = ""
    """What we want of it, in words."""
    is_met: bool | None = None
    """Whether this run's medians reach the aim, if there is one."""

    def aiming_at(self, *, figure: float | None = None, ratio: float | None = None) -> "Line":
        """Return the same line with an aim: for the figure, in its unit, or for the ratio."""
        if ratio is not None:
            return replace(self, aim=f"ratio ≥ {ratio:.2f}", is_met=self.ratio.middle >= ratio)
        assert figure is not None, "an aim is a figure or a ratio"
        more = self.unit.more_is_better
        is_met = self.subject.middle >= figure if more else self.subject.middle <= figure
        aim = f"{'≥' if more else '≤'} {round(figure, 2):,g} {self.unit.name}"
        return replace(self, aim=aim, is_met=is_met)


def compare(
    name: str,
    unit: Unit,
    subject: Sequence[Reading],
    limit: tuple[str, Sequence[Reading]],
    notes: str = "",
) -> Line:
    """Return the line of rounds that were run in turn: the first of one with that of the other."""
    limit_name, limits = limit
    pairs = zip(subject, limits, strict=True)
    return Line(
        name=name,
        unit=unit,
        limit_name=limit_name,
        subject=Spread.of([reading.value for reading in subject]),
        limit=Spread.of([reading.value for reading in limits]),
        ratio=Spread.of([ratio(unit, ours.value, bare.value) for ours, bare in pairs]),
        notes=notes,
    )


def ratio(unit: Unit, subject: float, limit: float) -> float:
    """How much of the limit the subject reaches: 1 is all of it, whatever the unit."""
    return subject / limit if unit.more_is_better else limit / subject


def cpu_notes(subject: Sequence[Reading], limit: Sequence[Reading], unit: str) -> str:
    """Say what each role spent, as `CPU s/GiB: client 1.00, datanodes 1.40; limit 0.90`."""
    return f"CPU {unit}: {_spent(subject)}; {_spent(limit)}"


def total_cpu(reading: Reading) -> Reading:
    """Return what all roles together spent on a unit, as a figure of its own."""
    return Reading(sum(reading.cpu_s_per_unit.values()))


def _spent(readings: Sequence[Reading]) -> str:
    spent = {
        role: median(reading.cpu_s_per_unit[role] for reading in readings)
        for role in readings[0].cpu_s_per_unit
    }
    return ", ".join(f"{role} {seconds:.2f}" for role, seconds in spent.items())
