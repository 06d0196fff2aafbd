"""The run of `dolmen simulate`, and what is told of it."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dolmen.cli.simulate_options import HOUR_S, SimulateOptions, keep_plan
from dolmen.cli.simulate_verdict import verdict

if TYPE_CHECKING:
    from dolmen.simulation.plan import Plan
    from dolmen.simulation.run import Moment, Result, SimulationFailed, Watch

OUT_OF_MEMORY = "verdict: none, the run needs more memory than it may take"

SHRINK_AT_LEAST_S = 60.0
SHRINK_RUNS = 5
"""Shrinking takes at most as long as so many runs, or that long: nobody waits for more."""


def told(plan: "Plan") -> Iterator[str]:
    """Yield what is going to be run."""
    racks = "1 rack" if plan.racks == 1 else f"{plan.racks} racks"
    clients = "1 client" if plan.clients == 1 else f"{plan.clients} clients"
    yield (
        f"seed {plan.seed}: {plan.datanodes} datanodes in {racks}, {clients},"
        f" {plan.seconds / HOUR_S:.2f} virtual hours; work: {', '.join(plan.work.kinds)}"
    )
    kinds = Counter(str(type(fault).__struct_config__.tag) for fault in plan.faults)
    named = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
    yield f"faults planned: {len(plan.faults)}" + (f" ({named})" if named else "")


class SimulateRun:
    """One run, and what is to be told of it."""

    def __init__(self, plan: "Plan") -> None:
        self._plan = plan
        self._took_s = 0.0
        self.lines: list[str] = []
        self.moments: list[Moment] = []
        self.failed: SimulationFailed | None = None
        self.digest = ""

    def go(self) -> None:
        """Run the plan."""
        from dolmen.simulation import run

        began_s = time.monotonic()
        with _progress("simulating", self._plan) as watch:

            def note(moment: "Moment") -> None:
                self.moments.append(moment)
                watch(moment)

            try:
                result = run.simulate(self._plan, note)
            except run.SimulationFailed as failed:
                self.failed, self.digest = failed, failed.digest
            else:
                self.digest = result.digest
                self.lines = list(_held(result, time.monotonic() - began_s))
        self._took_s = time.monotonic() - began_s

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the run found only that it may not have more memory."""
        return self.failed is not None and isinstance(self.failed.__cause__, MemoryError)

    def give_up(self) -> None:
        """Tell that the run could not go on: that says nothing about the cluster."""
        self.lines = [*str(self.failed).splitlines(), OUT_OF_MEMORY]

    def shrink(self, options: SimulateOptions) -> None:
        """Look for a smaller plan that fails in the same way, and keep it."""
        from dolmen.simulation import shrinking

        assert self.failed is not None
        click.echo("something was found; its plan is made smaller", err=True)
        within_s = max(SHRINK_AT_LEAST_S, SHRINK_RUNS * self._took_s)
        with _progress("shrinking", self._plan) as watch:
            smallest, failed = shrinking.shrink(self._plan, self.failed, within_s, watch)
        story = str(failed).rpartition("\nplan: ")[0]
        self.lines = [
            *story.splitlines(),
            *verdict(False, failed.__cause__),
            f"plan, shrunk from {len(self._plan.faults)} faults to {len(smallest.faults)}:"
            f" {smallest.encode()}",
            f"run it again: dolmen simulate {shlex.join(_replay(options, self._plan, smallest))}",
        ]


def _held(result: "Result", took_s: float) -> Iterator[str]:
    yield f"faults: {result.faults}, of which {result.faults_in_flight} hit work in flight"
    yield (
        f"operations acknowledged: {result.operations}; failed for want of datanodes or"
        f" namenode: {sum(result.failed.values())}; at the end {result.files} files in"
        f" {result.blocks} blocks"
    )
    if result.toll:
        yield "what they did: " + ", ".join(f"{kind}: {n}" for kind, n in result.toll.items())
    yield (
        f"virtual time: {result.virtual_s / HOUR_S:.2f} h in {took_s:.1f} s,"
        f" {result.virtual_s / took_s:.0f} times as fast"
    )
    yield from (
        f"{realm}: too many answers were lost at once to check all the others"
        for realm in result.unchecked
    )
    yield from verdict(True)


def _replay(options: SimulateOptions, plan: "Plan", smallest: "Plan") -> list[str]:
    """Keep the plan; return the words that run it again."""
    if options.plan_file is not None and options.keep is None and smallest == plan:
        return options.words
    try:
        return ["--plan", str(keep_plan(options.keep or Path(), smallest))]
    except OSError as error:
        click.echo(f"dolmen: the plan is not kept: {error}", err=True)
        return ["--plan", smallest.encode()]


@contextmanager
def _progress(what: str, plan: "Plan") -> "Iterator[Watch]":
    """A bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    # Slow to load, and needed only here.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=plan.seconds)
        yield lambda moment: progress.update(
            task,
            completed=moment.virtual_s,
            description=f"{what}: {moment.operations} operations, {moment.faults_in_flight} faults",
        )
