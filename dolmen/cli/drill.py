"""`dolmen drill`: a real fault in the cluster of `dolmen up`, and how the cluster heals."""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from dolmen.cli.bring_up import default_directory
from dolmen.cli.cluster_file import Cluster
from dolmen.cli.cluster_path import ClusterPath, ClusterPathType
from dolmen.cli.drill_cluster import Drill, alone, find_cluster
from dolmen.cli.drill_faults import corrupt as corrupt_fault
from dolmen.cli.drill_faults import kill as kill_fault
from dolmen.cli.drill_faults import pause as pause_fault
from dolmen.cli.drill_watch import Watch
from dolmen.cli.durations import Duration
from dolmen.cli.exit_codes import EXIT_REFUSED, EXIT_SOME_FAILED
from dolmen.cli.options import Command
from dolmen.cli.said import Said
from dolmen.cli.session import run
from dolmen.client import Client, ClientOptions
from dolmen.protocol.errors import InvalidRequest
from dolmen.runtime.real_machine import real_machine

Fault = Callable[[Drill], Awaitable[bool]]


@dataclass(frozen=True)
class Ground:
    """Where a drill is to be, and how."""

    directory: Path | None
    sure: bool
    within_ms: int


def ground_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --dir, --yes and --within; the command gets them as one `ground`."""

    @functools.wraps(command)
    def gather(directory: Path | None, sure: bool, within_ms: int, **others: object) -> None:
        command(Ground(directory, sure, within_ms), **others)

    within = click.option(
        "--within",
        "within_ms",
        type=Duration(),
        default="60s",
        show_default=True,
        metavar="DURATION",
        help="How long healing may take.",
    )
    yes = click.option("--yes", "sure", is_flag=True, help="Do not ask.")
    directory = click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The cluster's directory [default: $XDG_DATA_HOME/dolmen/local].",
    )
    return directory(yes(within(gather)))


def datanode_option(command: Command) -> Command:
    """Add --datanode."""
    return click.option(
        "--datanode",
        "index",
        type=click.IntRange(0),
        metavar="I",
        help="Which one, as dolmen status numbers them [default: any].",
    )(command)


@click.group()
def drill() -> None:
    """Break something in the cluster of dolmen up, and watch it heal.

    Refused is what would take the last good replica of a block, and a cluster that is not healthy
    to begin with. Lines begin with the time since the fault. Exit code 0 when all is healed, 1 when
    it is not within --within.
    """


@drill.command()
@click.argument("path", required=False, type=ClusterPathType(), metavar="[PATH]")
@click.option(
    "--replicas",
    type=click.IntRange(1, 512),
    default=1,
    show_default=True,
    metavar="N",
    help="So many of its replicas.",
)
@ground_options
def corrupt(ground: Ground, path: ClusterPath | None, replicas: int) -> None:
    """Flip bytes on disk in replicas of one block of PATH; without a path, of some file.

    Every replica of the file is read and checked before. What was damaged stays in quarantine.

    \b
      dolmen drill corrupt /data/flights.csv
    """
    what = "a file" if path is None else path.path
    count = "1 replica" if replicas == 1 else f"{replicas} replicas"

    def fault(drill: Drill) -> Awaitable[bool]:
        if path is not None and path.address not in (None, drill.cluster.namenode.address):
            raise InvalidRequest(f"{path.address} is not the cluster in {drill.directory}")
        return corrupt_fault(drill, None if path is None else path.path, replicas)

    _run(ground, f"damage {count} of a block of {what}", fault)


@drill.command()
@datanode_option
@click.option("--leave-dead", is_flag=True, help="Do not start it again.")
@ground_options
def kill(ground: Ground, index: int | None, leave_dead: bool) -> None:
    """Kill a datanode, wait until its blocks are copied elsewhere, and start it again.

    \b
      dolmen drill kill --datanode 1
    """
    _run(
        ground,
        f"kill {_name(index)}",
        lambda drill: kill_fault(drill, index, leave_dead=leave_dead),
    )


@drill.command()
@datanode_option
@click.option(
    "--for",
    "pause_ms",
    type=Duration(),
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="How long it stands still.",
)
@ground_options
def pause(ground: Ground, index: int | None, pause_ms: int) -> None:
    """Stop a datanode as a machine that hangs is: its connections stay open and silent.

    It goes on after that time, also when this command is interrupted; --within counts from then.

    \b
      dolmen drill pause --for 30s
    """
    _run(ground, f"stop {_name(index)}", lambda drill: pause_fault(drill, index, pause_ms))


def _name(index: int | None) -> str:
    return "a datanode" if index is None else f"datanode {index}"


def _run(ground: Ground, what: str, fault: Fault) -> None:
    """Do the drill, and leave with what came of it."""
    directory = (ground.directory or default_directory()).absolute()
    cluster = find_cluster(directory)
    if not ground.sure and not _agreed(f"{what} in {directory}?"):
        _end("nothing was done: --yes says that you mean it", EXIT_REFUSED)
    with alone(directory):
        healed = run(lambda _: _drill(directory, cluster, ground, fault))
    if not healed:
        _end(
            f"not healed within {ground.within_ms / 1000:g} s: see dolmen report and dolmen fsck"
            " --why",
            EXIT_SOME_FAILED,
        )
    click.echo("healed: every block has all its replicas")


async def _drill(directory: Path, cluster: Cluster, ground: Ground, fault: Fault) -> bool:
    options = ClientOptions.of(Said.now().settings(), cluster.namenode.address)
    async with Client(real_machine(), options) as client:
        watch = Watch(client, [member.address for member in cluster.datanodes])
        return await fault(Drill(directory, cluster, client, watch, ground.within_ms / 1000))


def _agreed(question: str) -> bool:
    try:
        return click.confirm(f"dolmen: {question}", err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def _end(line: str, code: int) -> NoReturn:
    click.echo(f"dolmen: {line}", err=True)
    click.get_current_context().exit(code)
