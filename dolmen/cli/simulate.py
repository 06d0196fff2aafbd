"""`dolmen simulate`: a whole cluster in virtual time, with faults, and whether it keeps its word.

The plan of a run is all that it depends on: one is drawn from the seed, or read from a file. Exit
code 7 and the plan of a run that found something, made as small as it can be, are for whoever wants
to see it again.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dolmen.cli.exit_codes import EXIT_DAMAGED, EXIT_SOME_FAILED, describe, exit_code_of
from dolmen.cli.options import gathered
from dolmen.cli.simulate_options import (
    FAMILIES,
    SEED_MAX,
    Families,
    Hours,
    SimulateOptions,
    make_sure,
    read_or_draw_plan,
)
from dolmen.cli.simulate_run import SimulateRun, told

if TYPE_CHECKING:
    from dolmen.simulation.plan import Plan


@click.command()
@click.option(
    "--seed",
    type=click.IntRange(0, SEED_MAX),
    default=1,
    show_default=True,
    metavar="N",
    help="What the plan is drawn from.",
)
@click.option(
    "--datanodes",
    type=click.IntRange(3, 100),
    metavar="N",
    help="How many datanodes there are [default: 3 to 7, as the seed has it].",
)
@click.option(
    "--hours",
    type=Hours(),
    default=1.0,
    show_default=True,
    metavar="H",
    help="How long things go wrong, in virtual time.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 3_600_000),
    metavar="S",
    help="The same, for what is less than hours.",
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
    help="Where the plan of a run that fails is written [default: the current directory].",
)
@gathered(SimulateOptions)
def simulate(options: SimulateOptions) -> None:
    """Run a whole cluster in virtual time while things go wrong, and check what it promises.

    The namenode, the datanodes and the clients are the real ones; the network, the disks and the
    clocks are not. Equal plans give equal runs: the last line is a digest over everything that
    happened. The plan of a run that fails is made as small as it can be in a minute or so; Ctrl-C
    ends that earlier.

    \b
      dolmen simulate --seed 7 --hours 24
      dolmen simulate --faults disk,clock --report run.html
      dolmen simulate --plan plan.json

    \b
    Exit codes: 0 everything held · 1 too little memory · 2 usage · 7 something did not
    """
    logging.getLogger().addHandler(logging.NullHandler())
    make_sure(options)
    plan = read_or_draw_plan(options)
    for line in told(plan):
        click.echo(line)
    run = SimulateRun(plan)
    run.go()
    if run.ran_out_of_memory:
        run.give_up()
    elif run.failed is not None:
        run.shrink(options)
    for line in run.lines:
        click.echo(line)
    unwritten = _write_report(options.report, plan, run)
    click.echo(f"trace {run.digest}")
    if run.ran_out_of_memory:
        click.get_current_context().exit(EXIT_SOME_FAILED)
    if run.failed is not None or unwritten:
        click.get_current_context().exit(unwritten if run.failed is None else EXIT_DAMAGED)


def _write_report(file: Path | None, plan: "Plan", run: SimulateRun) -> int:
    """Return the exit code that it comes to, if it cannot be written any more."""
    if file is None:
        return 0
    from dolmen.cli.simulate_report import write_report

    try:
        write_report(file, plan, run.moments, run.lines)
    except OSError as error:
        click.echo(f"dolmen: {describe(error)}", err=True)
        return exit_code_of(error)
    return 0
