"""The block scanner: reads every replica now and then and verifies it, each volume by itself.

What to read next and how fast is decided in `core.scrub_schedule`; here it is done, in pieces with
pauses between them, past the page cache, so that readers keep their share of disk and memory. Every
other reading of a whole replica (`Verifier`) counts as well. Volumes may come and go: a task looks
which there are.
"""

import asyncio
import logging
from collections.abc import Iterator

from datanode.block_store import BlockStore
from datanode.core.replicas import COMPLETE, Replica
from datanode.core.scrub_schedule import ScrubPace, ScrubQueue, Turn, cost_of
from datanode.core.throttle import Throttle
from datanode.verification import Verifier
from datanode.verified_times import VerifiedTimes
from datanode.volume import Volume
from dolmen.protocol.errors import DolmenError

SLICE_REPLICAS = 5000
"""Looked at in one go when the next turns are looked out: some milliseconds."""

SAVE_INTERVAL_S = 60.0
SAVE_REPLICAS = 100_000
"""The file of a volume with more is written as much more seldom: 40 KiB a second at most."""

LOOK_INTERVAL_S = 60.0
"""Between two looks at what a volume holds, or which volumes there are, if there was nothing to do;
a tenth of the period if that is shorter."""

LOG = logging.getLogger("datanode")


class Scrubber:
    """Scrubs all volumes of a store."""

    def __init__(self, store: BlockStore, verifier: Verifier, pace: ScrubPace) -> None:
        self._store = store
        self._verifier = verifier
        self._pace = pace
        self._look_s = min(LOOK_INTERVAL_S, pace.period_s / 10)
        self._rounds: dict[str, _Round] = {}

    async def run(self) -> None:
        """Scrub until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                volumes = {volume.storage_id: volume for volume in self._store.volumes}
                for storage_id, round_ in list(self._rounds.items()):
                    if volumes.get(storage_id) is not round_.volume:
                        round_.task.cancel()
                        del self._rounds[storage_id]
                for storage_id, volume in volumes.items():
                    if storage_id not in self._rounds:
                        task = group.create_task(self._go_round(volume))
                        self._rounds[storage_id] = _Round(volume, task)
                await asyncio.sleep(self._look_s)

    async def save(self) -> None:
        """Keep what is known over a restart; a disk that fails forgets."""
        for round_ in self._rounds.values():
            await self._save(round_)

    def oldest_unverified_ms(self) -> int | None:
        """Return the age of the verification that is longest ago, as of the last look at all."""
        oldest = [round_.oldest_ms for round_ in self._rounds.values() if round_.oldest_ms]
        return self._now_ms() - min(oldest) if oldest else None

    # ------------------------------------------------------------ one volume

    async def _go_round(self, volume: Volume) -> None:
        round_ = self._rounds[volume.storage_id]
        while True:
            turn = round_.queue.next()
            if turn is None:
                if not await self._look_out(round_):
                    await asyncio.sleep(self._look_s)
                continue
            round_.oldest_ms = turn[0] or self._unknown_ms()
            replica = self._store.get(turn[1])
            if replica is None or (replica.verified_ms, replica.stamp) != (turn[0], turn[2]):
                continue  # it went, or was verified or written meanwhile
            free_at_s = await self._take(round_, replica)
            if self._now_ms() - round_.saved_ms > round_.save_after_ms:
                await self._save(round_)  # before the pause, which may be long
            await asyncio.sleep(max(0.0, free_at_s - asyncio.get_running_loop().time()))

    async def _look_out(self, round_: "_Round") -> bool:
        """Find the replicas that were not verified for longest; return whether there are any."""
        found, cost_bytes = 0, 0
        for turns, slice_cost_bytes in self._slices(round_.volume):
            round_.queue.look_out(turns)
            found += len(turns)
            cost_bytes += slice_cost_bytes
            await asyncio.sleep(0)
        round_.queue.settle()
        first = round_.queue.first()
        round_.oldest_ms = 0 if first is None else first[0] or self._unknown_ms()
        if not self._pace.is_kept(cost_bytes):
            LOG.warning(
                "%d bytes on %s cannot be verified within scrub_period at half of repair_rate",
                cost_bytes,
                round_.volume.root,
            )
        round_.cost_bytes = cost_bytes
        round_.save_after_ms = int(SAVE_INTERVAL_S * max(1, found / SAVE_REPLICAS) * 1000)
        return found > 0

    def _slices(self, volume: Volume) -> Iterator[tuple[list[Turn], int]]:
        """Yield the turns of a volume's replicas, and what verifying them counts."""
        block_ids = self._store.block_ids()
        for start in range(0, len(block_ids), SLICE_REPLICAS):
            turns, cost_bytes = [], 0
            for block_id in block_ids[start : start + SLICE_REPLICAS]:
                replica = self._store.get(block_id)
                if replica is not None and _is_on(replica, volume):
                    turns.append((replica.verified_ms, block_id, replica.stamp))
                    cost_bytes += cost_of(replica.length_bytes)
            yield turns, cost_bytes

    async def _take(self, round_: "_Round", replica: Replica) -> float:
        """Verify one replica; return until when to wait, so that the volume's rate is kept."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        overdue = self._now_ms() - replica.verified_ms > self._pace.period_s * 1000
        rate = self._pace.rate(round_.cost_bytes, overdue=overdue)
        throttle = Throttle(max(1, int(self._pace.reading_rate(rate))), began_s)

        async def pause(length_bytes: int) -> None:
            await asyncio.sleep(throttle.take(length_bytes, loop.time()))

        cost_bytes = cost_of(replica.length_bytes)
        try:
            await self._verifier.verify(replica.block_id, replica.stamp, pause)
        except DolmenError as error:
            LOG.info("scrubbing passed over %s: %s", replica, error)
        return began_s + cost_bytes / rate

    async def _save(self, round_: "_Round") -> None:
        round_.saved_ms = self._now_ms()
        replicas = [
            replica
            for block_id in self._store.block_ids()
            if (replica := self._store.get(block_id)) and _is_on(replica, round_.volume)
        ]
        try:
            await VerifiedTimes(round_.volume).save(replicas)
        except OSError as error:
            LOG.warning("%s: what was verified is not kept: %s", round_.volume.root, error)

    def _now_ms(self) -> int:
        return self._store.scrub_clock.now_ms(asyncio.get_running_loop().time())

    def _unknown_ms(self) -> int:
        """What counts as the time of a replica of which it is not known: it is due now."""
        return self._now_ms() - int(self._pace.period_s * 1000)


class _Round:
    """Where going round one volume is."""

    def __init__(self, volume: Volume, task: asyncio.Task[None]) -> None:
        self.volume = volume
        self.task = task
        self.queue = ScrubQueue()
        self.cost_bytes = 0
        self.oldest_ms = 0
        self.saved_ms = 0
        self.save_after_ms = 0


def _is_on(replica: Replica, volume: Volume) -> bool:
    return replica.state in COMPLETE and replica.storage_id == volume.storage_id
