"""Reads, copies from other datanodes, and the orders of the namenode."""

import asyncio

import pytest

from datanode import Datanode
from dolmen.protocol.block_messages import ReadRanges
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    InvalidateReplica,
    QuarantineReplica,
    ReplicaState,
    TransferReplica,
)
from dolmen.protocol.errors import (
    DataDamaged,
    InvalidRequest,
    NoSuchReplica,
    StaleGeneration,
)
from dolmen.protocol.tokens import Access, Target
from dolmen.runtime.settings import Settings
from tests.unit.datanode.world import BLOCK, World, content, digest_of, quarantined

DATA = content(40 * CHUNK_BYTES + 11)
DATA_FILE = "/data/volumes/0/finalized/0000/00/00/0000000000000020.block"


async def stored(world: World, *names: str) -> tuple[Target, ...]:
    """Start these datanodes; the first one holds the block, finalized."""
    for name in names:
        await world.start(name)
    targets = world.targets(*names)
    await world.write(DATA, targets[0])
    await world.finalize(DATA, targets[0])
    return targets


def rot(world: World, name: str, offset: int) -> None:
    world.storages[name].file(DATA_FILE).rot(offset)


def cut(world: World, name: str, length: int) -> None:
    storage = world.storages[name]
    storage.truncate(storage.file(DATA_FILE), length)


def order_transfer(world: World, to: Datanode, *sources: Target) -> None:
    token = world.token(Access.COPY, *sources)
    command = TransferReplica(BLOCK, 1, len(DATA), digest_of(DATA), token)
    world.namenode.order(to.datanode_id, command)


def test_several_ranges_come_in_one_answer_in_the_order_asked_for() -> None:
    world = World()
    ranges = ((5, 10), (0, 1), (CHUNK_BYTES - 1, 2), (100, 30 * CHUNK_BYTES))

    async def scenario() -> None:
        (a,) = await stored(world, "a")
        expected = b"".join(DATA[start : start + length] for start, length in ranges)
        assert await world.read(a, *ranges) == expected

    world.run(scenario())


def test_a_read_that_asks_for_what_there_is_not_is_refused() -> None:
    world = World()

    async def scenario() -> None:
        (a,) = await stored(world, "a")
        for bad in ((0, len(DATA) + 1), (-1, 2), (5, 0), (len(DATA), 1)):
            with pytest.raises(InvalidRequest, match="is not within"):
                await world.read(a, bad)
        for count in (0, 257):
            token = world.token(Access.READ)
            head = ReadRanges(token, BLOCK, 1, count * ((0, 1),))
            with pytest.raises(InvalidRequest, match="1 to 256 ranges"):
                await world.ask(a.address, head)
        with pytest.raises(StaleGeneration):
            await world.read(a, (0, 1), stamp=2)

    world.run(scenario())


def test_readers_see_no_unfinished_replica_and_copiers_see_its_prefix() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA[: 3 * CHUNK_BYTES], a)
        with pytest.raises(NoSuchReplica):
            await world.read(a, (0, 1))
        part = await world.read(a, (0, 3 * CHUNK_BYTES), access=Access.COPY)
        assert part == DATA[: 3 * CHUNK_BYTES]
        with pytest.raises(InvalidRequest):
            await world.read(a, (0, 3 * CHUNK_BYTES + 1), access=Access.COPY)

    world.run(scenario())


def test_an_ordered_copy_is_finalized_and_reported_with_its_digest() -> None:
    world = World()

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        order_transfer(world, world.nodes["b"], a)
        await asyncio.sleep(1)
        change = world.namenode.changes[-1]
        assert (change.kind, change.replica.state) == (ChangeKind.STORED, ReplicaState.FINALIZED)
        assert change.replica.digest == digest_of(DATA)
        assert await world.read(b, (0, len(DATA))) == DATA
        order_transfer(world, world.nodes["b"], a)  # ordered again
        await asyncio.sleep(1)
        assert world.namenode.failures == []

    world.run(scenario())


def test_a_copy_turns_to_the_next_source_when_one_serves_bad_bytes_or_is_gone() -> None:
    world = World()

    async def scenario() -> None:
        a, b, c, d = await stored(world, "a", "b", "c", "d")
        await world.copy(b, len(DATA), digest_of(DATA), a)
        rot(world, "a", 30 * CHUNK_BYTES)
        await world.kill("c")
        await world.copy(d, len(DATA), digest_of(DATA), c, a, b)
        assert await world.read(d, (0, len(DATA))) == DATA

    world.run(scenario())


