"""Blocks written through a pipeline of datanodes, as a writer sees it."""

import asyncio

import pytest

from dolmen.protocol.block_messages import WriteSegment
from dolmen.protocol.checksums import CHUNK_BYTES, chunk_checksums
from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState
from dolmen.protocol.errors import (
    AccessDenied,
    ChecksumMismatch,
    InvalidRequest,
    NoSuchReplica,
    StaleGeneration,
)
from dolmen.protocol.tokens import Access, Target
from dolmen.runtime.transport import body_of
from tests.unit.datanode.world import BLOCK, LENGTH_LIMIT, World, content, digest_of

LENGTHS = (1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 20 * CHUNK_BYTES + 3)


async def three(world: World) -> tuple[Target, ...]:
    for name in ("a", "b", "c"):
        await world.start(name)
    return world.targets("a", "b", "c")


@pytest.mark.parametrize("length", LENGTHS)
def test_a_block_written_through_three_datanodes_is_read_from_each(length: int) -> None:
    world = World()
    data = content(length)

    async def scenario() -> None:
        targets = await three(world)
        assert (await world.write(data, *targets)).failed_position < 0
        await world.finalize(data, *targets)
        for target in targets:
            assert await world.read(target, (0, length)) == data
            reply, checksums = await world.checksums(target)
            assert (reply.length_bytes, reply.digest) == (length, digest_of(data))
            assert checksums == chunk_checksums(data)
        await asyncio.sleep(0.1)
        finalized = [
            change.replica
            for change in world.namenode.changes
            if change.replica.state is ReplicaState.FINALIZED
        ]
        assert [(one.length_bytes, one.digest) for one in finalized] == 3 * [
            (length, digest_of(data))
        ]

    world.run(scenario())


def test_segments_may_come_out_of_order_and_twice() -> None:
    world = World()
    data = content(5 * CHUNK_BYTES + 100)
    cuts = [(3, 6), (0, 2), (2, 3), (0, 2), (3, 6)]

    async def scenario() -> None:
        targets = await three(world)
        for first, last in cuts:
            part = data[first * CHUNK_BYTES : last * CHUNK_BYTES]
            offset = first * CHUNK_BYTES
            stored = await world.write(part, *targets, offset=offset)
            assert (stored.failed_position, len(stored.hops)) == (-1, len(targets))
        await world.finalize(data, *targets)
        await world.finalize(data, *targets)  # the answer may have been lost
        for target in targets:
            assert await world.read(target, (0, len(data))) == data

    world.run(scenario())


def test_a_flushed_partial_chunk_goes_on_where_it_ended() -> None:
    world = World()
    data = content(CHUNK_BYTES + 10)

    async def scenario() -> None:
        targets = await three(world)
        await world.write(data[:100], *targets)
        await world.write(data[:5000], *targets)
        await world.write(data[:100], *targets)  # a late duplicate
        await world.write(data, *targets)
        await world.finalize(data, *targets)
        assert await world.read(targets[2], (0, len(data))) == data

    world.run(scenario())


def test_a_segment_with_a_bad_checksum_is_refused_and_nothing_of_it_is_written() -> None:
    world = World()
    data = content(3 * CHUNK_BYTES)

    async def scenario() -> None:
        targets = await three(world)
        await world.write(data[:CHUNK_BYTES], *targets)
        damaged = bytearray(data)
        damaged[CHUNK_BYTES + 5] ^= 1
        token = world.token(Access.WRITE, *targets)
        head = WriteSegment(token, BLOCK, 1, 0, len(data), chunk_checksums(data), 0)
        with pytest.raises(ChecksumMismatch):
            await world.ask(targets[0].address, head, body_of(bytes(damaged)))
        await world.finalize(data[:CHUNK_BYTES], *targets)
        for target in targets:
            assert await world.read(target, (0, CHUNK_BYTES)) == data[:CHUNK_BYTES]

    world.run(scenario())


