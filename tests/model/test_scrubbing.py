"""Whatever the sizes, the period and the restarts: every replica is verified within the period.

The real scrubber runs over a simulated disk in virtual time. A restart knows only what is on disk,
a killed process has not saved what it did last, and the wall clock is set forward and back. Nothing
of that makes it read more than twice as fast as the period needs.
"""

import asyncio
from dataclasses import dataclass
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from datanode.block_store import BlockStore
from datanode.core.scrub_schedule import CATCH_UP, ROUND_SHARE, ScrubPace
from datanode.scanning import VolumeScan
from datanode.scrubbing import Scrubber
from datanode.verification import Pace, Verifier
from dolmen.simulation import virtual_time
from tests.unit.datanode.test_block_store import Scene
from tests.unit.datanode.world import content, digest_of

HOUR_S = 3600
PERIODS = 4
LOOKS = 50
"""At the ages of all verifications, in each life."""


@dataclass(frozen=True)
class Life:
    """One process: how long it runs, in periods, and how it ends; then the clock is set."""

    periods: float
    cleanly: bool
    clock_set_by_s: int


class RecordingVerifier(Verifier):
    """Remembers when each block was verified, by the world's time."""

    def __init__(self, store: BlockStore, last_s: dict[int, float]) -> None:
        super().__init__(store)
        self._last_s = last_s

    async def verify(self, block_id: int, stamp: int, pace: Pace | None = None) -> str:
        problem = await super().verify(block_id, stamp, pace)
        self._last_s[block_id] = asyncio.get_running_loop().time()
        return problem


class Scrubbed:
    """A volume, scrubbed by one process after the other."""

    def __init__(self, period_s: float) -> None:
        self.scene = Scene(1 << 40)
        self.pace = ScrubPace(period_s, 1 << 40)
        self.last_s: dict[int, float] = {}
        self.clock_set_by_s = 0

    async def fill(self, sizes: list[int]) -> None:
        await self.scene.open()
        for number, size in enumerate(sizes):
            data = content(size, number)
            block_id = await self.scene.write(number, data)
            await self.scene.writer.finalize(block_id, 1, size, digest_of(data))
            self.last_s[block_id] = asyncio.get_running_loop().time()

    async def live(self, life: Life) -> None:
        (volume,) = self.scene.store.volumes
        store = BlockStore([volume], self.wall_clock_ms, lambda _: None, Random(1))
        volume.used_bytes = 0
        await VolumeScan(store, volume, 1).run()
        verifier = RecordingVerifier(store, self.last_s)
        scrubber = Scrubber(store, verifier, self.pace)
        running = asyncio.create_task(scrubber.run())
        for _ in range(LOOKS):
            await asyncio.sleep(life.periods * self.pace.period_s / LOOKS)
            self.check()
        running.cancel()
        await asyncio.wait([running])
        rounds = CATCH_UP * life.periods / ROUND_SHARE + 1  # and the one that is under way
        assert verifier.tally.replicas <= (rounds + 1) * len(self.last_s)
        if life.cleanly:
            await scrubber.save()
        self.clock_set_by_s += life.clock_set_by_s

    def wall_clock_ms(self) -> int:
        now_s = asyncio.get_running_loop().time() + self.clock_set_by_s
        return 1_700_000_000_000 + int(now_s * 1000)

    def check(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for block_id, last_s in self.last_s.items():
            age_s = now_s - last_s
            assert age_s <= self.pace.period_s, (
                f"block {block_id:x} was not verified for {age_s:g} s of {self.pace.period_s:g}"
            )


@example([1, 1], HOUR_S, [Life(0.3, False, 0), Life(1.0, False, 0), Life(0.3, False, 0)])
@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 400_000), min_size=1, max_size=8),
    period_s=st.sampled_from([HOUR_S, 24 * HOUR_S]),
    lives=st.lists(
        st.builds(
            Life,
            st.sampled_from([0.3, 1.0, 2.5]),
            st.booleans(),
            st.sampled_from([0, 3600, -3600, 400 * 86_400, -400 * 86_400]),
        ),
        min_size=1,
        max_size=PERIODS,
    ),
)
def test_every_replica_is_verified_within_the_period(
    sizes: list[int], period_s: float, lives: list[Life]
) -> None:
    scrubbed = Scrubbed(period_s)

    async def scenario() -> None:
        await scrubbed.fill(sizes)
        for life in lives:
            await scrubbed.live(life)
        await scrubbed.scene.store.close()

    virtual_time.run(scenario())
