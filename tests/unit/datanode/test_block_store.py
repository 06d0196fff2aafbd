"""The store by itself: room on volumes, many replicas at once, and steps whose caller went away."""

import asyncio
import errno
import os
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from datanode.block_store import BlockStore
from datanode.core.layout import Place
from datanode.core.receiver import Piece
from datanode.core.volume_states import VolumeState
from datanode.open_files import OPEN_REPLICAS_MAX
from datanode.verification import Verifier
from datanode.version_file import FORMAT_VERSION, MAGIC, VolumeIdentity, write_identity
from datanode.volume import Volume
from datanode.writing import ReplicaWriter
from dolmen.protocol.checksums import chunk_checksums
from dolmen.protocol.datanode_messages import ReplicaChange, ReplicaState
from dolmen.protocol.errors import DataDamaged, NoSpace, NoSuchReplica
from dolmen.protocol.identifiers import make_block_id
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import SimDisk, SimFile
from dolmen.simulation.sim_storage import SimStorage
from tests.unit.datanode.world import CLUSTER_ID, content, digest_of

KIB = 1024
DATA = content(1000)
B1 = make_block_id(1, 1)


class Scene:
    """A store with a volume on each of these capacities."""

    def __init__(self, *capacities: int, reserved: int = 0) -> None:
        self.storages = [SimStorage(capacity_bytes=capacity) for capacity in capacities]
        self.reserved = reserved
        self.changes: list[ReplicaChange] = []

    async def open(self) -> ReplicaWriter:
        volumes = []
        for number, storage in enumerate(self.storages):
            disk = SimDisk(storage, "datanode")
            await disk.make_directories("/v")
            storage_id = f"storage-{number}"
            identity = VolumeIdentity(MAGIC, FORMAT_VERSION, CLUSTER_ID, "d", storage_id, 1)
            await write_identity(disk, "/v", identity)
            volume = Volume(disk, "/v", CLUSTER_ID, storage_id, self.reserved)
            await volume.measure()
            volumes.append(volume)
        self.store = BlockStore(volumes, lambda: 1, self.changes.append, Random(1))
        self.writer = ReplicaWriter(self.store)
        return self.writer

    async def write(self, number: int, data: bytes, offset: int = 0) -> int:
        block_id = make_block_id(1, number)
        await self.writer.begin(block_id, 1, len(data))
        piece = Piece(offset, memoryview(data), chunk_checksums(data))
        await self.writer.store(block_id, 1, piece)
        return block_id

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        async def whole() -> None:
            await self.open()
            await scenario
            self.store.check_invariants()
            await self.store.close()

        virtual_time.run(whole())


class CrowdedDisk(SimDisk):
    """A disk on which no more files can be opened for now: the process has too many open."""

    async def open(
        self, path: str, *, create: bool = False, writable: bool = True, past_cache: bool = False
    ) -> SimFile:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)


class OverdrawnDisk(SimDisk):
    """A disk that finds out at the first sync that it has no room for what it took."""

    overdrawn = True

    async def open(
        self, path: str, *, create: bool = False, writable: bool = True, past_cache: bool = False
    ) -> SimFile:
        inode = self.storage.open(path, create=create)
        return OverdrawnFile(self, inode, writable=writable)


class OverdrawnFile(SimFile):
    """A file of such a disk."""

    async def sync(self) -> None:
        assert isinstance(self._disk, OverdrawnDisk)
        if self._disk.overdrawn:
            self._disk.overdrawn = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await super().sync()


def test_the_reserve_is_at_most_a_twentieth_of_a_volume() -> None:
    scene = Scene(1000 * KIB, 1000 * KIB, reserved=10 * KIB)

    async def scenario() -> None:
        first, second = scene.store.volumes
        used = scene.storages[0].device.used_bytes  # by the VERSION file
        assert first.room_bytes == 990 * KIB - used
        small = Volume(second.disk, "/v", CLUSTER_ID, "storage-2", 900 * KIB)
        await small.measure()
        assert small.room_bytes == 950 * KIB - used

    scene.run(scenario())


def test_a_new_replica_goes_where_there_is_room_and_none_into_the_reserve() -> None:
    scene = Scene(100 * KIB, 150 * KIB, reserved=KIB)
    data = content(60 * KIB)

    async def scenario() -> None:
        placed = []
        for number in range(3):
            block_id = await scene.write(number, data)
            replica = scene.store.get(block_id)
            assert replica is not None
            placed.append(replica.storage_id)
        assert sorted(placed) == ["storage-0", "storage-1", "storage-1"]
        with pytest.raises(NoSpace, match="bytes free"):
            await scene.write(4, data)

    scene.run(scenario())


