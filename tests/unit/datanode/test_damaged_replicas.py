"""The life of a DAMAGED replica: how it ends, what may not be done with it, and who is told."""

import asyncio

import pytest

from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    InvalidateReplica,
    QuarantineReplica,
    ReplicaState,
)
from dolmen.protocol.errors import DolmenError, StaleGeneration
from dolmen.runtime.settings import Settings
from tests.unit.datanode.test_damage import (
    CHECKSUM_FILE,
    DATA,
    DATA_FILE,
    GROUP,
    PERIOD_S,
    by_a_check,
    data_flipped,
    stored,
)
from tests.unit.datanode.test_reading_and_copying import order_transfer
from tests.unit.datanode.world import BLOCK, World, digest_of, quarantined


def last_change(world: World) -> tuple[ChangeKind, ReplicaState]:
    change = world.namenode.changes[-1]
    return change.kind, change.replica.state


def test_a_damaged_replica_stays_so_over_a_restart_and_loss_of_power() -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        data_flipped(world.storages["a"])
        await by_a_check(world, a)
        for power_loss in (False, True):
            await world.kill("a", power_loss=power_loss)
            world.namenode.pages.clear()
            await world.start("a")
            await asyncio.sleep(1)
            (report,) = world.namenode.reported()
            assert report.state is ReplicaState.DAMAGED
            assert (report.length_bytes, report.digest) == (len(DATA), digest_of(DATA))

    world.run(scenario())


def test_a_damaged_replica_goes_into_quarantine_on_order_and_only_under_its_stamp() -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        world.namenode.order(a.datanode_id, QuarantineReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert "is not damaged" in world.namenode.failures[-1]
        data_flipped(world.storages["a"])
        await by_a_check(world, a)
        world.namenode.order(a.datanode_id, QuarantineReplica(BLOCK, 2))
        await asyncio.sleep(1)
        assert last_change(world) == (ChangeKind.STORED, ReplicaState.DAMAGED)
        world.namenode.order(a.datanode_id, QuarantineReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert last_change(world) == (ChangeKind.CORRUPT, ReplicaState.DAMAGED)
        (entry,) = quarantined(world, "a")
        assert len(entry.files) == 3, "data, checksums and marker"
        await asyncio.sleep(2)
        health = world.namenode.heartbeats[-1].health
        assert health.quarantined_replicas == 1
        assert health.quarantined_bytes > len(DATA)
        world.namenode.order(a.datanode_id, QuarantineReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert world.namenode.changes[-1].kind is ChangeKind.DELETED, "it is said again"

    world.run(scenario())


def test_a_damaged_replica_can_be_deleted_and_leaves_nothing() -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        data_flipped(world.storages["a"])
        await by_a_check(world, a)
        world.namenode.order(a.datanode_id, InvalidateReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert world.namenode.changes[-1].kind is ChangeKind.DELETED
        assert not world.storages["a"].directory(GROUP).entries

    world.run(scenario())


def test_a_damaged_replica_takes_no_part_in_writing() -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        data_flipped(world.storages["a"])
        await by_a_check(world, a)
        with pytest.raises(DolmenError, match="takes no part"):
            await world.restamp(len(DATA), 1, 2, a)
        with pytest.raises(DolmenError, match="takes no part"):
            await world.finalize(DATA, a)
        with pytest.raises(DolmenError):
            await world.write(DATA[:CHUNK_BYTES], a)

    world.run(scenario())


@pytest.mark.parametrize("files", [[DATA_FILE], [DATA_FILE, CHECKSUM_FILE]], ids=["data", "both"])
def test_a_replica_that_can_be_read_again_is_sound_again(files: list[str]) -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        for file in files:
            world.storages["a"].file(file).unreadable = True
        await by_a_check(world, a)
        assert last_change(world) == (ChangeKind.STORED, ReplicaState.DAMAGED)
        for file in files:
            world.storages["a"].file(file).unreadable = False
        world.namenode.checked.clear()
        await by_a_check(world, a)
        assert last_change(world) == (ChangeKind.STORED, ReplicaState.FINALIZED)
        assert len(world.storages["a"].directory(GROUP).entries) == 2

    world.run(scenario())


def test_checks_are_answered_also_of_what_is_not_there_or_not_finalized() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        world.namenode.order(a.datanode_id, CheckReplica(BLOCK, 1))
        await asyncio.sleep(1)
        await world.write(DATA, a)
        world.namenode.order(a.datanode_id, CheckReplica(BLOCK, 1))
        world.namenode.order(a.datanode_id, CheckReplica(BLOCK, 7))
        await asyncio.sleep(1)
        answers = [(one.stamp, bool(one.problem)) for one in world.namenode.checked]
        assert sorted(answers) == [(1, True), (1, True), (7, True)]
        await world.finalize(DATA, a)
        world.namenode.order(a.datanode_id, CheckReplica(BLOCK, 1))
        await asyncio.sleep(1)
        assert world.namenode.checked[-1].problem == ""

    world.run(scenario())


def test_a_source_with_bad_bytes_is_named_to_the_namenode() -> None:
    world = World()

    async def scenario() -> None:
        for name in ("b", "c"):
            await world.start(name)
        a = await stored(world)
        b, c = world.targets("b", "c")
        await world.copy(b, len(DATA), digest_of(DATA), a)
        data_flipped(world.storages["a"])
        order_transfer(world, world.nodes["c"], a, b)
        await asyncio.sleep(1)
        assert await world.read(c, (0, len(DATA))) == DATA
        assert world.namenode.bad_sources == [a.datanode_id]
        assert world.namenode.failures == [], "the copy itself was made"

    world.run(scenario())


def test_a_volume_that_vanished_makes_no_replica_damaged() -> None:
    world = World()
    world.settings = Settings(scrub_period_ms=PERIOD_S * 1000)

    async def scenario() -> None:
        a = await stored(world)
        disk = world.storages["a"]
        moved = disk.find("/data/volumes/0")
        disk.rename("/data/volumes/0", "/data/elsewhere")
        world.namenode.order(a.datanode_id, CheckReplica(BLOCK, 1))
        await asyncio.sleep(PERIOD_S)
        kinds = {change.kind for change in world.namenode.changes}
        assert ChangeKind.CORRUPT not in kinds
        assert ReplicaState.DAMAGED not in {c.replica.state for c in world.namenode.changes}
        assert disk.find("/data/elsewhere") is moved

    world.run(scenario())


@pytest.mark.parametrize("stamp", [1, 2])
def test_a_check_of_another_stamp_judges_nothing(stamp: int) -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        await world.restamp(len(DATA), 1, 2, a)
        await world.finalize(DATA, a, stamp=2)
        world.namenode.order(a.datanode_id, CheckReplica(BLOCK, stamp))
        await asyncio.sleep(1)
        assert bool(world.namenode.checked[-1].problem) == (stamp == 1)
        with pytest.raises(StaleGeneration):
            await world.read(a, (0, 1))

    world.run(scenario())
