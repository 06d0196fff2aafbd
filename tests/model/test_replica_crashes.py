"""A datanode dies at any instant of a replica's life: what it holds afterwards is never a wrong
byte.

A writer fills a block under one stamp, restamps it, goes on with other bytes, finalizes, reopens.
At a random moment within any step the process is killed, or the machine loses its power, which
takes, keeps or tears by chance whatever was not synced. What the restarted datanode reports must be
the state before that step or after it, and every byte it serves must be the one that the writer
sent under that stamp.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState
from dolmen.protocol.errors import DolmenError
from dolmen.protocol.tokens import Access, Target
from tests.unit.datanode.world import BLOCK, World, content, digest_of

BLOCK_BYTES = 4 * CHUNK_BYTES + 100


@dataclass(frozen=True)
class Write:
    """Send the chunks [first, last) of the block, the last one perhaps in part."""

    first: int
    last: int
    short_by: int


@dataclass(frozen=True)
class Restamp:
    """Take a new stamp, keeping this share of the acknowledged prefix."""

    share: float


@dataclass(frozen=True)
class Finalize:
    """Finalize what is there."""


@dataclass(frozen=True)
class Whole:
    """Send the first `length_bytes` as a whole block."""

    length_bytes: int


Step = Write | Restamp | Finalize | Whole


@dataclass
class Writer:
    """What the writer knows: what it sent under each stamp, and what was acknowledged."""

    stamp: int = 1
    contents: dict[int, bytes] = field(default_factory=lambda: {1: content(BLOCK_BYTES, 1)})
    acknowledged: set[int] = field(default_factory=set)  # positions of bytes, by chunk pieces
    ends: dict[int, int] = field(default_factory=dict)  # chunk → acknowledged bytes of it
    finalized: bool = False
    durable_bytes: int = 0
    """What a power loss may not take: the prefix at the last restamp or finalize."""
    synced: bool = False
    """Whether the replica's files themselves outlive a power loss."""

    def prefix(self) -> int:
        total = 0
        for chunk in range(BLOCK_BYTES // CHUNK_BYTES + 1):
            total += self.ends.get(chunk, 0)
            if self.ends.get(chunk, 0) < CHUNK_BYTES:
                break
        return total

    def gapless(self) -> bool:
        return self.prefix() == sum(self.ends.values()) > 0

    async def take(self, world: World, target: Target, step: Step) -> None:
        """Do a step; the model changes only when the answer has come."""
        if isinstance(step, Write) and not self.finalized:
            start = step.first * CHUNK_BYTES
            end = min(step.last * CHUNK_BYTES, BLOCK_BYTES) - step.short_by
            data = self.contents[self.stamp][start:end]
            await world.write(data, target, offset=start, stamp=self.stamp)
            for chunk in range(step.first, step.last):
                stored = min(CHUNK_BYTES, end - chunk * CHUNK_BYTES)
                self.ends[chunk] = max(stored, self.ends.get(chunk, 0))
        elif isinstance(step, Whole) and not self.ends:
            data = self.contents[self.stamp][: step.length_bytes]
            await world.write(data, target, digest=digest_of(data))
            self.finalized, self.synced, self.durable_bytes = True, True, len(data)
            for start in range(0, len(data), CHUNK_BYTES):
                self.ends[start // CHUNK_BYTES] = min(CHUNK_BYTES, len(data) - start)
        elif isinstance(step, Restamp) and self.ends:
            kept, new = self.cut(step), self.stamp + 1
            fresh = content(BLOCK_BYTES - kept, new)
            self.contents[new] = self.contents[self.stamp][:kept] + fresh
            await world.restamp(kept, self.stamp, new, target)
            self.stamp, self.finalized, self.synced = new, False, True
            self.durable_bytes = kept
            self.ends = {
                chunk: min(CHUNK_BYTES, kept - chunk * CHUNK_BYTES)
                for chunk in range(-(-kept // CHUNK_BYTES))
            }
        elif isinstance(step, Finalize) and not self.finalized and self.gapless():
            data = self.contents[self.stamp][: self.prefix()]
            await world.finalize(data, target, stamp=self.stamp)
            self.finalized, self.synced, self.durable_bytes = True, True, len(data)

    def cut(self, step: Restamp) -> int:
        return int(self.prefix() * step.share)


WRITES = st.builds(
    lambda first, count, short_by: Write(first, min(first + count, 5), short_by),
    st.integers(0, 4),
    st.integers(1, 5),
    st.sampled_from([0, 0, 1, 60]),
)
WHOLE = st.builds(Whole, st.sampled_from([1, 12345, CHUNK_BYTES, BLOCK_BYTES]))
FIRST = st.one_of(WRITES, WHOLE)
STEPS = st.one_of(
    WRITES, WRITES, st.builds(Restamp, st.sampled_from([0.0, 0.4, 1.0])), st.just(Finalize())
)


@settings(max_examples=150)
@given(
    steps=st.builds(lambda first, later: [first, *later], FIRST, st.lists(STEPS, max_size=6)),
    at_once=st.booleans(),
    delay_us=st.integers(0, 5000),
    power_loss=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_a_crash_leaves_the_state_before_a_step_or_after_it_and_no_wrong_byte(
    steps: list[Step], at_once: bool, delay_us: int, power_loss: bool, seed: int
) -> None:
    world = World(Random(seed).randrange(1000))
    world.random = Random(seed)
    writer = Writer()

    async def scenario() -> None:
        node = await world.start("a")
        target = Target(node.datanode_id, node.address)
        for step in steps[:-1]:
            await writer.take(world, target, step)
        dying = asyncio.create_task(writer.take(world, target, steps[-1]))
        await asyncio.sleep(0 if at_once else delay_us / 1e6)
        await world.kill("a", power_loss=power_loss)
        with contextlib.suppress(DolmenError):
            await dying
        node = await world.start("a")
        await asyncio.sleep(1)
        found = [one for one in world.namenode.reported() if one.block_id == BLOCK]
        check(writer, found, steps[-1], power_loss=power_loss)
        for replica in found[-1:]:
            length, sent = replica.length_bytes, writer.contents[replica.stamp]
            if length:
                stamp = replica.stamp
                served = await world.read(target, (0, length), stamp=stamp, access=Access.COPY)
                assert served == sent[:length]

    world.run(scenario())


def check(writer: Writer, found: list[ReplicaReport], last: Step, *, power_loss: bool) -> None:
    if not found:
        assert not writer.synced, "a replica that was made durable is gone"
        assert power_loss or not writer.ends, "a killed process loses nothing acknowledged"
        return
    replica = found[-1]
    assert replica.stamp in (writer.stamp, writer.stamp + 1)
    sent = writer.contents[replica.stamp]
    length = replica.length_bytes
    if replica.state is ReplicaState.FINALIZED:
        assert replica.digest == digest_of(sent[:length])
        if isinstance(last, Whole) and not writer.finalized:
            assert length == last.length_bytes
        else:
            assert length == (writer.durable_bytes if writer.finalized else writer.prefix())
    else:
        assert replica.state is ReplicaState.WAITING_FOR_RECOVERY
    if replica.stamp == writer.stamp:
        if writer.finalized:
            assert replica.state is ReplicaState.FINALIZED
        assert length >= (writer.durable_bytes if power_loss else writer.prefix())
    else:
        assert isinstance(last, Restamp)
        assert length <= writer.cut(last)
        if not power_loss or writer.finalized:
            assert length == writer.cut(last)
