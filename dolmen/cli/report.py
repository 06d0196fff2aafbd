"""`dolmen report`: how a cluster is."""

import json
from typing import Any

import click
import msgspec

from dolmen.cli.formats import human_size, printable, table
from dolmen.cli.said import client_options
from dolmen.cli.session import Session, run
from dolmen.client.url import format_url
from dolmen.protocol.operator_messages import ClusterReport

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
    mode = "in safe mode: it still collects block reports" if found.safe_mode else "in service"
    used = f"{human_size(found.used_bytes)} of {human_size(found.capacity_bytes)} used"
    lines = [
        f"{url}  Dolmen {found.version}, {mode}",
        f"datanodes: {found.live_datanodes} live, {found.stale_datanodes} stale,"
        f" {found.dead_datanodes} dead; {used}",
        f"files: {found.files}; blocks: {found.blocks}",
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
        lines += ["", *table([HEADINGS, *rows], left=frozenset({0, 1, 2, 3, 4}))]
    return lines


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s ago"
