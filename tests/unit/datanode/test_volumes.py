"""Several volumes in one datanode: one that cannot be used, fails, vanishes, comes back."""

import asyncio
from collections.abc import Callable

import pytest

from dolmen.protocol.block_messages import FinalizeReplica
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ChangeKind
from dolmen.protocol.errors import DolmenError, NoSuchReplica, StartRefused
from dolmen.protocol.tokens import Access
from dolmen.simulation.sim_storage import SimStorage
from tests.unit.datanode.volume_rig import (
    BACK_S,
    BOTH,
    CHECKED_S,
    DATA,
    Rig,
    files,
    inodes,
    volumes_of,
)
from tests.unit.datanode.world import digest_of


def plant(storage: SimStorage, path: str, data: bytes) -> None:
    inode = storage.open(path, create=True)
    storage.truncate(inode, 0)
    storage.write(inode, 0, data)


def break_disk(rig: Rig) -> None:
    rig.disks[1].device.broken = True


def put_a_stranger(rig: Rig) -> None:
    plant(rig.storage, "/d2/holiday.jpg", b"...")


def put_a_damaged_version(rig: Rig) -> None:
    rig.storage.make_directory("/d2/volumes")
    rig.storage.make_directory("/d2/volumes/0")
    plant(rig.storage, "/d2/volumes/0/VERSION", b"\0\0\0")


@pytest.mark.parametrize("spoil", [break_disk, put_a_stranger, put_a_damaged_version])
def test_a_directory_that_cannot_be_used_at_the_start_costs_itself_alone(
    spoil: Callable[[Rig], None],
) -> None:
    rig = Rig()
    spoil(rig)

    async def scenario() -> None:
        await rig.start()
        assert await rig.store() == 1
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 1
        (story,) = rig.failed()
        assert "/d2" in story
        assert await rig.reads_well()

    rig.world.run(scenario())


def test_a_start_without_any_usable_directory_is_refused() -> None:
    rig = Rig()
    put_a_stranger(rig)
    rig.disks[0].device.broken = True

    async def scenario() -> None:
        with pytest.raises(StartRefused, match=r"/d1 cannot be used.*; .*/d2 is not empty"):
            await rig.world.make("a", **BOTH).start()

    rig.world.run(scenario())


def test_a_directory_that_another_process_uses_refuses_the_start() -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        with pytest.raises(StartRefused, match="in use"):
            await rig.world.make("a", directories=("/d3", "/d2"), port=9999).start()

    rig.world.run(scenario())


def test_a_copied_volume_refuses_the_start() -> None:
    rig = Rig()

    async def scenario() -> None:
        await (await rig.start()).stop()
        version = bytes(rig.storage.file("/d1/volumes/0/VERSION").data)
        plant(rig.storage, "/d2/volumes/0/VERSION", version)
        with pytest.raises(StartRefused, match="hold the same volume"):
            await rig.world.make("a", **BOTH).start()

    rig.world.run(scenario())


def test_a_volume_that_vanishes_takes_its_replicas_with_it_and_nothing_is_put_in_its_place() -> (
    None
):
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        number = await rig.store()
        path = f"/d{number}"
        disk = rig.storage.pull_out(path)
        registrations = len(rig.world.namenode.registrations)
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 1
        assert len(rig.world.namenode.registrations) == registrations + 1
        assert rig.storage.directory(path).entries == {}, "something was made where it was"
        assert [change.kind for change in rig.world.namenode.changes if change.kind != 1] == []
        with pytest.raises(NoSuchReplica):
            await rig.reads_well()
        rig.storage.plug_in(path, disk)
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 2
        assert rig.failed() == ()
        assert await rig.reads_well()
        assert rig.world.namenode.pages[-1].all_done

    rig.world.run(scenario())


