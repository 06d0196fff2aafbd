"""What `dolmen simulate` is asked for, and the plan that it comes to."""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from dolmen.simulation.plan import Plan

FAMILIES = ("crash", "pause", "network", "disk", "clock")
HOUR_S = 3600
HUNDREDTH_OF_AN_HOUR_S = 36
SEED_MAX = (1 << 64) - 1

#: What a plan says already.
DRAWN = ("seed", "datanodes", "hours", "seconds", "families")


class Families(click.ParamType[tuple[str, ...]]):
    """Some of FAMILIES, with commas between."""

    name = "families"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        named = [name.strip() for name in str(value).split(",")]
        for name in named:
            if name not in FAMILIES:
                self.fail(f"{name!r} is none of {', '.join(FAMILIES)}", param, ctx)
        return tuple(name for name in FAMILIES if name in named)


class Hours(click.ParamType[float]):
    """More than no time, and not more than a run can take."""

    name = "hours"
    most = 1000.0

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            hours = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)
        if math.isnan(hours) or not 0 < hours <= self.most:
            self.fail(f"{value} is not more than 0 and at most {self.most:g}", param, ctx)
        return hours


@dataclass(frozen=True)
class SimulateOptions:
    """What `simulate` was asked for."""

    seed: int
    datanodes: int | None
    """None: as the seed has it."""
    hours: float
    seconds: int | None
    families: tuple[str, ...]
    plan_file: str | None
    report: Path | None
    keep: Path | None

    @property
    def duration_s(self) -> int:
        return self.seconds or max(1, round(self.hours * HOUR_S))

    @property
    def words(self) -> list[str]:
        """What is said to have this run again."""
        if self.plan_file is not None:
            return ["--plan", self.plan_file]
        duration = ["--seconds", str(self.duration_s)]
        if self.duration_s % HUNDREDTH_OF_AN_HOUR_S == 0:
            duration = ["--hours", f"{self.duration_s / HOUR_S:g}"]
        datanodes = [] if self.datanodes is None else ["--datanodes", str(self.datanodes)]
        faults = [] if self.families == FAMILIES else ["--faults", ",".join(self.families)]
        return ["--seed", str(self.seed), *datanodes, *duration, *faults]


def make_sure(options: SimulateOptions) -> None:
    """Refuse what contradicts itself, and a page that could not be written after the run."""
    said = [
        parameter.opts[0]
        for parameter in click.get_current_context().command.params
        if parameter.name in DRAWN and _is_said(parameter.name)
    ]
    if options.plan_file is not None and said:
        raise click.UsageError(f"--plan says all that a run depends on: leave out {said[0]}")
    if {"--hours", "--seconds"} <= set(said):
        raise click.UsageError("--hours and --seconds are the same: leave out one of them")
    if options.report is not None:
        _require_place(options.report)


def _is_said(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def _require_place(report: Path) -> None:
    if report.is_dir():
        raise click.UsageError(f"--report {report}: Is a directory")
    trial = report.with_name(f".{report.name}.{os.getpid()}.new")
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise click.UsageError(f"--report {report}: {error.strerror}") from None


def read_or_draw_plan(options: SimulateOptions) -> "Plan":
    """Return the plan that the options name, or come to."""
    from dolmen.simulation.plan import Plan
    from dolmen.simulation.plan_maker import ALL_FAMILIES, make_plan

    if options.plan_file is None:
        wanted = frozenset(family for family in ALL_FAMILIES if family.value in options.families)
        return make_plan(options.seed, options.duration_s, options.datanodes, wanted)
    text = options.plan_file
    with _told_of(text):
        return Plan.decode(text if text.startswith("{") else Path(text).read_bytes())


@contextlib.contextmanager
def _told_of(plan_file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"--plan {plan_file}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise click.UsageError(f"--plan {plan_file}: not a plan: {error}") from None


def keep_plan(directory: Path, plan: "Plan") -> Path:
    """Write a plan that failed; equal plans have equal names."""
    from xxhash import xxh3_64_hexdigest

    text = plan.encode()
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"plan-{plan.seed}-{xxh3_64_hexdigest(text.encode())[:8]}.json"
    new = file.with_suffix(".new")
    new.write_text(text + "\n")
    new.replace(file)
    return file