def test_a_copy_that_no_source_can_give_leaves_nothing_behind() -> None:
    world = World()

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        rot(world, "a", 5)
        order_transfer(world, world.nodes["b"], a)
        await asyncio.sleep(1)
        assert any("no source gave block" in reason for reason in world.namenode.failures)
        with pytest.raises(NoSuchReplica):
            await world.read(b, (0, 1))
        storage = world.storages["b"]
        directory = storage.directory("/data/volumes/0/being_written/0000/00/00")
        assert list(directory.entries) == []

    world.run(scenario())


def test_a_copy_that_a_crash_interrupts_is_dropped_and_can_be_made_again() -> None:
    world = World()
    world.settings = Settings(repair_rate_bytes=1 << 20)

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        order_transfer(world, world.nodes["b"], a)
        await asyncio.sleep(1)
        directory = "/data/volumes/0/being_written/0000/00/00"
        assert len(world.storages["b"].directory(directory).entries) == 2
        await world.kill("b")
        world.namenode.pages.clear()
        await world.start("b")
        await asyncio.sleep(1)
        assert world.namenode.reported() == []
        assert list(world.storages["b"].directory(directory).entries) == []
        await world.copy(b, len(DATA), digest_of(DATA), a)
        assert await world.read(b, (0, len(DATA))) == DATA

    world.run(scenario())


def test_ordered_copies_keep_to_the_repair_rate() -> None:
    world = World()
    world.settings = Settings(repair_rate_bytes=1 << 20)

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        order_transfer(world, world.nodes["b"], a)
        await asyncio.sleep(1.5)
        with pytest.raises(NoSuchReplica):
            await world.read(b, (0, 1))
        await asyncio.sleep(2)
        assert await world.read(b, (0, len(DATA))) == DATA

    world.run(scenario())