def test_of_two_replicas_the_one_that_goes_when_a_disk_can_be_read_again_is_told_of() -> None:
    rig = Rig()

    async def scenario() -> None:
        node = await rig.start()
        path = f"/d{await rig.store()}"
        disk = rig.storage.pull_out(path)
        await asyncio.sleep(CHECKED_S)
        (second,) = volumes_of(node)
        assert await rig.store() != int(path[2:])
        checksums = next(inode for inode in inodes(disk) if inode.data.startswith(b"DLMNCSUM"))
        checksums.unreadable = True
        rig.storage.plug_in(path, disk)
        await asyncio.sleep(BACK_S)
        changes = rig.world.namenode.changes
        assert len(volumes_of(node)) == 2
        assert all(change.kind is not ChangeKind.DELETED for change in changes)
        checksums.unreadable = False
        await asyncio.sleep(CHECKED_S)
        gone = [change.storage_id for change in changes if change.kind is ChangeKind.DELETED]
        assert gone == [second.storage_id]
        assert await rig.reads_well()

    rig.world.run(scenario())


def test_a_read_that_finds_the_disk_gone_blames_the_volume_and_not_the_replica() -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        path = f"/d{await rig.store()}"
        await asyncio.sleep(1.5)  # a probe has just been
        disk = rig.storage.pull_out(path)
        with pytest.raises(DolmenError):
            await rig.reads_well()
        await asyncio.sleep(CHECKED_S)
        assert files(disk, ".damaged") == []
        assert "quarantine" not in rig.storage.directory(path).entries
        rig.storage.plug_in(path, disk)
        await asyncio.sleep(CHECKED_S)
        assert await rig.reads_well()

    rig.world.run(scenario())


def test_an_empty_disk_in_place_of_one_that_failed_is_used_under_a_new_identity() -> None:
    rig = Rig()

    async def scenario() -> None:
        node = await rig.start()
        path = f"/d{await rig.store()}"
        before = {one.storage_id for one in rig.world.namenode.registrations[-1].storages}
        rig.storage.pull_out(path)
        await asyncio.sleep(CHECKED_S)
        rig.storage.plug_in(path)
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 2
        assert len(rig.told() & before) == 1
        assert rig.storage.file(f"{path}/cluster.secret").data
        (a,) = rig.world.targets("a")
        await rig.world.write(DATA, a, stamp=2)
        await node.stop()
        again = await rig.start()
        assert again.datanode_id == node.datanode_id
        assert len(rig.world.namenode.registrations[-1].storages) == 2

    rig.world.run(scenario())


def test_a_volume_of_another_datanode_is_not_taken_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        rig.storage.pull_out("/d2")
        await asyncio.sleep(CHECKED_S)
        foreign = rig.storage.plug_in("/d2")
        rig.storage.make_directory("/d2/volumes")
        rig.storage.make_directory("/d2/volumes/0")
        version = bytes(rig.storage.file("/d1/volumes/0/VERSION").data)
        other = version.replace(rig.world.nodes["a"].datanode_id.encode(), b"e" * 32)
        plant(rig.storage, "/d2/volumes/0/VERSION", other)
        await asyncio.sleep(CHECKED_S)
        (story,) = rig.failed()
        assert "belongs to datanode eeee" in story
        assert len(rig.told()) == 1
        assert bytes(rig.storage.file("/d2/volumes/0/VERSION").data) == other
        assert foreign.entries.keys() == {"volumes", "lock"}

    rig.world.run(scenario())
    assert sum("belongs to datanode eeee" in line for line in caplog.messages) == 1


def test_a_node_that_lost_all_volumes_stays_and_comes_back_with_one() -> None:
    rig = Rig()

    async def scenario() -> None:
        node = await rig.start()
        number = await rig.store()
        disks = {path: rig.storage.pull_out(path) for path in ("/d1", "/d2")}
        await asyncio.sleep(CHECKED_S)
        assert rig.told() == set()
        assert len(rig.failed()) == 2
        (a,) = rig.world.targets("a")
        reply = await rig.world.write(DATA, a, stamp=7)
        assert reply.failed_position == 0
        assert "no volume" in reply.reason
        rig.storage.plug_in(f"/d{number}", disks[f"/d{number}"])
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 1
        assert await rig.reads_well()
        node.check_invariants()

    rig.world.run(scenario())