def test_a_replica_whose_volume_fails_while_its_files_are_made_is_begun_on_another() -> None:
    scene = Scene(1 << 30, 100 * KIB)

    async def scenario() -> None:
        roomy, _ = scene.store.volumes
        scene.storages[0].device.hangs = True
        beginning = asyncio.create_task(scene.writer.begin(B1, 1, len(DATA)))
        await asyncio.sleep(1)
        await scene.store.lose(roomy)
        scene.storages[0].device.go_on()
        await beginning
        replica = scene.store.get(B1)
        assert replica is not None
        assert replica.storage_id == "storage-1"

    scene.run(scenario())


def test_while_a_lost_volume_waits_for_one_replica_no_files_of_the_others_are_open() -> None:
    scene = Scene(1 << 30)

    async def scenario() -> None:
        (volume,) = scene.store.volumes
        busy = await scene.write(1, DATA)
        await scene.write(2, DATA)
        async with scene.store.gates.hold(busy):
            losing = asyncio.create_task(scene.store.lose(volume))
            await asyncio.sleep(1)
            scene.store.check_invariants()
        assert await losing == 2
        assert scene.store.get(busy) is None

    scene.run(scenario())


def test_what_finalizing_left_before_it_failed_goes_with_the_replica() -> None:
    scene = Scene(1 << 30)
    storage = scene.storages[0]

    async def scenario() -> None:
        block_id = await scene.write(1, DATA)
        replica = scene.store.get(block_id)
        assert replica is not None
        volume = scene.store.volume_of(replica)
        await volume.make_directory(Place.FINALIZED, block_id)
        final = volume.data_path(Place.FINALIZED, block_id)
        storage.rename(volume.data_path(Place.BEING_WRITTEN, block_id), final)
        async with scene.store.gates.hold(block_id):
            await scene.store.drop_unfinished(replica)
        with pytest.raises(FileNotFoundError):
            storage.file(final)
        assert block_id in volume.unread, "its disk may have been away: it is looked at again"

    scene.run(scenario())


def test_more_replicas_may_be_written_than_files_are_kept_open() -> None:
    scene = Scene(1 << 30)
    count = OPEN_REPLICAS_MAX + 50
    data = content(100)

    async def scenario() -> None:
        for number in range(count):
            await scene.write(number, data[:50])
        for number in range(count):
            block_id = await scene.write(number, data)
            await scene.writer.finalize(block_id, 1, len(data), digest_of(data))
        states = {change.replica.state for change in scene.changes[-count:]}
        assert states == {ReplicaState.FINALIZED}
        assert scene.store.volumes[0].used_bytes == count * len(data)

    scene.run(scenario())


def test_a_finalize_goes_on_when_whoever_asked_for_it_went_away() -> None:
    scene = Scene(1 << 30)
    data = content(1000)

    async def scenario() -> None:
        block_id = await scene.write(1, data)
        asking = asyncio.create_task(scene.writer.finalize(block_id, 1, len(data), digest_of(data)))
        await asyncio.sleep(0.0003)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        await scene.store.work.finish()
        assert scene.store.find(block_id, 1).state is ReplicaState.FINALIZED

    scene.run(scenario())


def test_pieces_that_arrive_together_wait_for_one_another() -> None:
    scene = Scene(1 << 30)
    data = content(3 * 64 * KIB)

    async def scenario() -> None:
        block_id = await scene.write(1, data[: 64 * KIB])
        async with asyncio.TaskGroup() as writing:
            for _ in range(3):
                writing.create_task(scene.write(1, data))
                writing.create_task(scene.write(1, data[128 * KIB :], offset=128 * KIB))
        await scene.writer.finalize(block_id, 1, len(data), digest_of(data))
        assert await Verifier(scene.store).verify(block_id, 1) == ""

    scene.run(scenario())


def test_a_finalize_for_which_no_file_can_be_opened_can_be_repeated() -> None:
    scene = Scene(1 << 30)

    async def scenario() -> None:
        await scene.write(1, DATA)
        await scene.store.close_files(B1)
        (volume,) = scene.store.volumes
        disk, volume.disk = volume.disk, CrowdedDisk(scene.storages[0], "datanode")
        with pytest.raises(DataDamaged):
            await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        volume.disk = disk
        await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        assert volume.state is VolumeState.HEALTHY

    scene.run(scenario())


def test_data_whose_sync_found_no_room_is_lost_and_not_synced_again() -> None:
    scene = Scene(1 << 30)

    async def scenario() -> None:
        (volume,) = scene.store.volumes
        volume.disk = OverdrawnDisk(scene.storages[0], "datanode")
        await scene.write(1, DATA)
        with pytest.raises(NoSpace):
            await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        with pytest.raises(NoSuchReplica):
            await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        assert volume.state is VolumeState.SUSPECT

    scene.run(scenario())