def test_other_bytes_for_an_acknowledged_offset_are_refused() -> None:
    world = World()
    data = content(CHUNK_BYTES)

    async def scenario() -> None:
        targets = (await three(world))[:1]
        await world.write(data, *targets)
        with pytest.raises(InvalidRequest, match="another content"):
            await world.write(content(CHUNK_BYTES, salt=1), *targets)
        with pytest.raises(InvalidRequest, match="another content"):
            await world.write(content(100, salt=1), *targets)
        await world.finalize(data, *targets)
        assert await world.read(targets[0], (0, CHUNK_BYTES)) == data

    world.run(scenario())


def test_the_answer_names_the_datanode_of_the_pipeline_that_died() -> None:
    world = World()
    data = content(8 * CHUNK_BYTES)

    async def scenario() -> None:
        targets = await three(world)
        await world.write(data[:CHUNK_BYTES], *targets)
        await world.kill("b")
        stored = await world.write(data, *targets)
        assert stored.failed_position == 1
        await world.finalize(data, targets[0])  # what the first one stored is good

    world.run(scenario())


def test_the_node_before_a_silent_one_speaks_first() -> None:
    world = World()
    data = content(16 * CHUNK_BYTES)

    async def scenario() -> None:
        targets = await three(world)
        await world.write(data[:CHUNK_BYTES], *targets)
        world.network.cut("b", "c")
        stored = await world.write(data, *targets)
        assert stored.failed_position == 2
        assert targets[2].address in stored.reason

    world.run(scenario())


def test_a_full_datanode_says_so_and_by_which_position() -> None:
    world = World()
    data = content(8 * CHUNK_BYTES)

    async def scenario() -> None:
        targets = await three(world)
        world.storages["b"].device.capacity_bytes = 4096
        await asyncio.sleep(2)  # a heartbeat measures the volumes
        stored = await world.write(data, *targets)
        assert stored.failed_position == 1
        assert "bytes free" in stored.reason

    world.run(scenario())


def test_survivors_go_on_under_a_new_stamp_and_a_new_member_copies_the_prefix() -> None:
    world = World()
    data = content(6 * CHUNK_BYTES + 77)
    prefix = 2 * CHUNK_BYTES + 1000

    async def scenario() -> None:
        a, b, _ = await three(world)
        await world.start("d")
        (d,) = world.targets("d")
        await world.write(data[: 4 * CHUNK_BYTES], a, b)
        await world.restamp(prefix, 1, 2, a, b)
        await world.restamp(prefix, 1, 2, a, b)  # repeated
        with pytest.raises(StaleGeneration):
            await world.write(data[: 4 * CHUNK_BYTES], a, b, stamp=1)
        await world.copy(d, prefix, b"", a, b, stamp=2)
        await world.copy(d, prefix, b"", a, b, stamp=2)  # repeated
        rest = data[2 * CHUNK_BYTES :]
        stored = await world.write(rest, a, b, d, offset=2 * CHUNK_BYTES, stamp=2)
        assert stored.failed_position < 0
        await world.finalize(data, a, b, d, stamp=2)
        for target in (a, b, d):
            assert await world.read(target, (0, len(data)), stamp=2) == data

    world.run(scenario())


def test_a_stamp_whose_answer_was_lost_is_skipped_by_the_next_one() -> None:
    world = World()
    data = content(2 * CHUNK_BYTES)

    async def scenario() -> None:
        (a, *_) = await three(world)
        await world.write(data, a)
        await world.restamp(CHUNK_BYTES, 1, 2, a)
        await world.restamp(CHUNK_BYTES, 1, 3, a)
        for old, new in ((1, 2), (4, 5), (3, 3)):
            with pytest.raises(StaleGeneration, match="stamp 3"):
                await world.restamp(10, old, new, a)
        await world.finalize(data[:CHUNK_BYTES], a, stamp=3)

    world.run(scenario())


def test_a_finalized_replica_is_reopened_by_a_new_stamp() -> None:
    world = World()
    data = content(3 * CHUNK_BYTES)
    longer = data[: CHUNK_BYTES + 7] + content(CHUNK_BYTES, salt=2)

    async def scenario() -> None:
        (a, *_) = await three(world)
        await world.write(data, a)
        await world.finalize(data, a)
        await world.restamp(CHUNK_BYTES + 7, 1, 2, a)
        await world.write(longer[CHUNK_BYTES:], a, offset=CHUNK_BYTES, stamp=2)
        await world.finalize(longer, a, stamp=2)
        assert await world.read(a, (0, len(longer)), stamp=2) == longer
        with pytest.raises(StaleGeneration):
            await world.read(a, (0, 1), stamp=1)

    world.run(scenario())