def test_an_order_to_delete_names_the_stamp() -> None:
    world = World()

    async def scenario() -> None:
        (a,) = await stored(world, "a")
        node = world.nodes["a"]
        world.namenode.order(node.datanode_id, InvalidateReplica(BLOCK, 2))
        await asyncio.sleep(1)
        assert len(world.namenode.failures) == 1
        assert await world.read(a, (0, len(DATA))) == DATA
        world.namenode.order(node.datanode_id, InvalidateReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert world.namenode.changes[-1].kind is ChangeKind.DELETED
        with pytest.raises(NoSuchReplica):
            await world.read(a, (0, 1))
        world.namenode.order(node.datanode_id, InvalidateReplica(BLOCK, 1))
        before = len(world.namenode.changes)
        await asyncio.sleep(1)
        assert len(world.namenode.changes) == before + 1, "it is said again that it is gone"
        assert "quarantine" not in world.storages["a"].directory("/data/volumes/0").entries

    world.run(scenario())


def test_only_its_own_finding_makes_a_datanode_take_a_replica_for_damaged() -> None:
    world = World()

    async def scenario() -> None:
        (a,) = await stored(world, "a")
        node = world.nodes["a"]
        world.namenode.order(node.datanode_id, CheckReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert await world.read(a, (0, len(DATA))) == DATA
        rot(world, "a", 39 * CHUNK_BYTES)
        world.namenode.order(node.datanode_id, CheckReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert world.namenode.changes[-1].replica.state is ReplicaState.DAMAGED
        assert await world.read(a, (0, CHUNK_BYTES)) == DATA[:CHUNK_BYTES]
        assert quarantined(world, "a") == []

    world.run(scenario())


def test_a_corrupt_replica_is_healed_in_place_by_a_copy() -> None:
    world = World()

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        await world.copy(b, len(DATA), digest_of(DATA), a)
        rot(world, "a", 0)
        world.namenode.order(world.nodes["a"].datanode_id, CheckReplica(BLOCK, 1))
        await asyncio.sleep(1)
        order_transfer(world, world.nodes["a"], b)
        await asyncio.sleep(1)
        assert "is here already" in world.namenode.failures[-1], "it is not in quarantine yet"
        world.namenode.order(world.nodes["a"].datanode_id, QuarantineReplica(BLOCK, 1))
        await asyncio.sleep(1)
        order_transfer(world, world.nodes["a"], b)
        await asyncio.sleep(1)
        assert await world.read(a, (0, len(DATA))) == DATA
        assert len(quarantined(world, "a")) == 1

    world.run(scenario())


def test_a_file_that_became_short_is_found_by_the_read_that_needs_it() -> None:
    world = World()

    async def scenario() -> None:
        (a,) = await stored(world, "a")
        cut(world, "a", 10)
        with pytest.raises(DataDamaged, match="ends before"):
            await world.read(a, (0, 100))
        await asyncio.sleep(1)
        assert world.namenode.changes[-1].replica.state is ReplicaState.DAMAGED
        assert await world.read(a, (0, 10)) == DATA[:10]

    world.run(scenario())


def test_a_half_written_replica_gives_way_to_a_copy_under_a_newer_stamp_without_a_trace() -> None:
    world = World()

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        await world.write(DATA[:CHUNK_BYTES], b)
        await world.restamp(len(DATA), 1, 2, a)
        await world.finalize(DATA, a, stamp=2)
        await world.copy(b, len(DATA), digest_of(DATA), a, stamp=2)
        assert await world.read(b, (0, len(DATA)), stamp=2) == DATA
        assert quarantined(world, "b") == []
        (stale,) = [
            change.replica for change in world.namenode.changes if change.kind is ChangeKind.DELETED
        ]
        assert (stale.stamp, stale.state) == (1, ReplicaState.BEING_WRITTEN)
        world.nodes["b"].check_invariants()

    world.run(scenario())


def test_a_finished_replica_gives_way_to_a_copy_under_a_newer_stamp_and_is_kept_aside() -> None:
    world = World()

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        await world.write(DATA[:CHUNK_BYTES], b)
        await world.finalize(DATA[:CHUNK_BYTES], b)
        await world.restamp(len(DATA), 1, 2, a)
        await world.finalize(DATA, a, stamp=2)
        await world.copy(b, len(DATA), digest_of(DATA), a, stamp=2)
        assert await world.read(b, (0, len(DATA)), stamp=2) == DATA
        assert len(quarantined(world, "b")) == 1

    world.run(scenario())


@pytest.mark.parametrize("begun_for_ms", [0.5, 3.0, 4.0, 5.0, 6.0])
def test_a_copy_gives_way_to_one_under_a_newer_stamp_and_leaves_its_files_alone(
    begun_for_ms: float,
) -> None:
    world = World()

    async def scenario() -> None:
        for name in ("a", "b", "c"):
            await world.start(name)
        a, b, c = world.targets("a", "b", "c")
        await world.write(DATA, a, c)
        older = asyncio.create_task(world.copy(b, len(DATA), b"", c))
        await asyncio.sleep(begun_for_ms / 1000)
        await world.restamp(len(DATA), 1, 2, a)
        await world.copy(b, len(DATA), b"", a, stamp=2)
        await asyncio.wait([older])
        world.nodes["b"].check_invariants()
        await world.finalize(DATA, a, b, stamp=2)
        assert await world.read(b, (0, len(DATA)), stamp=2) == DATA
        older.exception()

    world.run(scenario())


def test_a_copy_of_nothing_needs_no_source_that_has_something() -> None:
    world = World()

    async def scenario() -> None:
        for name in ("a", "b"):
            await world.start(name)
        a, b = world.targets("a", "b")
        await world.copy(b, 0, b"", a)
        await world.write(DATA[:CHUNK_BYTES], b)
        await world.finalize(DATA[:CHUNK_BYTES], b)

    world.run(scenario())


def test_a_copy_whose_caller_went_while_the_disk_hung_leaves_nothing_behind() -> None:
    world = World()

    async def scenario() -> None:
        a, b = await stored(world, "a", "b")
        device = world.storages["b"].device
        device.hangs = True
        copying = asyncio.create_task(world.copy(b, len(DATA), digest_of(DATA), a))
        await asyncio.sleep(1)
        copying.cancel()
        await asyncio.sleep(1)
        device.go_on()
        await asyncio.sleep(1)
        await world.copy(b, len(DATA), digest_of(DATA), a)
        assert await world.read(b, (0, len(DATA))) == DATA
        world.nodes["b"].check_invariants()

    world.run(scenario())
