"""`dolmen report`: how a cluster is."""

import json
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from dolmen.cli.formats import human_size, printable, table
from dolmen.cli.said import client_options
from dolmen.cli.session import Session, run
from dolmen.client.url import format_url
from dolmen.protocol.operator_messages import ClusterReport, DatanodeReport

DAY_MS = 24 * 60 * 60 * 1000

#: Longer than scrubbing takes unless it was set otherwise.
WORTH_TELLING_MS = 30 * DAY_MS

HEADINGS = ("address", "host", "rack", "state", "admin state", "used", "of", "blocks", "heard")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@client_options
def report(as_json: bool) -> None:
    """Show a cluster's datanodes, blocks and health, also in safe mode.

    \b
      dolmen report
      dolmen --at namenode:9870 report --json | jq .under_replicated_blocks
    """

    async def work(session: Session) -> tuple[str, ClusterReport]:
        client = await session.client()
        return format_url(session.address_of(None)), await client.report()

    url, found = run(work)
    if as_json:
        click.echo(json.dumps(report_document(url, found)))
    else:
        click.echo("\n".join(_lines(url, found)))


def report_document(url: str, report: ClusterReport) -> dict[str, Any]:
    """The report with its names, in the order in which the protocol has them."""
    document: dict[str, Any] = {"url": url, **msgspec.structs.asdict(report)}
    document["datanodes"] = [msgspec.structs.asdict(datanode) for datanode in report.datanodes]
    return document


def _lines(url: str, found: ClusterReport) -> list[str]:
    mode = f"in {found.safe_mode_reason or 'safe mode'}" if found.safe_mode else "in service"
    used = f"{human_size(found.used_bytes)} of {human_size(found.capacity_bytes)} used"
    lines = [
        f"{url}  Dolmen {found.version}, {mode}",
        f"datanodes: {found.live_datanodes} live, {found.stale_datanodes} stale,"
        f" {found.dead_datanodes} dead; {used}",
        f"files: {found.files}, of which the namenode keeps {found.inline_files},"
        f" {human_size(found.inline_bytes)}; blocks: {found.blocks}",
        f"blocks under-replicated: {found.under_replicated_blocks}, over-replicated:"
        f" {found.over_replicated_blocks}, mis-replicated: {found.mis_replicated_blocks},"
        f" missing: {found.missing_blocks}",
        f"corrupt replicas: {found.corrupt_replicas}; pending transfers: {found.pending_transfers}",
    ]
    if found.datanodes:
        rows = [
            (
                datanode.address,
                printable(datanode.host),
                printable(datanode.rack),
                datanode.state,
                datanode.admin_state,
                human_size(datanode.used_bytes),
                human_size(datanode.capacity_bytes),
                str(datanode.blocks),
                _ago(datanode.last_heartbeat_s),
            )
            for datanode in found.datanodes
        ]
        lines += [line for datanode in found.datanodes for line in _remarks(datanode)]
        lines += ["", *table([HEADINGS, *rows], left=frozenset({0, 1, 2, 3, 4}))]
    return lines


def _remarks(datanode: DatanodeReport) -> Iterator[str]:
    """What an operator may want to do something about."""
    who = f"datanode {printable(datanode.address)}"
    if datanode.draining_blocks or datanode.draining_open_blocks:
        yield (
            f"{who} is {datanode.admin_state}: {datanode.draining_blocks} blocks still need it,"
            f" {datanode.draining_open_blocks} are being written to it"
        )
    for volume in datanode.failed_volumes:
        yield f"{who} has a failed volume: {printable(volume)}"
    if datanode.quarantined_replicas:
        yield (
            f"{who} has {datanode.quarantined_replicas} replicas in quarantine,"
            f" {human_size(datanode.quarantined_bytes)}"
        )
    if (datanode.oldest_unverified_ms or 0) >= WORTH_TELLING_MS:
        days = (datanode.oldest_unverified_ms or 0) // DAY_MS
        yield f"{who} has a replica that nobody has read and checked for {days} days"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s ago"
