"""`dolmen namenode` and `dolmen datanode`: a server in the foreground, until SIGTERM or SIGINT."""

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import click

from dolmen.cli.options import gathered
from dolmen.cli.said import Said, settings_options
from dolmen.protocol.errors import InvalidRequest, StartRefused
from dolmen.protocol.identifiers import parse_address

Command = TypeVar("Command", bound=Callable[..., object])

LOG = logging.getLogger("dolmen")


class Node(Protocol):
    """What the two servers have in common."""

    address: str

    async def start(self) -> None: ...

    async def wait(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True)
class NamenodeFlags:
    """The options of `dolmen namenode` that are not settings."""

    directory: Path
    host: str
    port: int
    advertise: str | None
    secret_file: Path | None
    insecure: bool


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


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            parse_address(value)
        except InvalidRequest as error:
            raise click.BadParameter(error.message) from None
    return value


def listening_options(port: int) -> Callable[[Command], Command]:
    """Add what both servers take: where they listen, and who may come in."""
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
@listening_options(9870)
@gathered(NamenodeFlags)
def namenode(flags: NamenodeFlags) -> None:
    """Run a namenode in the foreground. SIGTERM stops it cleanly.

    \b
      dolmen namenode --dir /srv/dolmen/namenode --dead-after 30s
    """
    settings = Said.now().settings()
    _check_loopback(flags.host, flags.insecure)
    from dolmen.runtime.real_machine import real_machine
    from namenode.node import Namenode, NamenodeOptions

    options = NamenodeOptions(
        directory=str(flags.directory.absolute()),
        host=flags.host,
        port=flags.port,
        advertise=flags.advertise,
        secret_file=_text(flags.secret_file),
        settings=settings,
        insecure=flags.insecure,
    )
    machine = real_machine(_own_hosts(flags.advertise))
    _serve("namenode", lambda: Namenode(machine, options))


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
@listening_options(9864)
@gathered(DatanodeFlags)
def datanode(flags: DatanodeFlags) -> None:
    """Run a datanode in the foreground. SIGTERM stops it cleanly.

    \b
      dolmen datanode --namenode 127.0.0.1:9870 --dir /disk1/dolmen --dir /disk2/dolmen \\
          --secret-file /etc/dolmen/cluster.secret
    """
    settings = Said.now().settings()
    _check_loopback(flags.host, flags.insecure)
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
    _serve("datanode", lambda: Datanode(machine, options))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _own_hosts(advertise: str | None) -> tuple[str, ...]:
    return () if advertise is None else (parse_address(advertise)[0],)


def _check_loopback(host: str, insecure: bool) -> None:
    """Clients are believed for now, so nobody from elsewhere may be one unless that was said."""
    if insecure:
        return
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartRefused(f"--host {host}: {error.strerror}") from None
    if not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found):
        raise StartRefused(
            f"{host} is not a loopback address, and clients are believed whoever they say they"
            " are: --insecure listens there all the same"
        )


def _serve(role: str, make: Callable[[], Node]) -> None:
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    # A line for each segment would be most of the log.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    asyncio.run(_run_until_stopped(role, make))


async def _run_until_stopped(role: str, make: Callable[[], Node]) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    node = make()
    stopping = asyncio.create_task(asked.wait())
    try:
        if await _ends_before(stopping, asyncio.create_task(node.start())):
            LOG.info("%s ready at %s", role, _where(role, node.address))
            await _ends_before(stopping, asyncio.create_task(node.wait()))
        LOG.info("%s stops", role)
    finally:
        stopping.cancel()
        # Who asks once more does not want to wait for a clean end.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await node.stop()


async def _ends_before(stopping: "asyncio.Task[bool]", work: "asyncio.Task[None]") -> bool:
    """Whether `work` ended, and well, before it was asked to stop; its error is raised."""
    await asyncio.wait((stopping, work), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
        return False
    work.result()
    return True


def _where(role: str, address: str) -> str:
    return f"dolmen://{address}" if role == "namenode" else f"http://{address}"
