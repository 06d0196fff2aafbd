"""What a drill works on: the cluster of `dolmen up` in a directory.

A drill breaks something real, so it first makes sure of what it is about to break: the cluster is
the caller's own, all of it runs, nothing ails it yet, and no other drill is under way that could
take the replica which this one leaves.
"""

import contextlib
import fcntl
import os
import pwd
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datanode.core.layout import Place, block_directory, data_name
from dolmen.cli.bring_up import Wanted, bring_up
from dolmen.cli.cluster_file import FILE_NAME, Cluster, read_cluster
from dolmen.cli.drill_watch import Watch, ailments
from dolmen.cli.processes import kill_process, send_signal
from dolmen.client import Client
from dolmen.protocol.errors import AccessDenied, InvalidRequest, NoSuchPath
from dolmen.protocol.operator_messages import ClusterReport

#: What was written a moment ago is whole within a heartbeat or two.
SETTLE_S = 5.0

#: Starting a process takes a moment; its readiness is watched, not waited for here.
START_WITHIN_S = 30.0

VOLUME = "volumes/0"


def find_cluster(directory: Path) -> Cluster:
    """Return the caller's own cluster in `directory`, all of which runs; else say what is wrong."""
    cluster = read_cluster(directory)
    if cluster is None:
        raise NoSuchPath(f"{directory} holds no cluster: dolmen up --dir {directory} makes one")
    owner = (directory / FILE_NAME).stat().st_uid
    if owner != os.geteuid():
        raise AccessDenied(f"the cluster in {directory} is of user {_user(owner)}: a drill is too")
    for role, index, member in cluster.members:
        if not member.running:
            name = "the namenode" if role == "namenode" else f"{role} {index}"
            raise InvalidRequest(f"{name} does not run: dolmen up --dir {directory} starts it")
    return cluster


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other drills from this cluster meanwhile."""
    handle = os.open(directory / "logs", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InvalidRequest(f"another drill is under way in {directory}") from None
    finally:
        os.close(handle)


@dataclass
class Drill:
    """One drill: where, with which client, and who tells what happens."""

    directory: Path
    cluster: Cluster
    client: Client
    watch: Watch
    within_s: float

    def tell(self, line: str) -> None:
        """Tell what was done or seen, with its time."""
        self.watch.tell(line)

    def begin(self, line: str) -> float:
        """Tell of the fault; from now on times count. Return when it is to be healed."""
        self.watch.restart_clock()
        self.tell(line)
        return time.monotonic() + self.within_s

    def address(self, index: int) -> str:
        """Return where a datanode listens; InvalidRequest if there is no such datanode."""
        count = len(self.cluster.datanodes)
        if not 0 <= index < count:
            raise InvalidRequest(f"there is no datanode {index}: they are 0 to {count - 1}")
        return self.cluster.datanodes[index].address

    def index_of(self, address: str) -> int:
        """Return which datanode listens there."""
        for index, member in enumerate(self.cluster.datanodes):
            if member.address == address:
                return index
        raise InvalidRequest(f"the datanode at {address} was not started by dolmen up")

    def signal(self, index: int, number: signal.Signals) -> bool:
        """Send a datanode's process a signal; return whether it was there."""
        process = self.cluster.datanodes[index].process
        return process is not None and send_signal(process, number)

    def kill(self, index: int) -> None:
        """Kill a datanode's process, and wait until it is gone: it may be started at once."""
        process = self.cluster.datanodes[index].process
        if process is not None:
            kill_process(process)

    def start_again(self) -> None:
        """Start what does not run, as `dolmen up` does."""
        deadline = time.monotonic() + START_WITHIN_S
        self.cluster = bring_up(self.directory, Wanted(None, None, {}), deadline, self.tell)

    def replica_file(self, index: int, block_id: int) -> Path:
        """Return the file of a finalized replica."""
        volume = self.directory / f"datanode-{index}" / VOLUME
        return volume / block_directory(Place.FINALIZED, block_id) / data_name(block_id)

    async def require_health(self) -> ClusterReport:
        """Return the report of a cluster that nothing ails; InvalidRequest if something does."""
        count = len(self.cluster.datanodes)
        report = await self.client.report()
        deadline = time.monotonic() + SETTLE_S
        while wrong := ailments(report, count):
            if time.monotonic() > deadline:
                raise InvalidRequest(
                    f"the cluster is not healthy to begin with: {', '.join(wrong)};"
                    " see dolmen report and dolmen fsck --why"
                )
            await self.watch.pause()
            report = await self.client.report()
        return report


def _user(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
