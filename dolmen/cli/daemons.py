"""`dolmen namenode` and `dolmen datanode`: a server in the foreground, until SIGTERM or SIGINT."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from dolmen.cli.daemon_log import LogOptions, log_level_option
from dolmen.cli.foreground import check_loopback, serve
from dolmen.cli.options import Command, gathered
from dolmen.cli.said import Said, settings_options
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import parse_address


@dataclass(frozen=True)
class NamenodeFlags:
    """The options of `dolmen namenode` that are not settings."""

    directory: Path
    topology: Path | None
    host: str
    port: int
    advertise: str | None
    secret_file: Path | None
    insecure: bool
    log_file: Path | None
    log_level: str


@dataclass(frozen=True)
class DatanodeFlags:
    """The options of `dolmen datanode` that are not settings."""

    namenode: str
    directories: tuple[Path, ...]
    host: str
    port: int
    advertise: str | None
    host_label: str | None
    rack: str
    secret_file: Path | None
    insecure: bool
    log_file: Path | None
    log_level: str


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            parse_address(value)
        except InvalidRequest as error:
            raise click.BadParameter(error.message) from None
    return value


def trust_options(command: Command) -> Command:
    """Add --secret-file and --insecure."""
    for option in (
        click.option(
            "--secret-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The cluster's secret, which its members prove to each other that they know.",
        ),
        click.option(
            "--insecure",
            is_flag=True,
            help="Listen on an address that is not loopback, though clients are believed.",
        ),
    ):
        command = option(command)
    return command


def log_options(command: Command) -> Command:
    """Add --log-file and --log-level."""
    for option in (
        click.option(
            "--log-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Log to this file, and begin a new one before it is longer than 16 MiB; four are"
            " kept [default: standard error].",
        ),
        log_level_option,
    ):
        command = option(command)
    return command


def server_options(port: int) -> Callable[[Command], Command]:
    """Add what both servers take: where they listen, who may come in, where they log."""
    options = (
        click.option(
            "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Listen here."
        ),
        click.option(
            "--port",
            metavar="PORT",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="Listen on this port; 0 is any free one.",
        ),
        click.option(
            "--advertise",
            callback=_address,
            metavar="HOST:PORT",
            help="Where others reach this server, if not where it listens.",
        ),
        trust_options,
        log_options,
        settings_options,
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command()
@click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps the namespace; an empty directory becomes a new cluster.",
)
@click.option(
    "--topology",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Lines of a datanode (address, host label or host) and its rack, which count more than"
    " what datanodes say; dolmen admin topology reload reads them again.",
)
@server_options(9870)
@gathered(NamenodeFlags)
def namenode(flags: NamenodeFlags) -> None:
    """Run a namenode in the foreground. SIGTERM stops it cleanly.

    \b
      dolmen namenode --dir /srv/dolmen/namenode --dead-after 30s
    """
    settings = Said.now().settings()
    check_loopback(flags.host, flags.insecure)
    from dolmen.runtime.real_machine import real_machine
    from namenode.node import Namenode, NamenodeOptions

    options = NamenodeOptions(
        directory=str(flags.directory.absolute()),
        host=flags.host,
        port=flags.port,
        advertise=flags.advertise,
        secret_file=_text(flags.secret_file),
        settings=settings,
        topology_file=_text(flags.topology),
        insecure=flags.insecure,
    )
    machine = real_machine(_own_hosts(flags.advertise))
    log = LogOptions(flags.log_file, flags.log_level)
    serve("namenode", lambda: Namenode(machine, options), log)


@click.command()
@click.option(
    "--namenode",
    required=True,
    callback=_address,
    metavar="HOST:PORT",
    help="The cluster's namenode.",
)
@click.option(
    "--dir",
    "directories",
    required=True,
    multiple=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it keeps blocks; one for each disk.",
)
@click.option(
    "--host-label", metavar="LABEL", help="Which host it is on [default: the machine's host name]."
)
@click.option(
    "--rack", metavar="RACK", default="/default", show_default=True, help="Which rack it is in."
)
@server_options(9864)
@gathered(DatanodeFlags)
def datanode(flags: DatanodeFlags) -> None:
    """Run a datanode in the foreground. SIGTERM stops it cleanly.

    \b
      dolmen datanode --namenode 127.0.0.1:9870 --dir /disk1/dolmen --dir /disk2/dolmen \\
          --secret-file /etc/dolmen/cluster.secret
    """
    settings = Said.now().settings()
    check_loopback(flags.host, flags.insecure)
    from datanode.node import Datanode
    from datanode.options import DatanodeOptions
    from dolmen.runtime.real_machine import real_machine

    options = DatanodeOptions(
        directories=tuple(str(directory.absolute()) for directory in flags.directories),
        namenode=flags.namenode,
        host=flags.host,
        port=flags.port,
        advertise=flags.advertise,
        host_label=flags.host_label,
        rack=flags.rack,
        secret_file=_text(flags.secret_file),
        settings=settings,
    )
    machine = real_machine(_own_hosts(flags.advertise))
    log = LogOptions(flags.log_file, flags.log_level)
    serve("datanode", lambda: Datanode(machine, options), log)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _own_hosts(advertise: str | None) -> tuple[str, ...]:
    return () if advertise is None else (parse_address(advertise)[0],)