def test_a_node_that_was_started_without_its_disk_ends_when_that_comes_and_is_itself_again() -> (
    None
):
    rig = Rig()

    async def scenario() -> None:
        node = await rig.world.start("a", directories=("/d1",))
        identity = node.datanode_id
        await node.stop()
        disk = rig.storage.pull_out("/d1")
        stranger = await rig.world.start("a", directories=("/d1",))
        assert stranger.datanode_id != identity
        rig.storage.plug_in("/d1", disk)
        with pytest.raises(StartRefused, match=f"belongs to datanode {identity}.*start this data"):
            await stranger.wait()
        again = await rig.world.start("a", directories=("/d1",))
        assert again.datanode_id == identity

    rig.world.run(scenario())


def test_a_read_only_volume_serves_takes_nothing_new_and_is_used_again_later() -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        number = await rig.store()
        device = rig.disks[number - 1].device
        device.read_only = True
        await asyncio.sleep(CHECKED_S)
        free = sorted(one.free_bytes for one in rig.world.namenode.heartbeats[-1].storages)
        assert free[0] == 0 < free[1]
        assert await rig.reads_well()
        assert len(rig.told()) == 2
        device.read_only = False
        await asyncio.sleep(CHECKED_S)
        assert all(one.free_bytes > 0 for one in rig.world.namenode.heartbeats[-1].storages)

    rig.world.run(scenario())


def test_a_segment_for_a_disk_that_became_read_only_is_refused_and_ends_its_use() -> None:
    rig = Rig()

    async def scenario() -> None:
        node = await rig.start()
        (a,) = rig.world.targets("a")
        half = DATA[:CHUNK_BYTES]
        assert (await rig.world.write(half, a)).failed_position == -1
        number = rig.where()
        rig.disks[number - 1].device.read_only = True
        reply = await rig.world.write(DATA[CHUNK_BYTES:], a, offset=CHUNK_BYTES)
        assert reply.failed_position == 0
        assert "Read-only" in reply.reason
        assert sorted(one.room_bytes > 0 for one in volumes_of(node)) == [False, True]

    rig.world.run(scenario())


def test_a_failed_sync_is_final_until_the_volume_is_read_anew() -> None:
    rig = Rig()

    async def scenario() -> None:
        node = await rig.start()
        (a,) = rig.world.targets("a")
        await rig.world.write(DATA, a)
        device = rig.disks[rig.where() - 1].device
        device.syncs_to_fail = 1
        head = FinalizeReplica(
            rig.world.token(Access.WRITE, a), 0x20, 1, len(DATA), digest_of(DATA)
        )
        with pytest.raises(DolmenError):
            await rig.world.ask(a.address, head)
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 2
        assert min(one.free_bytes for one in rig.world.namenode.heartbeats[-1].storages) == 0
        await node.stop()
        await rig.start()
        assert all(one.free_bytes for one in rig.world.namenode.registrations[-1].storages)

    rig.world.run(scenario())


def test_what_is_written_to_a_volume_that_fails_is_not_begun_again_in_its_middle() -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        (a,) = rig.world.targets("a")
        await rig.world.write(DATA[:CHUNK_BYTES], a)
        number = rig.where()
        rig.storage.pull_out(f"/d{number}")
        await asyncio.sleep(CHECKED_S)
        with pytest.raises(NoSuchReplica):
            await rig.world.write(DATA[CHUNK_BYTES:], a, offset=CHUNK_BYTES)
        reply = await rig.world.write(DATA, a, stamp=2)
        assert reply.failed_position == -1

    rig.world.run(scenario())


def test_a_disk_on_which_everything_fails_is_given_up() -> None:
    rig = Rig()

    async def scenario() -> None:
        await rig.start()
        rig.disks[1].device.broken = True
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 1
        rig.disks[1].device.broken = False
        await asyncio.sleep(CHECKED_S)
        assert len(rig.told()) == 2

    rig.world.run(scenario())
