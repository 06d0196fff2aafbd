"""What `dolmen up` does: makes the cluster in a directory what was asked for.

The lock is held while processes are started and written down, not while they get ready, so that
`down` need not wait for a cluster that does not come up. Two `up` at once start everything once,
and both wait for it.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from dolmen.cli.cluster_file import Cluster, Member, is_empty, locked, read_cluster, write_cluster
from dolmen.cli.free_ports import free_ports, is_free
from dolmen.cli.log_files import last_lines, last_log_of, log_of, stderr_of
from dolmen.cli.processes import start_process
from dolmen.protocol.errors import StartRefused
from dolmen.runtime.settings_sources import load_settings

HOST = "127.0.0.1"
DEFAULT_DATANODES = 3
DEFAULT_PORT = 9870

#: A cluster on one machine shares its cores and disk: more processes only wait for each other.
DATANODES_MAX = 100

POLL_S = 0.02

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None and an empty mapping leave what is stored, or the default. The level
    of the log is not stored: it is for those that are started now."""

    datanodes: int | None
    port: int | None
    settings: Mapping[str, str]
    log_level: str = "info"


def bring_up(directory: Path, wanted: Wanted, deadline: float, tell: Tell) -> Cluster:
    """Start what does not run in `directory`; StartRefused if that cannot be."""
    if not directory.is_dir() and not is_empty(directory):
        raise _not_ours(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):  # before anything is judged: another `up` may be making its files
        cluster = read_cluster(directory)
        if cluster is None:
            if not is_empty(directory):
                raise _not_ours(directory)
            cluster = Cluster(Member(DEFAULT_PORT), [])
        _change(cluster, wanted)
        (directory / "logs").mkdir(exist_ok=True)
        write_cluster(directory, cluster)
        absent = sum(not member.running for _, _, member in cluster.members)
        if absent:
            tell(f"starting {absent} of {len(cluster.members)} processes in {directory}")
        starting = _Starting(directory, cluster, wanted.log_level)
        _start_namenode(starting)
        _await_secret(directory, cluster, deadline)
        for index, member in enumerate(cluster.datanodes):
            _start_datanode(starting, index, member)
    return cluster


def _not_ours(directory: Path) -> StartRefused:
    return StartRefused(
        f"{directory} is not empty and holds no cluster: choose another --dir, or empty it"
    )


def check_running(directory: Path, cluster: Cluster) -> None:
    """StartRefused, with the last line of its log, if a process of the cluster has ended."""
    for role, index, member in cluster.members:
        if not member.running:
            log = last_log_of(directory, role, index)
            lines = last_lines(log) or ["its log is empty"]
            message = lines[-1].removeprefix("dolmen: ")
            name = role if role == "namenode" else f"{role} {index}"
            raise StartRefused(f"the {name} has ended: {message} (log: {log})")


def _change(cluster: Cluster, wanted: Wanted) -> None:
    """Take over what was asked for: for processes started from now on."""
    settings = {**cluster.settings, **wanted.settings}
    load_settings(settings, {}, None)
    cluster.settings = settings
    if wanted.port is not None and wanted.port != cluster.namenode.port:
        if any(member.running for _, _, member in cluster.members):
            raise StartRefused(
                f"the cluster runs with its namenode on port {cluster.namenode.port};"
                " run dolmen down before you move it to another port"
            )
        cluster.namenode.port = wanted.port
    count = wanted.datanodes or len(cluster.datanodes) or DEFAULT_DATANODES
    if count < len(cluster.datanodes):
        raise StartRefused(
            f"the cluster has {len(cluster.datanodes)} datanodes and cannot be made smaller:"
            f" --datanodes {count} would take away blocks they hold"
        )
    ports = free_ports(HOST, Random())
    taken = {member.port for _, _, member in cluster.members}
    while len(cluster.datanodes) < count:
        port = next((port for port in ports if port not in taken), None)
        if port is None:
            raise StartRefused(f"no free port is left on {HOST} for another datanode")
        cluster.datanodes.append(Member(port))


@dataclass(frozen=True)
class _Starting:
    """What the processes that are started have in common."""

    directory: Path
    cluster: Cluster
    log_level: str


def _start_namenode(starting: _Starting) -> None:
    member = starting.cluster.namenode
    if member.running:
        return
    if not is_free(HOST, member.port):
        raise StartRefused(
            f"port {member.port} is in use by another program: stop it, or choose another --port"
        )
    words = ["namenode", "--dir", str(starting.directory / "namenode")]
    _start(starting, ("namenode", 0, member), words)


def _start_datanode(starting: _Starting, index: int, member: Member) -> None:
    if member.running:
        return
    directory, name = starting.directory, f"datanode-{index}"
    namenode = starting.cluster.namenode.address
    words = [
        *("datanode", "--namenode", namenode, "--dir", str(directory / name)),
        *("--host-label", name, "--secret-file", str(_secret_file(directory))),
    ]
    _start(starting, ("datanode", index, member), words)


def _start(starting: _Starting, who: tuple[str, int, Member], words: list[str]) -> None:
    role, index, member = who
    directory, cluster = starting.directory, starting.cluster
    listening = ["--host", HOST, "--port", str(member.port)]
    log = str(log_of(directory, role, index))
    logging = ["--log-file", log, "--log-level", starting.log_level]
    member.process = start_process(
        [*words, *listening, *logging, *_flags(cluster)], stderr_of(directory, role, index)
    )
    write_cluster(directory, cluster)


def _await_secret(directory: Path, cluster: Cluster, deadline: float) -> None:
    """The first namenode makes the secret that its datanodes are started with."""
    while not _secret_file(directory).exists():
        if not cluster.namenode.running:
            check_running(directory, cluster)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the namenode has not made {_secret_file(directory)} in time")
        time.sleep(POLL_S)


def _secret_file(directory: Path) -> Path:
    return directory / "namenode" / "cluster.secret"


def _flags(cluster: Cluster) -> list[str]:
    return [
        word
        for name, text in cluster.settings.items()
        for word in (f"--{name.replace('_', '-')}", text)
    ]


def default_directory() -> Path:
    """`$XDG_DATA_HOME/dolmen/local`; a relative one counts as not set, as its standard says."""
    data_home = os.environ.get("XDG_DATA_HOME", "")
    if not data_home.startswith("/"):
        return Path.home() / ".local/share/dolmen/local"
    return Path(data_home) / "dolmen/local"
