"""Waiting for memory: every wait ends, in turn, and many writers stay within what there is."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.client.byte_budget import ByteBudget
from dolmen.client.client import Client
from dolmen.client.core.byte_shares import LEAST_BYTES
from dolmen.protocol.errors import InvalidRequest
from dolmen.simulation.virtual_time import run
from tests.unit.client.cluster import World, on_world, window_of
from tests.unit.client.scripted_datanode import for_ever

MIB = 1 << 20


WRITERS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 4 * MIB), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)
HOGS = st.lists(st.integers(1, 4 * MIB), max_size=5)


@settings(max_examples=40)
@given(WRITERS, HOGS, st.sampled_from([0, 2 * MIB, 16 * MIB]), st.integers(0, 9))
def test_every_writer_comes_to_its_end_whatever_others_hold(
    writers: list[tuple[int, int, int]], hogs: list[int], limit: int, seed: int
) -> None:
    """Hogs hold a segment for ever; a writer's come back one after the other, each in its time."""

    async def main() -> None:
        budget = ByteBudget(limit)
        random = Random(seed)
        files = [budget.open() for _ in hogs]
        for file, wanted in zip(files, hogs, strict=True):
            await file.take(wanted)

        async def come_back(length: int, file: object, slots: asyncio.Semaphore) -> None:
            await asyncio.sleep(random.random())
            assert sum(each.held_bytes for each in files) <= limit // 2 + len(files) * LEAST_BYTES
            file.give_back(length)  # type: ignore[attr-defined]
            slots.release()

        async def write(segments: int, wanted: int, window: int) -> None:
            file = budget.open()
            files.append(file)
            slots = asyncio.Semaphore(window)
            async with asyncio.TaskGroup() as on_their_way:
                left = segments * wanted
                while left:
                    await slots.acquire()
                    granted = await file.take(min(wanted, left))
                    left -= granted
                    on_their_way.create_task(come_back(granted, file, slots))

        await asyncio.gather(*(write(*each) for each in writers))
        for file in files:
            file.close()
        whole = max(1, limit // 2)
        assert await budget.open().take(whole) == whole  # all has come back

    run(main())


def test_who_waits_longest_is_served_first() -> None:
    async def main() -> None:
        budget = ByteBudget(8 * MIB)
        hog, *others = [budget.open() for _ in range(4)]
        await hog.take(4 * MIB)
        for other in others:
            assert await other.take(MIB) == LEAST_BYTES  # the least, to begin with
        served: list[int] = []

        async def want(number: int, wanted: int) -> None:
            await others[number].take(wanted)
            served.append(number)

        tasks = [
            asyncio.create_task(want(number, wanted))
            for number, wanted in enumerate((3 * MIB, 64 * 1024, 64 * 1024))
        ]
        await asyncio.sleep(1)
        hog.give_back(MIB)
        await asyncio.sleep(1)
        assert served == []  # there would be enough for those behind the first
        hog.give_back(3 * MIB)
        await asyncio.gather(*tasks)
        assert served == [0, 1, 2]

    run(main())


def test_whoever_stops_waiting_leaves_nothing_behind() -> None:
    async def main() -> None:
        budget = ByteBudget(8 * MIB)
        hog, waiting, behind = [budget.open() for _ in range(3)]
        await hog.take(4 * MIB)
        await waiting.take(1)
        await behind.take(1)
        cancelled = asyncio.create_task(waiting.take(MIB))
        interrupted = asyncio.create_task(behind.take(MIB))
        await asyncio.sleep(1)
        cancelled.cancel()
        behind.interrupt()
        assert await interrupted == 0
        hog.give_back(4 * MIB)
        cancelled_late = asyncio.create_task(waiting.take(MIB))
        await asyncio.sleep(0)
        assert await cancelled_late == MIB
        for file in (hog, waiting, behind):
            file.close()
            file.close()
            file.give_back(5)  # what comes back after the end counts no more
        assert await budget.open().take(4 * MIB) == 4 * MIB

    run(main())


def test_one_who_is_cancelled_when_it_was_just_served_gives_it_back() -> None:
    async def main() -> None:
        budget = ByteBudget(8 * MIB)
        hog, waiting = budget.open(), budget.open()
        await hog.take(4 * MIB)
        await waiting.take(1)
        task = asyncio.create_task(waiting.take(MIB))
        await asyncio.sleep(1)
        hog.give_back(4 * MIB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waiting.held_bytes == 1

    run(main())


def test_two_hundred_writers_stay_within_the_memory_and_write_what_they_were_given() -> None:
    files, length = 200, 700_000

    async def test(world: World, client: Client) -> None:
        memory = client._links.write_memory
        data = Random(4).randbytes(length)
        writers = [await client.open_writer(f"/{number}") for number in range(files)]
        budgets = [window_of(writer)._memory for writer in writers]
        most = 0
        for start in range(0, length, 100_000):  # each stands still with what it has in between
            for writer in writers:
                await writer.write(bytearray(data[start : start + 100_000]))
            most = max(most, sum(budget.held_bytes for budget in budgets))
        for writer in writers:
            await writer.close()
        assert 0 < most <= 64 * MIB
        assert all(world.content(f"/{number}") == data for number in range(0, files, 20))
        assert memory._shares.spare_bytes == 32 * MIB
        assert memory._kept_bytes <= 32 * MIB

    on_world(test, segment_bytes=4 * MIB)


def test_a_writer_that_breaks_while_it_waits_for_memory_is_told() -> None:
    async def test(world: World, client: Client) -> None:
        for datanode in world.datanodes.values():
            datanode.fault = for_ever
        hog, writer = [await client.open_writer(f"/{number}") for number in range(2)]
        await hog.write(bytearray(512 * 1024 - 1))
        waiting = asyncio.create_task(writer.write(bytearray(10 * MIB)))
        await asyncio.sleep(1)
        assert len(client._links.write_memory._waiting) == 1
        await writer.abandon()
        with pytest.raises(InvalidRequest, match="abandoned"):
            await waiting

    on_world(test, write_memory_bytes=MIB, segment_bytes=4 * MIB)


def test_memory_that_was_given_back_is_held_by_nobody() -> None:
    """A writer that stands still keeps no segment alive that has arrived."""

    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", block_size_bytes=8 * MIB)
        await writer.write(bytearray(2 * MIB))
        await asyncio.sleep(5)
        assert window_of(writer).taken == 0
        [buffer] = client._links.write_memory._kept
        buffer.append(0)  # a BufferError while anybody has a view of it
        await writer.abandon()

    on_world(test, segment_bytes=4 * MIB)
