"""The background loops. They decide nothing: each asks for what is due and has it done.

Work comes in slices of a few milliseconds, and between two slices everybody else gets a turn.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from dolmen.protocol.client_messages import Done
from dolmen.protocol.errors import DataDamaged, DolmenError, StandbyNamenode
from dolmen.runtime.settings import Settings
from namenode.checkpoint_calls import CheckpointCalls
from namenode.core.dispatch import Moment
from namenode.core.outcome import Outcome
from namenode.core.tables import View
from namenode.datanode_calls import Membership

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ticks:
    """The namenode's background work."""

    membership: Membership
    checkpoints: CheckpointCalls
    settings: Settings
    wall_clock_ms: Callable[[], int]

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tend_replicas())
            group.create_task(self._tend_namespace())
            group.create_task(self.checkpoints.run())

    def now(self) -> Moment:
        """Return the time on both clocks."""
        loop_ms = int(asyncio.get_running_loop().time() * 1000)
        return Moment(loop_ms, self.wall_clock_ms())

    async def _tend_replicas(self) -> None:
        """Eight ticks make `stale_after`, so that silence is noticed about when it is due."""
        cluster = self.membership.cluster
        interval_ms = min(max(self.settings.stale_after_ms // 8, 5), 250)
        while True:
            now = self.now()
            self.membership.deliver(cluster.tick(now))
            due_ms = now.loop_ms + interval_ms
            more = True
            while more and now.loop_ms < due_ms:
                with self.membership.journal.snapshot() as view:
                    dispatches, more = cluster.step(view, now)
                self.membership.deliver(dispatches)
                await asyncio.sleep(0)
                now = self.now()
            for line in cluster.take_news():
                log.info("%s", line)
            await asyncio.sleep(max(0, due_ms - now.loop_ms) / 1000)

    async def _tend_namespace(self) -> None:
        """Ended leases and due deletions wait for a quarter of `delete_after` at most."""
        interval_s = min(max(self.settings.delete_after_ms / 4000, 0.01), 1.0)
        while True:
            if not await self._do_namespace_piece():
                await asyncio.sleep(interval_s)

    async def _do_namespace_piece(self) -> bool:
        """Have one piece of the namespace's background work done, if one is due."""
        namesystem = self.membership.namesystem
        with self.membership.journal.snapshot() as view:
            if namesystem.tick(view, self.wall_clock_ms()) is None:
                return False

        def decide(view: View, now_ms: int) -> Outcome:
            return namesystem.tick(view, now_ms) or Outcome(Done())

        try:
            await self.membership.journal.submit(decide)
        except DataDamaged:
            raise
        except StandbyNamenode:  # it stops, or is no longer the active one
            return False
        except DolmenError as error:  # no room, or too much to do: it is due again next time
            log.warning("the namespace's background work waits: %s", error)
            return False
        return True
