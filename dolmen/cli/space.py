"""`dolmen df`: how much room clusters have."""

import json
from typing import Any

import click

from dolmen.cli.cluster_path import ClusterPath, parse_cluster_path, path_arguments
from dolmen.cli.formats import size_text, table
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.client.url import format_url
from dolmen.protocol.operator_messages import ClusterReport

HEADINGS = ("size", "used", "available", "use%", "cluster")


@click.command()
@path_arguments("paths", required=False)
@click.option("-h", "human", is_flag=True, help="Sizes as 1.5K, 12M.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@client_options
def df(paths: tuple[ClusterPath, ...], human: bool, as_json: bool) -> None:
    """Show size, used and available space of clusters, as their live datanodes count it.

    A file takes its length times its replication: see dolmen du.
    """

    async def work(session: Session) -> None:
        failures = Failures()
        documents = []
        for path in paths or (parse_cluster_path("/"),):
            with failures.item():
                client = await session.client(path)
                await client.info(path.path)
                url = format_url(session.address_of(path))
                documents.append(space_document(url, await client.report()))
        _print(documents, human=human, as_json=as_json)
        failures.end()

    run(work)


def space_document(url: str, report: ClusterReport) -> dict[str, Any]:
    """The space of a cluster for programs. What others keep on its disks is neither used nor
    available."""
    used_bytes, free_bytes = report.used_bytes, report.free_bytes
    return {
        "url": url,
        "size_bytes": report.capacity_bytes,
        "used_bytes": used_bytes,
        "available_bytes": free_bytes,
        "use_percent": use_percent(used_bytes, free_bytes),
        "live_datanodes": report.live_datanodes,
    }


def use_percent(used_bytes: int, free_bytes: int) -> int:
    """The share of what could be used that is, rounded up as df does; 0 where there is nothing."""
    total_bytes = used_bytes + free_bytes
    return -(-100 * used_bytes // total_bytes) if total_bytes else 0


def _print(documents: list[dict[str, Any]], *, human: bool, as_json: bool) -> None:
    if as_json:
        for document in documents:
            click.echo(json.dumps(document))
        return
    rows = [
        (
            *(size_text(document[f"{name}_bytes"], human) for name in HEADINGS[:3]),
            f"{document['use_percent']}%",
            document["url"],
        )
        for document in documents
    ]
    if rows:
        click.echo("\n".join(table([HEADINGS, *rows])))
