"""`dolmen locate`: where the blocks of files are."""

from collections.abc import Collection, Iterator
from typing import Any

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.formats import printable
from dolmen.cli.printing import Rows
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import Found, find_sources
from dolmen.protocol.client_messages import LocatedBlock, ReplicaLocation
from dolmen.protocol.identifiers import format_block_id


@click.command()
@path_arguments("paths")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for each block.")
@client_options
def locate(paths: tuple[ClusterPath, ...], as_json: bool) -> None:
    """Show the blocks of files: offset, length, block id, and who holds them.

    "read locally": the datanode is on this host, and lets its files be read here. A short file may
    have no blocks: the namenode keeps it itself.

    \b
      dolmen locate /data/flights.csv
    """

    async def work(session: Session) -> None:
        failures = Failures()
        entries = await find_sources(session, paths, failures)
        headed = len(paths) > 1 or len(entries) > 1
        with Rows() as rows:
            for found in entries:
                with failures.item():
                    await _print_blocks(found, rows, headed=headed, as_json=as_json)
        failures.end()

    run(work)


async def _print_blocks(found: Found, rows: Rows, *, headed: bool, as_json: bool) -> None:
    index = 0
    async for block in found.client.locate_blocks(found.file):
        local = await found.client.find_local(block)
        if as_json:
            rows.add_document(block_document(found.shown, index, block, local))
        else:
            if headed and not index:
                rows.add(f"{printable(found.shown)}:")
            for line in _lines(block, local):
                rows.add(line)
        index += 1
    if not index:
        _add_without_blocks(found, rows, headed=headed, as_json=as_json)


def _add_without_blocks(found: Found, rows: Rows, *, headed: bool, as_json: bool) -> None:
    shown, info = printable(found.shown), found.info
    if as_json:
        if info.inline:
            rows.add_document(
                {"path": found.shown, "inline": True, "length_bytes": info.length_bytes}
            )
    elif info.inline:
        rows.add(f"{shown}: {info.length_bytes} bytes, which the namenode keeps itself")
    elif headed:
        rows.add(f"{shown}: no blocks")


def block_document(
    path: str, index: int, block: LocatedBlock, local: Collection[str]
) -> dict[str, Any]:
    """A block for programs; the nearest replica first."""
    return {
        "path": path,
        "index": index,
        "offset_bytes": block.offset_bytes,
        "length_bytes": block.length_bytes,
        "block_id": format_block_id(block.block_id),
        "stamp": block.stamp,
        "replicas": [
            {
                "datanode_id": replica.datanode_id,
                "address": replica.address,
                "host": replica.host,
                "rack": replica.rack,
                "stale": replica.stale,
                "local": replica.datanode_id in local,
            }
            for replica in block.replicas
        ],
    }


def _lines(block: LocatedBlock, local: Collection[str]) -> Iterator[str]:
    """The block, and below it each replica."""
    name = format_block_id(block.block_id)
    yield f"{block.offset_bytes:>15}  {block.length_bytes:>11}  {name}"
    for replica in block.replicas:
        read_locally = "  (read locally)" if replica.datanode_id in local else ""
        yield f"{'':>28}  {_place(replica)}{read_locally}"
    if not block.replicas:
        yield f"{'':>28}  no replica: see dolmen report"


def _place(replica: ReplicaLocation) -> str:
    silent = "  (silent)" if replica.stale else ""
    return f"{replica.address}  {printable(replica.host)}  {printable(replica.rack)}{silent}"