def test_a_restamp_beyond_what_is_held_is_refused() -> None:
    world = World()

    async def scenario() -> None:
        (a, *_) = await three(world)
        await world.write(content(CHUNK_BYTES), a)
        with pytest.raises(NoSuchReplica, match="holds 65536 bytes"):
            await world.restamp(CHUNK_BYTES + 1, 1, 2, a)
        await world.write(content(CHUNK_BYTES), a)

    world.run(scenario())


def test_a_writer_that_hangs_up_in_mid_segment_leaves_what_was_acknowledged() -> None:
    world = World()
    data = content(16 * CHUNK_BYTES)

    async def scenario() -> None:
        targets = await three(world)
        await world.write(data[:CHUNK_BYTES], *targets)
        writing = asyncio.create_task(world.write(data, *targets))
        await asyncio.sleep(0.0012)
        writing.cancel()
        await asyncio.wait([writing])
        await world.restamp(CHUNK_BYTES, 1, 2, *targets)
        await world.finalize(data[:CHUNK_BYTES], *targets, stamp=2)
        for target in targets:
            assert await world.read(target, (0, CHUNK_BYTES), stamp=2) == data[:CHUNK_BYTES]

    world.run(scenario())


def test_finalizing_what_is_not_there_is_refused() -> None:
    world = World()
    data = content(2 * CHUNK_BYTES)

    async def scenario() -> None:
        (a, *_) = await three(world)
        with pytest.raises(NoSuchReplica):
            await world.finalize(data, a)
        await world.write(data[:CHUNK_BYTES], a)
        with pytest.raises(ChecksumMismatch, match="holds 65536 bytes"):
            await world.finalize(data, a)
        with pytest.raises(ChecksumMismatch, match="digest"):
            await world.finalize(content(CHUNK_BYTES, salt=1), a)
        await world.write(data, a)
        await world.finalize(data, a)
        with pytest.raises(InvalidRequest, match="takes no segments"):
            await world.write(data, a)

    world.run(scenario())


def test_a_token_opens_only_what_it_was_made_for() -> None:
    world = World()
    data = content(100)

    async def scenario() -> None:
        a, b, _ = await three(world)

        async def refused(token: bytes, reason: str, position: int = 0, stamp: int = 1) -> None:
            sums = chunk_checksums(data)
            head = WriteSegment(token, BLOCK, stamp, 0, len(data), sums, position)
            with pytest.raises(AccessDenied, match=reason):
                await world.ask(a.address, head, body_of(data))

        good = world.token(Access.WRITE, a, b)
        await refused(good[:-1] + bytes([good[-1] ^ 1]), "token")
        await refused(b"", "not a block token")
        await refused(world.token(Access.WRITE, a, life_ms=-1), "expired . ms ago")
        await refused(world.token(Access.READ, a), "READ token")
        await refused(good, "stamp 1", stamp=2)
        await refused(good, "position 1", position=1)
        await refused(world.token(Access.WRITE, b), "position 0")
        with pytest.raises(NoSuchReplica):
            await world.read(a, (0, 1))
        with pytest.raises(InvalidRequest, match="the block at"):
            await world.write(content(CHUNK_BYTES), a, offset=LENGTH_LIMIT)

    world.run(scenario())


def test_a_failed_sync_puts_the_replica_aside_and_the_volume_takes_nothing_new() -> None:
    world = World()
    data = content(CHUNK_BYTES)

    async def scenario() -> None:
        (a, *_) = await three(world)
        await world.write(data, a)
        world.storages["a"].device.syncs_to_fail = 1
        with pytest.raises(Exception, match="block"):
            await world.finalize(data, a)
        with pytest.raises(NoSuchReplica):
            await world.read(a, (0, 1))
        await asyncio.sleep(1.5)
        assert world.namenode.changes[-1].kind is ChangeKind.CORRUPT
        assert (await world.write(data, a)).failed_position == 0

    world.run(scenario())
