"""`dolmen safemode`: asked about, entered and left by hand."""

import asyncio
import json

import click
import msgspec

from dolmen.cli.said import client_options
from dolmen.cli.session import Session, run
from dolmen.protocol.operator_messages import SafeModeAction, SafeModeState

#: How often `--wait` looks.
LOOK_EVERY_S = 0.5

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def safemode() -> None:
    """The namenode's safe mode, in which it answers reads and changes nothing."""


@safemode.command()
@click.option("--wait", is_flag=True, help="Return when safe mode is over.")
@json_option
@client_options
def get(wait: bool, as_json: bool) -> None:
    """Say whether the namenode is in safe mode, and why."""

    async def work(session: Session) -> SafeModeState:
        operator = (await session.client()).operator
        while True:
            state = await operator.safe_mode()
            if not wait or not state.on:
                return state
            await asyncio.sleep(LOOK_EVERY_S)

    _show(run(work), as_json)


@safemode.command()
@json_option
@client_options
def enter(as_json: bool) -> None:
    """Refuse all changes until safe mode is left by hand, or the namenode starts again."""
    _change(SafeModeAction.ENTER, as_json)


@safemode.command()
@json_option
@client_options
def leave(as_json: bool) -> None:
    """End safe mode, also that of a start: what nobody has reported is missing from then on.

    If replicas are known that this namespace has not made yet, because it was rolled back, leaving
    gives up what was written since: such replicas are neither read nor deleted any more. Find the
    newest directory of the namenode before you do that.
    """
    _change(SafeModeAction.LEAVE, as_json)


def _change(action: SafeModeAction, as_json: bool) -> None:
    async def work(session: Session) -> SafeModeState:
        return await (await session.client()).operator.safe_mode(action)

    _show(run(work), as_json)


def _show(state: SafeModeState, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.structs.asdict(state)))
    elif state.on:
        click.echo(f"on: {state.reason.removeprefix('safe mode: ')}")
    else:
        click.echo(f"off: {state.reason}" if state.reason else "off")
