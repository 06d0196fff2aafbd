"""What is done for replicas at rest: verified from time to time, or when somebody doubts them; and
what was put aside is kept within its limits."""

import asyncio
from dataclasses import dataclass

from datanode.block_store import BlockStore
from datanode.checks import Checks
from datanode.core.quarantine_entry import Limits
from datanode.core.scrub_schedule import ScrubPace
from datanode.quarantine import sweep_regularly
from datanode.reporting import Reporter
from datanode.scrubbing import Scrubber
from datanode.verification import Tally, Verifier
from dolmen.protocol.datanode_messages import Health
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings

SCRUB_SHARE = 0.5
"""Of the repair rate, at most: repair and readers come first."""


@dataclass(frozen=True)
class Care:
    """The parts, over the volumes of one store."""

    store: BlockStore
    machine: Machine
    limits: Limits
    checks: Checks
    scrubber: Scrubber
    tally: Tally
    """What has been verified since the start."""

    async def run(self) -> None:
        """Scrub, and sweep the quarantines, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.scrubber.run())
            group.create_task(
                sweep_regularly(
                    lambda: [(one.quarantine, one.capacity_bytes) for one in self.store.volumes],
                    self.limits,
                    self.machine.wall_clock_ms,
                )
            )

    async def close(self) -> None:
        """Keep what must outlive a stop."""
        await self.scrubber.save()

    def health(self, failed_volumes: tuple[str, ...] = ()) -> Health:
        """Return how the disks fare."""
        quarantines = [volume.quarantine for volume in self.store.volumes]
        return Health(
            failed_volumes,
            sum(one.count for one in quarantines),
            sum(one.size_bytes for one in quarantines),
            self.scrubber.oldest_unverified_ms(),
        )


def take_care(store: BlockStore, reporter: Reporter, machine: Machine, settings: Settings) -> Care:
    """Put the parts together; nothing runs yet."""
    verifier = Verifier(store)
    pace = ScrubPace(settings.scrub_period_ms / 1000, settings.repair_rate_bytes * SCRUB_SHARE)
    limits = Limits(settings.quarantine_age_ms, settings.quarantine_space_bytes)
    checks, scrubber = Checks(verifier, reporter), Scrubber(store, verifier, pace)
    return Care(store, machine, limits, checks, scrubber, verifier.tally)
