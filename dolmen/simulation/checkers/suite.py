"""When each property is checked: some at every answer, some all the time, the rest in the end.

The history checks reads (2), the namespace (3) and writers (4) as answers come. Deletions (6) and
old stamps (2) are watched where they happen. When the faults of a plan are over and its clients are
gone, everything must heal (5), be readable (1) and idle (8), and then, stopped, be what the log
says (7).
"""

from random import Random

from dolmen.client.client import Client
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.simulation.checkers.acknowledged_bytes import AcknowledgedBytes, Durable
from dolmen.simulation.checkers.disks import path_of, read_stored
from dolmen.simulation.checkers.generations import Generations
from dolmen.simulation.checkers.healing import Healing
from dolmen.simulation.checkers.idle_level import IdleLevel
from dolmen.simulation.checkers.last_replica import LastReplica
from dolmen.simulation.checkers.linearizable import Linearizable
from dolmen.simulation.checkers.replay import Replay
from dolmen.simulation.checkers.stranger import Stranger
from dolmen.simulation.cluster import INSPECTOR, SimCluster
from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import is_grown
from dolmen.simulation.workloads.contest import Contest
from dolmen.simulation.workloads.mix import Workload
from namenode.node import Namenode


class Checkers:
    """All checkers of one run. What they raise is a finding; so is what they report."""

    def __init__(self, cluster: SimCluster, workload: Workload) -> None:
        self._cluster = cluster
        self._workload = workload
        self._history = workload.history
        report = lambda failed: cluster.find("a checker", failed)  # noqa: E731
        self.last_replica = LastReplica(cluster, self._history, report)
        self.generations = Generations(cluster, report)
        self.healing = Healing(cluster, self._history.versions)
        self._idle_level = IdleLevel(cluster)
        self._history.published = Durable(cluster).check
        self._stranger = Stranger(cluster)

    async def begin(self) -> None:
        """The cluster runs, and nobody has used it."""
        await self._idle_level.learn()

    def check_now(self) -> None:
        """To be asked at any time."""
        self._cluster.check_invariants()
        self._history.extra_load.check(self._cluster.settings.hedged_share)
        if (stored := read_stored(self._cluster)) is not None:
            self._history.one_writer.check_blocks(
                stored.blocks, stored.inodes, lambda inode: is_grown(path_of(stored, inode))
            )

    async def ask(self) -> None:
        """To be asked while clients work."""
        if any(kind is Contest or kind.GROWS for kind in self._workload.kinds):
            await self._stranger.ask()

    async def check_at_rest(self, inspector: Client) -> ClusterReport:
        """All faults are over, and all clients gone; return a report with the right counts."""
        await self.healing.wait(inspector)
        client = GrowingClient(INSPECTOR, inspector, self._history, Random(0))
        found = await Linearizable(self._history, self._workload.flat).check(inspector, client)
        await AcknowledgedBytes(self._history.versions).check(client, found)
        report = await inspector.report()
        Linearizable(self._history, self._workload.flat).check_count(found, report.files)
        self.healing.check()
        self.check_now()
        namenode = self._cluster.namenode.process
        assert isinstance(namenode, Namenode)
        namenode.check_conditions()
        return report

    async def check_idle(self) -> None:
        """The inspector is gone, too."""
        await self._idle_level.check()

    async def check_stopped(self, cluster_id: str) -> None:
        """All daemons have stopped."""
        await Replay(self._cluster).check(cluster_id)

    def check_nothing_is_left(self) -> None:
        """All that waited for a deadline has reached it."""
        self._idle_level.check_nothing_is_left()
