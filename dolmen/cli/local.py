"""`dolmen up`, `down` and `status`: a cluster of background processes on this machine."""

import asyncio
import json
import os
import time
from pathlib import Path

import click

from dolmen.cli.bring_up import DATANODES_MAX, Wanted, bring_up, default_directory
from dolmen.cli.cluster_file import locked, read_cluster
from dolmen.cli.daemon_log import log_level_option
from dolmen.cli.exit_codes import EXIT_NOT_FOUND, EXIT_UNREACHABLE
from dolmen.cli.processes import stop_processes
from dolmen.cli.said import Said, settings_options
from dolmen.runtime.settings_sources import named_settings

#: A cluster on a slow, busy machine takes some seconds; what takes longer does not come up alone.
READY_WITHIN_S = 60.0

#: After SIGTERM a daemon syncs its tables and ends within a second; what takes this long hangs.
STOP_PATIENCE_S = 10.0

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The cluster's directory [default: $XDG_DATA_HOME/dolmen/local].",
)


@click.command()
@click.option(
    "--datanodes",
    metavar="N",
    type=click.IntRange(1, DATANODES_MAX),
    help="How many datanodes [default: 3, or those it has].",
)
@directory_option
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    help="The namenode's port [default: 9870, or the one it had].",
)
@log_level_option
@settings_options
def up(datanodes: int | None, directory: Path | None, port: int | None, log_level: str) -> None:
    """Start a cluster on this machine, in the background, and print its URL.

    Starts what does not run of the cluster in DIR, with its data and its old ports; settings that
    are given again hold for the processes started from now on, --log-level for those started now.
    Logs are in DIR/logs.

    \b
      dolmen up
      dolmen up --datanodes 5 --dir /srv/dolmen --port 9871 --block-size 4MiB
      export DOLMEN_URL=$(dolmen up)
    """
    from dolmen.cli.readiness import await_ready

    said = Said.now()
    named = named_settings(said.flags, os.environ, said.config)
    said.settings()
    texts = {name: text for name, (text, _) in named.items()}
    wanted = Wanted(datanodes, port, texts, log_level)
    place = _place(directory)
    deadline = time.monotonic() + READY_WITHIN_S
    cluster = bring_up(place, wanted, deadline, _tell)
    lacking = asyncio.run(await_ready(place, cluster, deadline))
    for line in lacking:
        _tell(line)
    if lacking:
        _tell(f"what runs was left running: see dolmen status --dir {place}, dolmen down")
        click.get_current_context().exit(EXIT_UNREACHABLE)
    click.echo(cluster.url)


@click.command()
@directory_option
def down(directory: Path | None) -> None:
    """Stop the cluster in DIR. Its data stays; dolmen up starts it again."""
    place = _place(directory)
    if read_cluster(place) is None:
        _tell(f"{place} holds no cluster: nothing runs")
        return
    with locked(place):
        cluster = read_cluster(place)
        members = [] if cluster is None else [member for _, _, member in cluster.members]
        processes = [member.process for member in members if member.process is not None]
        for process in stop_processes(processes, STOP_PATIENCE_S):
            _tell(f"process {process.pid} did not end on SIGTERM within 10 s and was killed")


@click.command()
@directory_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def status(directory: Path | None, as_json: bool) -> None:
    """Show which processes of the cluster in DIR run. Exit code 3 where there is no cluster."""
    place = _place(directory)
    cluster = read_cluster(place)
    if cluster is None:
        _tell(f"{place} holds no cluster: dolmen up --dir {place} makes one")
        click.get_current_context().exit(EXIT_NOT_FOUND)
    rows = [
        {
            "role": role,
            "index": index,
            "pid": member.process.pid if member.process else None,
            "address": member.address,
            "running": member.running,
        }
        for role, index, member in cluster.members
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        name = f"{row['role']} {row['index']}"
        state = f"running, pid {row['pid']}" if row["running"] else "not running"
        click.echo(f"{name:12}  {row['address']:21}  {state}")


def _place(directory: Path | None) -> Path:
    return (directory or default_directory()).absolute()


def _tell(line: str) -> None:
    click.echo(f"dolmen: {line}", err=True)
