"""`dolmen simulate`: a whole cluster in virtual time, with faults, and whether it keeps its word.

The plan of a run is all that it depends on: one is drawn from the seed, or read from a file. Exit
code 7 and the plan of a run that found something are for whoever wants to see it again.
"""

import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from dolmen.cli.exit_codes import EXIT_DAMAGED
from dolmen.cli.options import gathered
from dolmen.cli.simulate_verdict import verdict

if TYPE_CHECKING:
    from dolmen.simulation.plan import Plan
    from dolmen.simulation.run import Moment, SimulationFailed, Watch

FAMILIES = ("crash", "pause", "network", "disk", "clock")
HOUR_S = 3600
HUNDREDTH_OF_AN_HOUR_S = 36
SEEDS = 1 << 32


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


@dataclass(frozen=True)
class SimulateOptions:
    """What `simulate` was asked for."""

    seed: int
    datanodes: int
    hours: float
    seconds: int | None
    families: tuple[str, ...]
    plan_file: str | None
    report: Path | None
    keep: Path | None

    @property
    def duration_s(self) -> int:
        return self.seconds or round(self.hours * HOUR_S)

    @property
    def words(self) -> list[str]:
        """What is said to have this run again."""
        if self.plan_file is not None:
            return ["--plan", self.plan_file]
        duration = ["--seconds", str(self.duration_s)]
        if self.duration_s % HUNDREDTH_OF_AN_HOUR_S == 0:
            duration = ["--hours", f"{self.duration_s / HOUR_S:g}"]
        words = ["--seed", str(self.seed), "--datanodes", str(self.datanodes), *duration]
        return words if self.families == FAMILIES else [*words, "--faults", ",".join(self.families)]


@click.command()
@click.option(
    "--seed",
    type=click.IntRange(0, SEEDS),
    default=1,
    show_default=True,
    metavar="N",
    help="What the plan is drawn from.",
)
@click.option(
    "--datanodes",
    type=click.IntRange(3, 100),
    default=5,
    show_default=True,
    metavar="N",
    help="How many datanodes there are.",
)
@click.option(
    "--hours",
    type=click.FloatRange(1 / 60, 1000),
    default=1.0,
    show_default=True,
    metavar="H",
    help="How long things go wrong, in virtual time.",
)
@click.option(
    "--seconds", type=click.IntRange(1), metavar="S", help="The same, for what is less than hours."
)
@click.option(
    "--faults",
    "families",
    type=Families(),
    default=FAMILIES,
    metavar="KIND,...",
    help=f"Which kinds of faults there are, of {','.join(FAMILIES)} [default: all].",
)
@click.option("--plan", "plan_file", metavar="FILE", help="Run the plan in this file instead.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Write one page that shows the run.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the plan of a run that fails into this directory.",
)
@gathered(SimulateOptions)
def simulate(options: SimulateOptions) -> None:
    """Run a whole cluster in virtual time while things go wrong, and check what it promises.

    The namenode, the datanodes and the clients are the real ones; the network, the disks and the
    clocks are not. Equal plans give equal runs: the last line is a digest over everything that
    happened.

    \b
      dolmen simulate --seed 7 --hours 24
      dolmen simulate --faults disk,clock --report run.html
      dolmen simulate --plan plan.json

    \b
    Exit codes: 0 everything held · 2 usage · 7 something did not
    """
    logging.getLogger().addHandler(logging.NullHandler())
    plan = _plan(options)
    for line in _told(plan):
        click.echo(line)
    with _progress(plan) as watch:
        run = _Run(plan, watch)
        run.go()
    for line in run.lines():
        click.echo(line)
    if run.failed is not None:
        click.echo(f"run it again: dolmen simulate {_replay(options, plan)}")
    if options.report is not None:
        from dolmen.cli.simulate_report import write_report

        write_report(options.report, plan, run.moments, run.lines())
    click.echo(f"trace {run.digest}")
    if run.failed is not None:
        click.get_current_context().exit(EXIT_DAMAGED)


def _plan(options: SimulateOptions) -> "Plan":
    from dolmen.simulation.plan import Plan
    from dolmen.simulation.plan_maker import ALL_FAMILIES, make_plan

    if options.plan_file is None:
        wanted = frozenset(family for family in ALL_FAMILIES if family.value in options.families)
        return make_plan(options.seed, options.duration_s, options.datanodes, wanted)
    try:
        text = options.plan_file
        return Plan.decode(text if text.startswith("{") else Path(text).read_bytes())
    except OSError as error:
        raise click.UsageError(f"--plan {options.plan_file}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise click.UsageError(f"--plan {options.plan_file}: not a plan: {error}") from None


def _told(plan: "Plan") -> Iterator[str]:
    racks = "1 rack" if plan.racks == 1 else f"{plan.racks} racks"
    yield (
        f"seed {plan.seed}: {plan.datanodes} datanodes in {racks}, {plan.clients} clients,"
        f" {plan.seconds / HOUR_S:.2f} virtual hours of {', '.join(plan.work.kinds)}"
    )
    kinds = Counter(str(type(fault).__struct_config__.tag) for fault in plan.faults)
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    yield f"faults planned: {len(plan.faults)}" + (f" ({named})" if named else "")


class _Run:
    """One run, and what is to be told of it."""

    def __init__(self, plan: "Plan", watch: "Watch") -> None:
        self._plan = plan
        self._watch = watch
        self._lines: list[str] = []
        self.moments: list[Moment] = []
        self.failed: SimulationFailed | None = None
        self.digest = ""

    def go(self) -> None:
        from dolmen.simulation import run

        began_s = time.monotonic()
        try:
            result = run.simulate(self._plan, self._note)
        except run.SimulationFailed as failed:
            self.failed, self.digest = failed, failed.digest
            self._lines = [str(failed).rpartition("\nplan: ")[0], *verdict(False, failed.__cause__)]
            return
        took_s = time.monotonic() - began_s
        self.digest = result.digest
        self._lines = [
            f"faults: {result.faults}, of which {result.faults_in_flight} hit work in flight",
            f"operations acknowledged: {result.operations}; failed for want of datanodes or"
            f" namenode: {sum(result.failed.values())}; at the end {result.files} files in"
            f" {result.blocks} blocks",
            f"virtual time: {result.virtual_s / HOUR_S:.2f} h in {took_s:.1f} s,"
            f" {result.virtual_s / took_s:.0f} times as fast",
            *verdict(True),
            *(f"not checked to the end: {realm}" for realm in result.unchecked),
        ]

    def lines(self) -> list[str]:
        return self._lines

    def _note(self, moment: "Moment") -> None:
        self.moments.append(moment)
        self._watch(moment)


def _replay(options: SimulateOptions, plan: "Plan") -> str:
    """Return what this run's command is to be given; keep its plan if that was asked for."""
    words = options.words
    if options.keep is not None:
        words = ["--plan", str(keep_plan(options.keep, plan))]
    return shlex.join(words)


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


@contextmanager
def _progress(plan: "Plan") -> "Iterator[Watch]":
    """A bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Slow to load, and needed only here.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("simulating", total=plan.seconds)
        yield lambda moment: progress.update(
            task,
            completed=moment.virtual_s,
            description=f"{moment.operations} operations, {moment.faults_in_flight} faults",
        )
