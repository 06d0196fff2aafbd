"""Blocks that come in one segment and are finalized as they arrive, as a writer sees it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dolmen.protocol.block_messages import WHOLE_LIMIT_BYTES
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ChangeKind, ReplicaState
from dolmen.protocol.errors import (
    ChecksumMismatch,
    DolmenError,
    InvalidRequest,
    NoSuchReplica,
    StaleGeneration,
)
from dolmen.protocol.tokens import Target
from tests.unit.datanode.volume_rig import DATA as RIG_DATA
from tests.unit.datanode.volume_rig import Rig, files
from tests.unit.datanode.world import World, content, digest_of, quarantined

DATA = content(3 * CHUNK_BYTES + 5)
NAMES = ("a", "b", "c")


async def three(world: World) -> tuple[Target, ...]:
    for name in NAMES:
        await world.start(name)
    return world.targets(*NAMES)


def names_in(world: World, name: str, place: str) -> list[str]:
    return files(world.storages[name].directory(f"/data/volumes/0/{place}"), "")


@pytest.mark.parametrize("length", [1, CHUNK_BYTES, CHUNK_BYTES + 1, WHOLE_LIMIT_BYTES])
def test_a_whole_block_is_finalized_everywhere_when_it_is_acknowledged(length: int) -> None:
    world, data = World(), content(length)

    async def scenario() -> None:
        targets = await three(world)
        stored = await world.write(data, *targets, digest=digest_of(data))
        assert (stored.failed_position, len(stored.hops)) == (-1, 3)
        for name, target in zip(NAMES, targets, strict=True):
            assert await world.read(target, (0, length)) == data
            assert (await world.checksums(target))[0].digest == digest_of(data)
            assert not names_in(world, name, "being_written")
        await asyncio.sleep(0.1)
        told = [(change.kind, change.replica.state) for change in world.namenode.changes]
        assert told == 3 * [(ChangeKind.STORED, ReplicaState.FINALIZED)]

    world.run(scenario())


def test_a_whole_block_that_comes_again_changes_nothing() -> None:
    world = World()

    async def scenario() -> None:
        targets = await three(world)
        sending = [world.write(DATA, *targets, digest=digest_of(DATA)) for _ in range(3)]
        for stored in await asyncio.gather(*sending):
            assert stored.failed_position < 0
        await world.finalize(DATA, *targets)
        other = content(len(DATA), salt=1)
        with pytest.raises(InvalidRequest, match="another length or digest"):
            await world.write(other, *targets, digest=digest_of(other))
        with pytest.raises(StaleGeneration):
            await world.write(DATA, *targets, stamp=2, digest=digest_of(DATA))
        for target in targets:
            assert await world.read(target, (0, len(DATA))) == DATA
        await asyncio.sleep(0.1)
        assert len(world.namenode.changes) == 3

    world.run(scenario())


def test_what_was_written_in_part_is_not_finalized_by_a_whole_block() -> None:
    world = World()

    async def scenario() -> None:
        (a, *_) = await three(world)
        await world.write(DATA[:CHUNK_BYTES], a)
        with pytest.raises(ChecksumMismatch, match="holds 65536 bytes"):
            await world.write(DATA, a, digest=digest_of(DATA))
        await world.write(DATA, a)
        await world.write(DATA, a, digest=digest_of(DATA))
        assert await world.read(a, (0, len(DATA))) == DATA

    world.run(scenario())


def test_a_whole_block_that_is_none_is_refused_and_nothing_of_it_stays() -> None:
    world = World()

    async def scenario() -> None:
        (a, *_) = await three(world)
        with pytest.raises(ChecksumMismatch, match="digest"):
            await world.write(DATA, a, digest=digest_of(DATA[:-1]))
        for data, offset in ((DATA, CHUNK_BYTES), (content(WHOLE_LIMIT_BYTES + 1), 0)):
            with pytest.raises(InvalidRequest, match="comes whole"):
                await world.write(data, a, offset=offset, digest=digest_of(data))
        with pytest.raises(NoSuchReplica):
            await world.read(a, (0, 1))
        assert not names_in(world, "a", "finalized")

    world.run(scenario())


async def die(world: World, name: str) -> None:
    await world.kill(name)


async def fall_silent(world: World, name: str) -> None:
    for other in {"client", *NAMES} - {name}:
        world.network.cut(name, other)


async def fail_to_sync(world: World, name: str) -> None:
    world.storages[name].device.syncs_to_fail = 1


async def be_full(world: World, name: str) -> None:
    world.storages[name].device.capacity_bytes = 4096
    await asyncio.sleep(2)  # a heartbeat measures the volumes


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("fail", [die, fall_silent, fail_to_sync, be_full])
def test_the_answer_names_who_did_not_finalize_and_the_others_did(
    fail: Callable[[World, str], Awaitable[None]], position: int
) -> None:
    world = World()

    async def scenario() -> None:
        targets = await three(world)
        await fail(world, NAMES[position])
        try:
            stored = await world.write(DATA, *targets, digest=digest_of(DATA))
        except DolmenError:
            assert position == 0
            assert fail in (die, fall_silent)
            return
        assert stored.failed_position == position
        for target in targets[:position]:
            assert await world.read(target, (0, len(DATA))) == DATA
        with pytest.raises(DolmenError):
            await world.read(targets[position], (0, 1))
        failed = NAMES[position]
        assert not names_in(world, failed, "finalized")
        assert not names_in(world, failed, "being_written")

    world.run(scenario())


@pytest.mark.parametrize("number", [0, 1])
def test_a_volume_that_fails_to_sync_is_passed_over(number: int) -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        (a,) = rig.world.targets("a")
        rig.disks[number].device.syncs_to_fail = 1
        stored = await rig.world.write(RIG_DATA, a, digest=digest_of(RIG_DATA))
        assert stored.failed_position < 0
        assert await rig.reads_well()
        names = [files(disk, one) for disk in rig.disks for one in (".block", ".new")]
        assert len([name for found in names for name in found]) == 1

    rig.world.run(scenario())


@pytest.mark.parametrize("delay_us", range(0, 1500, 50))
def test_a_process_killed_in_between_leaves_a_replica_or_nothing(delay_us: int) -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        writing = asyncio.create_task(world.write(DATA, a, digest=digest_of(DATA)))
        await asyncio.sleep(delay_us / 1e6)
        await world.kill("a")
        await asyncio.gather(writing, return_exceptions=True)
        await world.start("a")
        held = names_in(world, "a", "finalized")
        assert len(held) in (0, 2)
        if held:
            assert await world.read(a, (0, len(DATA))) == DATA
        assert not quarantined(world, "a")

    world.run(scenario())
