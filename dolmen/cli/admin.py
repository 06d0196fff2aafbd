"""`dolmen admin`: datanodes leave, rest and serve again; checkpoints; balancing and racks."""

import asyncio
import json

import click
import msgspec

from dolmen.cli.balance import balance, topology
from dolmen.cli.durations import Duration
from dolmen.cli.formats import printable
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.operator_messages import CheckpointWritten, DatanodeReport
from dolmen.runtime.real_machine import real_machine

#: How often `--wait` looks: a person notices no less.
LOOK_EVERY_S = 1.0

FOREVER = "forever"

names = click.argument("datanodes", metavar="DATANODE...", nargs=-1, required=True)
wait_option = click.option("--wait", is_flag=True, help="Return when they can be stopped.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line for each datanode."
)


class DurationOrForever(Duration):
    """Milliseconds, or 0 for as long as it takes."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        return 0 if value == FOREVER else super().convert(value, param, ctx)


@click.group()
def admin() -> None:
    """Datanodes that leave or rest, checkpoints, balancing, racks.

    A DATANODE is its address (host:port), its id, or a start of its id that fits no other.
    """


@admin.command()
@names
@wait_option
@json_option
@client_options
def decommission(datanodes: tuple[str, ...], wait: bool, as_json: bool) -> None:
    """Have datanodes leave: their blocks are copied to others, then they can be stopped for good.

    They are still read from, after the others, and get nothing new; blocks that are being written
    to them are waited for. A datanode that is DECOMMISSIONED keeps its replicas on its disks.

    \b
      dolmen admin decommission --wait 10.0.0.7:9864
    """
    _set_all(datanodes, Wanted("DECOMMISSIONING"), wait, as_json)


@admin.command()
@names
@json_option
@client_options
def recommission(datanodes: tuple[str, ...], as_json: bool) -> None:
    """Have datanodes serve again, whether they were leaving, had left or rested.

    Their replicas count again; what is too many then goes.
    """
    _set_all(datanodes, Wanted("IN_SERVICE"), False, as_json)


@admin.command()
@names
@click.option(
    "--for",
    "duration_ms",
    type=DurationOrForever(),
    default="1h",
    show_default=True,
    metavar="DURATION",
    help=f"After this time they serve again, or are dead; {FOREVER!r}: until they are"
    " recommissioned.",
)
@wait_option
@json_option
@client_options
def maintenance(datanodes: tuple[str, ...], duration_ms: int, wait: bool, as_json: bool) -> None:
    """Have datanodes rest, for a restart of their machine: nothing is copied while they are away.

    Before that every block gets as many replicas on others as make a write durable: wait for it
    before you stop them.

    \b
      dolmen admin maintenance --wait --for 20min 10.0.0.7:9864
    """
    until_ms = real_machine().wall_clock_ms() + duration_ms if duration_ms else 0
    _set_all(datanodes, Wanted("MAINTENANCE", until_ms), wait, as_json)


@admin.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@client_options
def checkpoint(as_json: bool) -> None:
    """Have the namenode write a checkpoint now; return when it counts."""

    async def work(session: Session) -> CheckpointWritten:
        return await (await session.client()).operator.write_checkpoint()

    written = run(work)
    if as_json:
        click.echo(json.dumps(msgspec.structs.asdict(written)))
    else:
        click.echo(f"the checkpoint holds everything up to transaction {written.txid}")


admin.add_command(balance)
admin.add_command(topology)


class Wanted(msgspec.Struct, frozen=True):
    """What datanodes are to be."""

    admin_state: str
    until_ms: int = 0

    def is_reached(self, datanode: DatanodeReport) -> bool:
        """Return whether there is nothing left to wait for. InvalidRequest: there never will be."""
        if datanode.admin_state == "DECOMMISSIONED":
            return self.admin_state == "DECOMMISSIONING"
        if datanode.admin_state != self.admin_state:
            raise InvalidRequest(
                f"datanode {datanode.address} is {datanode.admin_state} now: somebody else has"
                " changed that, or its maintenance is over"
            )
        drained = not datanode.draining_blocks and not datanode.draining_open_blocks
        return self.admin_state == "IN_SERVICE" or (self.admin_state == "MAINTENANCE" and drained)


def _set_all(datanodes: tuple[str, ...], wanted: Wanted, wait: bool, as_json: bool) -> None:
    """Set them all before the first is waited for: they leave at the same time."""

    async def work(session: Session) -> Failures:
        operator = (await session.client()).operator
        failures, found = Failures(), []
        for name in datanodes:
            with failures.item():
                state = await operator.set_admin_state(name, wanted.admin_state, wanted.until_ms)
                found.append(state)
        for datanode in found:
            with failures.looking():
                last = await _wait_for(session, datanode, wanted) if wait else datanode
                click.echo(
                    json.dumps(msgspec.structs.asdict(last)) if as_json else _line(last, wait)
                )
        return failures

    run(work).end()


async def _wait_for(session: Session, datanode: DatanodeReport, wanted: Wanted) -> DatanodeReport:
    client = await session.client()
    told = ""
    while True:
        report = await client.report()
        now = next((other for other in report.datanodes if other.id == datanode.id), datanode)
        if wanted.is_reached(now):
            return now
        if (line := _line(now, waiting=True)) != told:
            click.echo(line, err=True)
            told = line
        await asyncio.sleep(LOOK_EVERY_S)


def _line(datanode: DatanodeReport, waiting: bool) -> str:
    text = f"{printable(datanode.address)} is {datanode.admin_state}"
    going = datanode.admin_state in ("DECOMMISSIONING", "MAINTENANCE")
    if datanode.admin_state == "DECOMMISSIONED":
        return f"{text}: nothing needs it, it can be stopped for good"
    if not going:
        return text
    if not waiting:
        return f"{text}; `dolmen report` shows how far it is"
    if not datanode.draining_blocks and not datanode.draining_open_blocks:
        return f"{text}: no block needs it"
    return (
        f"{text}, {datanode.state}: {datanode.draining_blocks} blocks still need it, and"
        f" {datanode.draining_open_blocks} are being written to it"
    )
