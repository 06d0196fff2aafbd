"""What a datanode that died finds on its disks, serves and reports, and what it puts aside."""

import pytest

from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ReplicaState
from dolmen.protocol.errors import StaleGeneration
from tests.unit.datanode.test_node import DATA, VOLUME, put_file, settle
from tests.unit.datanode.world import BLOCK, World, digest_of, quarantined


@pytest.mark.parametrize("power_loss", [False, True])
def test_what_was_finalized_is_served_after_a_crash_and_reported_with_its_digest(
    power_loss: bool,
) -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await world.finalize(DATA, a)
        await world.kill("a", power_loss=power_loss)
        await world.start("a")
        assert await world.read(a, (0, len(DATA))) == DATA
        await settle()
        (report,) = world.namenode.reported()
        assert (report.block_id, report.length_bytes) == (BLOCK, len(DATA))
        assert (report.state, report.digest) == (ReplicaState.FINALIZED, digest_of(DATA))

    world.run(scenario())


def test_an_unfinished_replica_waits_for_recovery_with_its_verified_prefix() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA[: 2 * CHUNK_BYTES], a)
        await world.write(DATA[3 * CHUNK_BYTES :], a, offset=3 * CHUNK_BYTES)
        await world.kill("a")
        await world.start("a")
        await settle()
        (report,) = world.namenode.reported()
        assert report.state is ReplicaState.WAITING_FOR_RECOVERY
        assert report.length_bytes == 2 * CHUNK_BYTES
        with pytest.raises(StaleGeneration, match="restarted"):
            await world.write(DATA, a)
        await world.restamp(2 * CHUNK_BYTES, 1, 2, a)
        await world.write(DATA[2 * CHUNK_BYTES :], a, offset=2 * CHUNK_BYTES, stamp=2)
        await world.finalize(DATA, a, stamp=2)
        assert await world.read(a, (0, len(DATA)), stamp=2) == DATA

    world.run(scenario())


def test_an_unfinished_replica_whose_contents_fit_is_finalized_after_a_restart() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await world.kill("a")
        await world.start("a")
        await world.finalize(DATA, a)
        assert await world.read(a, (0, len(DATA))) == DATA

    world.run(scenario())


def test_strange_files_on_a_volume_are_put_aside_and_kept() -> None:
    world = World()
    group = "finalized/0000/00/00"

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await world.finalize(DATA, a)
        await world.nodes["a"].stop()
        strangers = ["notes.txt", f"{0x30:016x}.block", f"{0x40:016x}.7.checksums"]
        for name in strangers:
            put_file(world, "a", f"{VOLUME}/{group}/{name}", b"?")
        await world.start("a")
        assert await world.read(a, (0, len(DATA))) == DATA
        kept = quarantined(world, "a")
        assert sorted(name for one in kept for name in one.files) == sorted(strangers)
        assert {one.source for one in kept} == {group}

    world.run(scenario())


def test_what_a_cut_off_step_left_is_removed() -> None:
    world = World()
    left = (f"{0x30:016x}.block", f"{0x40:016x}.7.checksums.new", f"{0x50:016x}.block")

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await world.nodes["a"].stop()
        for name in left:
            put_file(world, "a", f"{VOLUME}/being_written/0000/00/00/{name}", b"")
        await world.start("a")
        names = set(world.storages["a"].directory(f"{VOLUME}/being_written/0000/00/00").entries)
        assert names.isdisjoint(left)
        assert len(names) == 2
        assert "quarantine" not in world.storages["a"].directory(VOLUME).entries

    world.run(scenario())
