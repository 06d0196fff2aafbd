"""`dolmen cat`, `dolmen stat` and `dolmen checksum`."""

import json

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.formats import entry_document, human_size, mode_text, printable
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import find_sources
from dolmen.cli.streams import fetch_to_standard_output
from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.errors import IsADirectory, TryAgain


@click.command()
@path_arguments("paths")
@client_options
def cat(paths: tuple[ClusterPath, ...]) -> None:
    """Write files to standard output, one after the other.

    \b
      dolmen cat /data/flights.csv | head
      dolmen cat '/logs/2013-01-*.gz' | zcat
    """

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                await fetch_to_standard_output(found.client, found.file)
        failures.end()

    run(work)


@click.command()
@path_arguments("paths")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@client_options
def stat(paths: tuple[ClusterPath, ...], as_json: bool) -> None:
    """Show all that is known of files and directories."""

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                document = entry_document(found.info, found.shown)
                click.echo(json.dumps(document) if as_json else _describe(found.info, document))
        failures.end()

    run(work)


@click.command()
@path_arguments("paths")
@client_options
def checksum(paths: tuple[ClusterPath, ...]) -> None:
    """Print the xxh3-128 of files as xxh128sum does, as it was recorded: no data is read.

    \b
      dolmen checksum /data/flights.csv
      dolmen checksum '/data/*'
    """

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                click.echo(checksum_line(_recorded_hash(found.info), found.shown))
        failures.end()

    run(work)


def checksum_line(hash_hex: str, path: str) -> str:
    """As xxh128sum prints it, and reads it with -c: a name that would break the line is escaped."""
    escaped = path.replace("\\", r"\\").replace("\n", r"\n").replace("\r", r"\r")
    mark = "" if escaped == path else "\\"
    return f"{mark}{hash_hex}  {printable(escaped)}"


def _recorded_hash(info: FileInfo) -> str:
    if info.kind is EntryKind.DIRECTORY:
        raise IsADirectory("is a directory: only a file has a checksum", info.path)
    if not info.content_hash:
        raise TryAgain(
            "it grew, was cut or joined, and its checksum is being computed again: try later",
            info.path,
        )
    return info.content_hash.hex()


def _describe(info: FileInfo, document: dict[str, object]) -> str:
    shown = dict(document)
    shown["mode"] = f"{document['mode']} ({mode_text(info)})"
    for name in ("length_bytes", "block_size_bytes"):
        size = shown.get(name)
        if isinstance(size, int) and size >= 1024:
            shown[name] = f"{size} ({human_size(size)})"
    return "\n".join(f"{name:>16}: {printable(str(value))}" for name, value in shown.items())
