"""What every `EditLog` does: the files of one machine, and the simulated shared one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from dolmen.protocol.errors import DataDamaged, StandbyNamenode
from dolmen.runtime.thread_disk import ThreadDisk
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_edit_log import SharedEditLog, SimEditLog
from dolmen.simulation.sim_storage import SimStorage
from namenode.core.edit_batches import START, Batch, make_batch
from namenode.edit_log import EditLog
from namenode.file_edit_log import open_file_edit_log

CLUSTER = "0123456789abcdef" * 2
Opener = Callable[[], Awaitable[EditLog]]


@pytest.fixture(params=["files", "simulated files", "simulated"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same log again and again."""
    disk, storage, shared = ThreadDisk(), SimStorage(), SharedEditLog()

    async def open_files() -> EditLog:
        return await open_file_edit_log(disk, str(tmp_path / "edits"), CLUSTER)

    async def open_sim_files() -> EditLog:
        return await open_file_edit_log(SimDisk(storage, "namenode"), "/edits", CLUSTER)

    async def open_sim() -> EditLog:
        return SimEditLog(shared)

    openers: dict[str, Opener] = {
        "files": open_files,
        "simulated files": open_sim_files,
        "simulated": open_sim,
    }
    yield openers[request.param]
    disk.close()


async def append(log: EditLog, *groups: bytes, epoch: int = 1) -> Batch:
    batch = make_batch(log.position, epoch, groups)
    await log.append(batch)
    return batch


async def groups_from(log: EditLog, txid: int) -> list[tuple[int, bytes]]:
    return [group async for batch in log.read(txid) for group in batch.groups()]


def test_a_new_log_stands_at_the_start(open_log: Opener) -> None:
    async def check() -> None:
        log = await open_log()
        assert log.position == START
        assert log.first_txid == 1
        assert await groups_from(log, 1) == []
        await log.close()

    asyncio.run(check())


def test_what_was_appended_is_read_again_also_by_the_next_process(open_log: Opener) -> None:
    async def check() -> None:
        log = await open_log()
        first = await append(log, b"one", b"", b"three")
        second = await append(log, b"four", epoch=2)
        assert log.position.txid == 4
        assert log.position.digest == second.digest
        assert log.appended_bytes > 0
        await log.close()
        again = await open_log()
        assert again.position == log.position
        assert again.first_txid == 1
        assert [batch async for batch in again.read(1)] == [first, second]
        assert await groups_from(again, 4) == [(4, b"four")]
        assert await groups_from(again, 2) == [(1, b"one"), (2, b""), (3, b"three"), (4, b"four")]
        assert await groups_from(again, 5) == []
        await append(again, b"five", epoch=2)
        assert (await groups_from(again, 4))[-1] == (5, b"five")
        await again.close()

    asyncio.run(check())


def test_a_batch_that_does_not_follow_is_refused_and_changes_nothing(open_log: Opener) -> None:
    async def check() -> None:
        log = await open_log()
        before = log.position
        batch = await append(log, b"one")
        with pytest.raises(DataDamaged):
            await log.append(batch)
        with pytest.raises(DataDamaged):
            await log.append(make_batch(before, 1, [b"another", b"history"]))
        await append(log, b"two")
        assert await groups_from(log, 1) == [(1, b"one"), (2, b"two")]
        await log.close()

    asyncio.run(check())


def test_an_epoch_that_is_over_can_append_no_more(open_log: Opener) -> None:
    async def check() -> None:
        log = await open_log()
        await append(log, b"one", epoch=5)
        with pytest.raises(StandbyNamenode):
            await append(log, b"two", epoch=4)
        await append(log, b"two", epoch=5)
        assert log.position.txid == 2
        await log.close()

    asyncio.run(check())


def test_trimming_forgets_what_comes_before_and_nothing_else(open_log: Opener) -> None:
    async def check() -> None:
        log = await open_log()
        for number in range(1, 10):
            await append(log, b"%d" % number)
            if number % 3 == 0:
                await log.trim(number)
        assert 1 < log.first_txid <= 9
        assert (await groups_from(log, 9)) == [(9, b"9")]
        with pytest.raises(DataDamaged, match="begins at transaction"):
            await groups_from(log, 1)
        await log.close()
        again = await open_log()
        assert again.first_txid == log.first_txid
        await again.trim(10)
        await again.trim(10)
        await append(again, b"10")
        assert (await groups_from(again, 10)) == [(10, b"10")]
        await again.close()
        assert (await open_log()).position == again.position

    asyncio.run(check())


def test_a_closed_log_takes_nothing(open_log: Opener) -> None:
    async def check() -> None:
        log = await open_log()
        await log.close()
        with pytest.raises(OSError, match="edit log"):
            await append(log, b"one")

    asyncio.run(check())
