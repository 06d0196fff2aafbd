"""`dolmen touch`: files that exist, and their times."""

from datetime import UTC, datetime

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.client import Client
from dolmen.protocol.errors import NoSuchPath, PathExists


class MomentType(click.ParamType[int]):
    """Reads a moment as milliseconds since the epoch."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        try:
            moment = datetime.fromisoformat(text)
            moment_ms = int(moment.timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            moment_ms = -1
        if moment_ms < 0:
            self.fail(f"{text} is no time since 1970 such as 2026-01-31T12:00:00Z", param, ctx)
        return moment_ms


@click.command()
@path_arguments("paths")
@click.option("-c", "no_create", is_flag=True, help="Make no files.")
@click.option(
    "-d",
    "moment_ms",
    metavar="TIME",
    type=MomentType(),
    help="This time, local unless it names its zone [default: now].",
)
@client_options
def touch(paths: tuple[ClusterPath, ...], no_create: bool, moment_ms: int | None) -> None:
    """Set the time of last change of files; make empty ones where nothing is.

    \b
      dolmen touch /data/_SUCCESS
      dolmen touch -c -d 2026-01-31T12:00:00Z /data/flights.csv
    """
    modified_ms = int(datetime.now(UTC).timestamp() * 1000) if moment_ms is None else moment_ms

    async def work(session: Session) -> None:
        failures = Failures()
        for path in paths:
            with failures.item():
                client = await session.client(path)
                await _touch(client, path.path, modified_ms, create=not no_create)
        failures.end()

    run(work)


async def _touch(client: Client, path: str, modified_ms: int, *, create: bool) -> None:
    try:
        await client.set_attributes(path, modified_ms=modified_ms)
        return
    except NoSuchPath:
        if not create:
            return
    await check_parent(client, path)
    try:
        writer = await client.open_writer(path, exclusive=True, coming_bytes=0)
        async with writer:
            await writer.close(modified_ms=modified_ms)
    except PathExists:
        # Somebody made it meanwhile.
        await client.set_attributes(path, modified_ms=modified_ms)


async def check_parent(client: Client, path: str) -> None:
    """A misspelt directory must not come into being by a touch."""
    parent = path.rpartition("/")[0] or "/"
    try:
        await client.info(parent)
    except NoSuchPath:
        raise NoSuchPath(
            f"there is no directory {parent}: dolmen mkdir -p makes it", path
        ) from None
