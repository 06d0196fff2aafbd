"""Writers of files that stand at their path: what new readers see, and what is lost, and what not,
when something fails."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from dolmen.client.client import Client
from dolmen.protocol import block_messages as blocks
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.client_messages import AbandonFile, RenewLeases
from dolmen.protocol.draft_messages import ExtendFile, OpenDraft
from dolmen.protocol.errors import (
    InvalidRequest,
    LeaseConflict,
    NoSuchPath,
    OutcomeUnknown,
    PathExists,
    StaleHandle,
    TooFewDatanodes,
)
from tests.unit.client.cluster import World, on_world
from tests.unit.client.scripted_namenode import BLOCK_BYTES, no_fault

DATA = Random(3).randbytes(3 * BLOCK_BYTES + 12345)


def lengths(world: World, path: str) -> list[int]:
    file = world.namenode.files[world.namenode.paths[path]]
    return [block.length_bytes for block in file.blocks]


@pytest.mark.parametrize("before", [0, 1, CHUNK_BYTES + 5, BLOCK_BYTES - 1, BLOCK_BYTES])
@pytest.mark.parametrize("more", [1, BLOCK_BYTES - 1, 2 * BLOCK_BYTES + 77])
def test_what_is_appended_comes_behind_what_was_there(before: int, more: int) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:before])
        async with await client.open_appender("/a") as writer:
            await writer.write(bytearray(DATA[before : before + more]))
            assert writer.length_bytes == before + more
            assert world.content("/a") == DATA[:before]
        assert writer.info.length_bytes == before + more
        assert world.content("/a") == DATA[: before + more]
        assert len(lengths(world, "/a")) <= 2 + (before + more) // BLOCK_BYTES

    on_world(test)


def test_each_flush_is_seen() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        assert world.content("/a") == b""
        written = 0
        for step in (1, 100, CHUNK_BYTES, BLOCK_BYTES, 3, 2 * BLOCK_BYTES):
            await writer.write(DATA[written : written + step])
            assert writer.length_bytes == len(DATA[: written + step])
            assert writer.flushed_bytes == written
            await writer.flush()
            written = writer.flushed_bytes
            assert world.content("/a") == DATA[:written]
        await writer.close()
        assert world.namenode.drafts.targets == {}

    on_world(test)


def test_a_flush_or_close_without_bytes_changes_nothing() -> None:
    async def test(world: World, client: Client) -> None:
        before = await client.write_file("/a", b"old")
        writer = await client.open_appender("/a")
        await writer.write(b"")
        await writer.flush()
        assert world.namenode.heard_of(ExtendFile) == []
        info = await writer.close()
        assert (await writer.close()) == info
        assert info.length_bytes == before.length_bytes
        [request] = world.namenode.heard_of(ExtendFile)
        assert (request.start_bytes, request.keep_bytes, request.last) == (3, 3, None)
        assert world.content("/a") == b"old"

    on_world(test)


def test_a_flushed_writer_that_is_abandoned_leaves_what_was_flushed() -> None:
    async def test(world: World, client: Client) -> None:
        async def fail() -> None:
            async with await client.open_writer("/a", visible=True) as writer:
                await writer.write(DATA[:1000])
                await writer.flush()
                await writer.write(DATA[1000:])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert len(world.namenode.heard_of(AbandonFile)) == 1
        assert world.content("/a") == DATA[:1000]
        async with await client.open_appender("/a") as writer:
            await writer.write(DATA[1000:])
        assert world.content("/a") == DATA

    on_world(test)


def test_a_writer_that_is_collected_keeps_no_lease() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(DATA)
        del writer
        gc.collect()
        await asyncio.sleep(100)
        assert world.namenode.heard_of(RenewLeases) == []
        assert world.content("/a") == b""

    on_world(test)


def test_the_lease_of_a_draft_is_renewed() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await asyncio.sleep(50)
        [draft_id] = world.namenode.drafts.targets
        assert {call.inode_ids for call in world.namenode.heard_of(RenewLeases)} == {(draft_id,)}
        await writer.close()

    on_world(test)


def test_a_second_writer_is_refused_until_the_lease_is_taken_from_the_first() -> None:
    async def test(world: World, client: Client) -> None:
        first = await client.open_writer("/a", visible=True)
        await first.write(b"one")
        await first.flush()
        await first.write(b"gone")
        with pytest.raises(LeaseConflict):
            await client.open_appender("/a")
        assert (await client.recover_lease("/a")).length_bytes == 3
        async with await client.open_appender("/a") as second:
            await second.write(b"two")
        with pytest.raises(LeaseConflict, match="the last 4 bytes, from offset 3 on"):
            await first.flush()
        with pytest.raises(InvalidRequest):
            await first.write(b"more")
        await first.abandon()
        assert world.content("/a") == b"onetwo"

    on_world(test)


def test_a_lease_that_ended_is_told_with_what_is_lost() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(b"12345")
        await writer.flush()
        world.namenode.ended = tuple(world.namenode.files)
        await asyncio.sleep(21)
        with pytest.raises(LeaseConflict, match="nothing else is lost: all 5 bytes"):
            await writer.write(b"more")
        await writer.abandon()

    on_world(test)


def test_a_file_that_was_deleted_is_stale_and_nothing_comes_back() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(b"12345")
        await writer.flush()
        world.namenode.gone.add(world.namenode.paths.pop("/a"))
        await writer.write(b"67")
        with pytest.raises(StaleHandle, match="the last 2 bytes, from offset 5 on"):
            await writer.close()
        assert "/a" not in world.namenode.paths

    on_world(test)


def fail_extending(world: World, action: Callable[[], Awaitable[None]]) -> None:
    """Do `action` when the next ExtendFile has come, before it is done."""

    async def fault(request: Any) -> None:
        if isinstance(request, ExtendFile):
            world.namenode.fault = no_fault
            await action()

    world.namenode.fault = fault


@pytest.mark.parametrize("length", [100, CHUNK_BYTES, BLOCK_BYTES, BLOCK_BYTES + 70_000])
def test_a_datanode_that_dies_between_finalizing_and_the_flush_is_replaced(length: int) -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        for name in ("d2", "d3"):
            world.datanodes[name].kill()

        async def exchange_datanodes() -> None:
            world.datanodes["d0"].kill()
            for name in ("d2", "d3"):
                await world.datanodes[name].start()

        await writer.write(DATA[:length])
        fail_extending(world, exchange_datanodes)
        await writer.flush()
        assert world.content("/a") == DATA[:length]
        await writer.write(DATA[length:])
        await writer.close()
        assert world.content("/a") == DATA

    on_world(test)


def test_a_flush_is_done_once_over_a_restart_of_the_namenode() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(DATA[:1000])

        async def lose_answer(request: Any) -> None:
            if isinstance(request, ExtendFile):
                world.namenode.after = no_fault
                world.namenode.kill()
                await asyncio.sleep(1)

        async def bring_back() -> None:
            await asyncio.sleep(6)
            await world.namenode.start()

        world.namenode.after = lose_answer
        back = asyncio.create_task(bring_back())
        await writer.flush()
        await back
        assert world.namenode.done["ExtendFile"] == 1
        assert len(world.namenode.heard_of(ExtendFile)) == 2
        await writer.write(DATA[1000:])
        await writer.close()
        assert world.content("/a") == DATA

    on_world(test)


def test_a_flush_that_fails_spoils_the_writer_and_leaves_what_was_flushed() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(DATA[:1000])
        await writer.flush()
        await writer.write(DATA[1000:2000])
        for name in ("d1", "d2", "d3"):
            world.datanodes[name].kill()
        with pytest.raises(TooFewDatanodes):
            await writer.flush()
        with pytest.raises(InvalidRequest, match="a flush failed"):
            await writer.write(b"more")
        with pytest.raises(InvalidRequest, match="a flush failed"):
            await writer.close()
        await writer.abandon()
        for name in ("d1", "d2", "d3"):
            await world.datanodes[name].start()
        assert await client.read_file("/a") == DATA[:1000]

    on_world(test, retry_for_ms=4000)


def test_a_flush_whose_outcome_is_unknown_says_so() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(b"12345")

        async def die() -> None:
            world.namenode.kill()
            await asyncio.sleep(1)

        fail_extending(world, die)
        with pytest.raises(OutcomeUnknown):
            await writer.flush()
        await writer.abandon()

    on_world(test, retry_for_ms=4000)


def test_a_cancelled_flush_spoils_the_writer() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True)
        await writer.write(b"12345")
        fail_extending(world, lambda: asyncio.sleep(5))
        flushing = asyncio.create_task(writer.flush())
        await asyncio.sleep(1)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
        with pytest.raises(InvalidRequest):
            await writer.flush()
        await writer.abandon()

    on_world(test)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 4])
def test_a_datanode_that_dies_while_bytes_are_appended_costs_only_time(
    position: int, after: int
) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[:1000])
        victim = world.datanodes[f"d{position}"]
        stored = victim.served["WriteSegment"]

        async def die(head: Any) -> None:
            is_due = victim.served["WriteSegment"] >= stored + after
            if isinstance(head, blocks.WriteSegment) and is_due:
                victim.fault = no_fault
                victim.kill()

        victim.fault = die
        async with await client.open_appender("/a") as writer:
            await writer.write(DATA[1000:])
        assert not victim.alive
        assert await client.read_file("/a") == DATA

    on_world(test)


def test_appending_to_what_is_not_there_makes_it_only_if_asked() -> None:
    async def test(world: World, client: Client) -> None:
        with pytest.raises(NoSuchPath):
            await client.open_appender("/a")
        for number in range(2):
            async with await client.open_appender("/a", create=True) as writer:
                await writer.write(b"%d" % number)
        assert world.content("/a") == b"01"

    on_world(test)


def test_two_that_make_and_append_at_once_are_one_writer_and_one_refused() -> None:
    async def test(world: World, client: Client) -> None:
        both = (client.open_appender("/a", create=True) for _ in range(2))
        found = await asyncio.gather(*both, return_exceptions=True)
        kinds = {type(one).__name__ for one in found}
        assert kinds == {"AppendWriter", "LeaseConflict"}
        for one in found:
            if not isinstance(one, BaseException):
                await one.abandon()

    on_world(test)


def test_a_visible_file_replaces_what_was_there_unless_it_is_exclusive() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", b"old")
        with pytest.raises(PathExists):
            await client.open_writer("/a", exclusive=True, visible=True)
        assert world.content("/a") == b"old"
        async with await client.open_writer("/a", visible=True) as writer:
            assert world.content("/a") == b""
            await writer.write(b"new")
        assert world.content("/a") == b"new"
        [request] = world.namenode.heard_of(OpenDraft)
        assert request.inode_id == writer.inode_id

    on_world(test)


def test_a_file_that_appears_whole_cannot_be_flushed() -> None:
    async def test(world: World, client: Client) -> None:
        async with await client.open_writer("/a") as writer:
            with pytest.raises(InvalidRequest, match="visible=True"):
                await writer.flush()

    on_world(test)
