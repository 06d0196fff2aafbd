"""`dolmen admin balance` and `dolmen admin topology`: replicas moved for space, racks read anew."""

import asyncio
import contextlib
import json
import math
import re
import sys
from typing import NoReturn

import click
import msgspec

from dolmen.cli.exit_codes import EXIT_SOME_FAILED
from dolmen.cli.formats import human_size
from dolmen.cli.said import client_options
from dolmen.cli.session import Session, run
from dolmen.client.operator import Operator
from dolmen.protocol.errors import DolmenError
from dolmen.protocol.operator_messages import BalanceProgress, TopologyReloaded

#: Several times within the life that a call gives to balancing.
CALL_EVERY_S = 1.0

#: Who ends balancing does not wait for a namenode that is gone: without calls it ends by itself.
STOP_WITHIN_S = 3.0

PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?%?")


class Percent(click.ParamType[float]):
    """A percentage, with or without its sign."""

    name = "percent"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = PERCENT.fullmatch(str(value).strip())
        percent = float(match[1]) if match else math.nan
        if not 0 < percent <= 100:
            self.fail(f"{value!r} is no threshold: write a percentage, as 10% or 2.5%", param, ctx)
        return percent


@click.command()
@click.option(
    "--threshold",
    "threshold_percent",
    type=Percent(),
    default="10%",
    show_default=True,
    metavar="PERCENT",
    help="How far the use of a datanode may be from the mean, in percent of its capacity.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, each second."
)
@client_options
def balance(threshold_percent: float, as_json: bool) -> None:
    """Move replicas from full datanodes to empty ones, until each is near the mean.

    It keeps to the rate of repair, and lets repair go first; no block is less safe for it at any
    time. Ctrl-C ends it: what is under way is brought to its end. Exit code 1 if the datanodes are
    not balanced and nothing more can be moved.

    \b
      dolmen admin balance --threshold 5%
    """
    display = JsonLines() if as_json else Line()

    async def work(session: Session) -> BalanceProgress:
        operator = (await session.client()).operator
        try:
            return await _keep_asking(operator, threshold_percent, display)
        except asyncio.CancelledError:
            await _stop(operator, threshold_percent)
            raise

    try:
        last = run(work)
    finally:
        display.end()
    if not last.balanced:
        _give_up(last)
    if not as_json:
        click.echo(f"balanced: {_moved(last)}")


async def _keep_asking(
    operator: Operator, threshold_percent: float, display: "JsonLines | Line"
) -> BalanceProgress:
    while True:
        progress = await operator.balance(threshold_percent)
        display.show(progress)
        if progress.ended:
            return progress
        await asyncio.sleep(CALL_EVERY_S)


async def _stop(operator: Operator, threshold_percent: float) -> None:
    with contextlib.suppress(DolmenError, TimeoutError):
        async with asyncio.timeout(STOP_WITHIN_S):
            await operator.balance(threshold_percent, stop=True)


def _give_up(last: BalanceProgress) -> NoReturn:
    click.echo(
        f"dolmen: not balanced, {human_size(last.left_bytes)} are left to move and {_moved(last)}:"
        f" {last.reason}",
        err=True,
    )
    click.get_current_context().exit(EXIT_SOME_FAILED)


def _moved(progress: BalanceProgress) -> str:
    replicas = (
        "1 replica" if progress.moved_replicas == 1 else f"{progress.moved_replicas} replicas"
    )
    return f"{replicas} moved, {human_size(progress.moved_bytes)}"


class JsonLines:
    """Each answer as it is."""

    def show(self, progress: BalanceProgress) -> None:
        click.echo(json.dumps(msgspec.structs.asdict(progress)))
        sys.stdout.flush()

    def end(self) -> None:
        """Nothing is open."""


class Line:
    """How far it is: one line that changes on a terminal, a line for what is new elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = ""

    def show(self, progress: BalanceProgress) -> None:
        line = f"{_moved(progress)}; {progress.moving} under way"
        line += f"; {human_size(progress.left_bytes)} left"
        if progress.reason and not progress.ended:
            line += f"; waits: {progress.reason}"
        if line == self._last:
            return
        if self._terminal:
            click.echo(f"\r{line:<{len(self._last)}}", nl=False, err=True)
        else:
            click.echo(line, err=True)
        self._last = line

    def end(self) -> None:
        if self._terminal and self._last:
            click.echo(err=True)


@click.group()
def topology() -> None:
    """Which datanode is in which rack."""


@topology.command("reload")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@client_options
def reload_topology(as_json: bool) -> None:
    """Have the namenode read its topology file again.

    A line of the file names a datanode (its id, address, host label or host) and its rack. If it
    has an error the racks stay as they were.
    """

    async def work(session: Session) -> TopologyReloaded:
        return await (await session.client()).operator.reload_topology()

    found = run(work)
    if as_json:
        click.echo(json.dumps(msgspec.structs.asdict(found)))
    else:
        click.echo(f"{found.changed} datanodes are in another rack now; the file has {found.racks}")
