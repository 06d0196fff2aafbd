"""The edit log's files: torn, flipped, missing, foreign, failing."""

import asyncio
import logging
from random import Random

import pytest

from dolmen.protocol.errors import DataDamaged, WrongCluster
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_storage import SimStorage
from dolmen.simulation.virtual_time import run
from namenode.core.edit_batches import SEGMENT_HEADER_BYTES, make_batch
from namenode.file_edit_log import FileEditLog, open_file_edit_log

CLUSTER = "0123456789abcdef" * 2
DIRECTORY = "/edits"
FIRST = f"/edits/{1:020d}.edits"


async def open_log(storage: SimStorage, cluster_id: str = CLUSTER) -> FileEditLog:
    return await open_file_edit_log(SimDisk(storage, "test"), DIRECTORY, cluster_id)


async def fill(log: FileEditLog, *groups: bytes) -> None:
    for group in groups:
        await log.append(make_batch(log.position, 1, [group]))


async def groups_in(log: FileEditLog) -> list[bytes]:
    return [group async for batch in log.read(log.first_txid) for _, group in batch.groups()]


async def filled(storage: SimStorage, segments: int = 1) -> None:
    """Make a log of three batches a segment."""
    log = await open_log(storage)
    for _ in range(segments):
        await fill(log, b"a", b"b", b"c")
        await log.trim(0)
    await log.close()


def test_a_torn_tail_is_left_out_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        file = storage.file(FIRST)
        storage.truncate(file, len(file.data) - 3)
        log = await open_log(storage)
        assert log.position.txid == 2
        assert await groups_in(log) == [b"a", b"b"]
        await fill(log, b"d")
        assert await groups_in(await open_log(storage)) == [b"a", b"b", b"d"]

    with caplog.at_level(logging.WARNING):
        run(check())
    assert "left out 66 bytes of an unfinished batch after transaction 2" in caplog.text


@pytest.mark.parametrize("place", [0, 50, SEGMENT_HEADER_BYTES + 2, SEGMENT_HEADER_BYTES + 66])
def test_damage_before_the_last_batch_is_refused_with_file_and_place(place: int) -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        storage.rot(FIRST, place)
        with pytest.raises(DataDamaged, match=r"\.edits: .*put the file back from a copy"):
            await open_log(storage)

    run(check())


def test_a_damaged_tail_of_an_earlier_segment_is_no_torn_tail() -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage, segments=2)
        storage.rot(FIRST, len(storage.file(FIRST).data) - 1)
        with pytest.raises(DataDamaged, match="is not intact"):
            await open_log(storage)

    run(check())


def test_a_segment_that_is_missing_in_between_is_noticed() -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage, segments=3)
        storage.remove(f"/edits/{4:020d}.edits")
        with pytest.raises(DataDamaged, match="the edits after 3 are missing"):
            await open_log(storage)

    run(check())


def test_a_renamed_segment_is_noticed() -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        storage.rename(FIRST, f"/edits/{7:020d}.edits")
        with pytest.raises(DataDamaged, match="begins at transaction 1"):
            await open_log(storage)

    run(check())


def test_the_log_of_another_cluster_is_refused() -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        with pytest.raises(WrongCluster, match="belongs to cluster"):
            await open_log(storage, "f" * 32)

    run(check())


def test_a_failed_append_is_final() -> None:
    async def check() -> None:
        storage = SimStorage()
        log = await open_log(storage)
        await fill(log, b"a")
        storage.device.syncs_to_fail = 1
        with pytest.raises(OSError, match="Input/output error"):
            await fill(log, b"b")
        with pytest.raises(OSError, match="failed before"):
            await fill(log, b"b")
        assert log.position.txid == 1
        again = await open_log(storage)
        assert (await groups_in(again))[0] == b"a"

    run(check())


def test_a_cancelled_append_is_final() -> None:
    async def check() -> None:
        log = await open_log(SimStorage())
        await fill(log, b"a")
        appending = asyncio.create_task(fill(log, b"b"))
        await asyncio.sleep(0.0001)
        appending.cancel()
        await asyncio.wait((appending,))
        with pytest.raises(OSError, match="failed before"):
            await fill(log, b"b")

    run(check())


def test_a_full_disk_is_final_and_leaves_what_was_there() -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        log = await open_log(storage)
        storage.device.capacity_bytes = storage.device.used_bytes + 10
        with pytest.raises(OSError, match="No space left"):
            await fill(log, b"x" * 100)
        storage.device.capacity_bytes = 1 << 30
        assert await groups_in(await open_log(storage)) == [b"a", b"b", b"c"]

    run(check())


def test_what_the_page_cache_shows_is_synced_before_it_is_believed() -> None:
    """After a sync that failed, memory shows what the disk lacks: once shown it must stay."""

    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        log = await open_log(storage)
        storage.device.syncs_to_fail = 1
        with pytest.raises(OSError, match="Input/output error"):
            await fill(log, b"d")
        shown = await groups_in(await open_log(storage))
        storage.crash(Random(1))
        assert shown == [b"a", b"b", b"c", b"d"]
        assert await groups_in(await open_log(storage)) == shown

    run(check())


def test_what_an_unfinished_write_left_beside_the_segments_goes() -> None:
    async def check() -> None:
        storage = SimStorage()
        await filled(storage)
        storage.open(FIRST + ".new", create=True)
        await open_log(storage)
        assert list(storage.directory(DIRECTORY).entries) == [FIRST.removeprefix("/edits/")]

    run(check())
