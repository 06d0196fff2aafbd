"""`dolmen quarantine`: what a datanode on this machine has put aside."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from datanode.quarantine import Quarantined, list_quarantine
from dolmen.cli.exit_codes import EXIT_NOT_FOUND
from dolmen.cli.formats import human_size, iso_time, local_time, printable, table
from dolmen.runtime.thread_disk import ThreadDisk

LEFT_COLUMNS = frozenset({0, 1})


@click.command()
@click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A directory of a datanode; it may be running.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def quarantine(directory: Path, as_json: bool) -> None:
    """List the damaged replicas that a datanode has put aside in DIR, the oldest first.

    They are kept for quarantine_age, as far as quarantine_space allows. Each is a directory with
    the files of one replica and entry.json, which says what they are. Exit code 3 where there is
    no datanode's directory.

    \b
      dolmen quarantine --dir /srv/dolmen/disk1
    """
    try:
        entries = asyncio.run(_entries(directory.absolute()))
    except FileNotFoundError:
        click.echo(
            f"dolmen: {directory} is not a datanode's directory: give what its --dir names",
            err=True,
        )
        click.get_current_context().exit(EXIT_NOT_FOUND)
    if as_json:
        for entry in entries:
            click.echo(json.dumps(_document(entry)))
        return
    for line in table([_row(entry) for entry in entries], LEFT_COLUMNS):
        click.echo(line)


async def _entries(directory: Path) -> list[Quarantined]:
    disk = ThreadDisk()
    try:
        return await list_quarantine(disk, str(directory))
    finally:
        disk.close()


def _document(entry: Quarantined) -> dict[str, Any]:
    about = entry.description
    return {
        "path": entry.path,
        "block_id": about.block_id or None,
        "stamp": about.stamp or None,
        "length_bytes": about.length_bytes if about.length_bytes >= 0 else None,
        "size_bytes": entry.size_bytes,
        "reason": about.reason,
        "time": iso_time(about.quarantined_ms),
        "source": about.source,
        "files": list(about.files),
    }


def _row(entry: Quarantined) -> tuple[str, ...]:
    about = entry.description
    return (
        local_time(about.quarantined_ms),
        about.block_id or "-",
        human_size(entry.size_bytes),
        printable(f"{entry.path}: {about.reason}"),
    )
