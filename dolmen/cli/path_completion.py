"""Which paths of a cluster begin as what is being typed.

Whoever presses Tab does not wait: what is not known at once is not offered, and no error is told.
Neither is a name offered that a shell would take for more than a name: who may write into a cluster
must not be able to put a command onto the command line of somebody else.
"""

import asyncio
import re

import click
from click.shell_completion import CompletionItem

from dolmen.cli.cluster_path import parse_cluster_path
from dolmen.cli.said import Said
from dolmen.cli.session import Session
from dolmen.client.url import SCHEME
from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import DolmenError
from dolmen.runtime.setting import SettingsError

PATIENCE_S = 1.0

#: More would only scroll by.
PATHS_MAX = 200

PLAIN_NAME = re.compile(r"[\w.,:+@%=-]+")


def complete_path(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """The paths that `incomplete` may become, directories with a closing slash."""
    incomplete = incomplete or "/"
    if not re.match(f"/|{SCHEME}[^/]+/", incomplete):
        return []
    said = ctx.find_object(Said) or Said()
    try:
        return [CompletionItem(path) for path in asyncio.run(_paths(said, incomplete))]
    except (DolmenError, SettingsError, click.ClickException, OSError, TimeoutError):
        return []


async def _paths(said: Said, incomplete: str) -> list[str]:
    directory, slash, beginning = incomplete.rpartition("/")
    place = parse_cluster_path(directory + slash)
    session = Session(said, said.settings(), streams=1)
    paths: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            client = await session.client(place)
            async for entry in client.iterate_directory(place.path):
                name = entry.path.rpartition("/")[2]
                if name.startswith(beginning) and PLAIN_NAME.fullmatch(name):
                    end = "/" if entry.kind is EntryKind.DIRECTORY else ""
                    paths.append(f"{directory}{slash}{name}{end}")
                if len(paths) == PATHS_MAX:
                    break
    finally:
        await session.close()
    return paths
