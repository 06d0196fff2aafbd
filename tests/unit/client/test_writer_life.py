"""A writer's life on simulated machines: its memory, its lease, its end in every way there is."""

import asyncio
import gc
from random import Random
from typing import Any

import pytest

from dolmen.client.client import Client
from dolmen.protocol.client_messages import AbandonFile, PublishFile, RenewLeases
from dolmen.protocol.draft_messages import OpenDraft
from dolmen.protocol.errors import (
    InvalidRequest,
    LeaseConflict,
    NamenodeUnreachable,
    PathExists,
    TooFewDatanodes,
)
from tests.unit.client.cluster import World, on_world, window_of
from tests.unit.client.scripted_namenode import BLOCK_BYTES, no_fault

DATA = Random(1).randbytes(3 * BLOCK_BYTES + 12345)


def test_memory_is_bounded_by_the_window() -> None:
    async def test(world: World, client: Client) -> None:
        world.network.conditions.bytes_per_s = 1e5
        writer = await client.open_writer("/a")
        window = window_of(writer)
        most = 0
        for start in range(0, len(DATA), 10_000):
            await writer.write(bytearray(DATA[start : start + 10_000]))
            most = max(most, window.taken)
        await writer.close()
        assert most == 3
        assert window.taken == 0
        assert world.content("/a") == DATA

    on_world(test, segments_in_flight=2)


def test_an_abandoned_writer_publishes_nothing_and_may_be_abandoned_twice() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")

        async def fail() -> None:
            async with writer:
                await writer.write(DATA)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        await writer.abandon()
        assert len(world.namenode.heard_of(AbandonFile)) == 1
        assert "/a" not in world.namenode.paths
        with pytest.raises(InvalidRequest, match="abandoned"):
            await writer.write(b"more")
        with pytest.raises(InvalidRequest, match="abandoned"):
            await writer.close()

    on_world(test)


def test_a_cancelled_write_publishes_nothing() -> None:
    async def test(world: World, client: Client) -> None:
        world.network.conditions.bytes_per_s = 1e4
        writing = asyncio.create_task(client.write_file("/a", DATA))
        await asyncio.sleep(20)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert world.namenode.heard_of(PublishFile) == []
        assert len(world.namenode.heard_of(AbandonFile)) == 1

    on_world(test)


def test_a_cancelled_close_drops_the_file() -> None:
    async def test(world: World, client: Client) -> None:
        async def hold_up(request: Any) -> None:
            if isinstance(request, PublishFile):
                world.namenode.fault = no_fault
                await asyncio.sleep(5)

        world.namenode.fault = hold_up
        writing = asyncio.create_task(client.write_file("/a", DATA))
        await asyncio.sleep(1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert len(world.namenode.heard_of(AbandonFile)) == 1

    on_world(test)


def test_a_dead_namenode_does_not_make_abandoning_fail() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")
        await writer.write(DATA)
        world.namenode.kill()
        await writer.abandon()
        assert asyncio.get_running_loop().time() < 5

    on_world(test)


def test_an_exclusive_writer_that_comes_second_is_refused_at_close() -> None:
    async def test(world: World, client: Client) -> None:
        first = await client.open_writer("/a", exclusive=True)
        second = await client.open_writer("/a", exclusive=True)
        await first.close()
        with pytest.raises(PathExists):
            await second.close()
        assert len(world.namenode.files) == 1

    on_world(test)


def test_leases_are_renewed_while_a_writer_is_open_and_not_after() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")
        await asyncio.sleep(110)
        assert len(world.namenode.heard_of(RenewLeases)) == 5
        await writer.close()
        await asyncio.sleep(110)
        assert len(world.namenode.heard_of(RenewLeases)) == 5

    on_world(test)


def test_a_writer_whose_lease_ended_is_told_at_its_next_operation() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")
        await writer.write(DATA)
        world.namenode.ended = tuple(world.namenode.files)
        await asyncio.sleep(21)
        with pytest.raises(LeaseConflict, match="lease on /a has ended"):
            await writer.write(DATA)
        with pytest.raises((LeaseConflict, InvalidRequest)):
            await writer.close()
        await writer.abandon()

    on_world(test)


def test_a_writer_that_is_collected_keeps_no_lease_and_publishes_nothing() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")
        await writer.write(DATA)
        del writer
        gc.collect()
        await asyncio.sleep(100)
        assert world.namenode.heard_of(RenewLeases) == []
        assert world.namenode.heard_of(PublishFile) == []

    on_world(test)


def test_a_restart_of_the_namenode_in_mid_write_is_a_pause() -> None:
    async def test(world: World, client: Client) -> None:
        async def restart(request: Any) -> None:
            world.namenode.fault = no_fault
            world.namenode.kill()
            await asyncio.sleep(5)

        writer = await client.open_writer("/a")
        world.namenode.fault = restart

        async def bring_back() -> None:
            await asyncio.sleep(6)
            await world.namenode.start()

        back = asyncio.create_task(bring_back())
        await writer.write(DATA)
        await writer.close()
        await back
        assert world.content("/a") == DATA
        assert world.namenode.done["AllocateBlock"] == 4

    on_world(test)


def test_a_namenode_that_does_not_come_back_is_told_with_the_file_and_what_became_of_it() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")
        world.namenode.kill()
        with pytest.raises(NamenodeUnreachable, match=r"^/a cannot be written on: .* nothing new"):
            await writer.write(bytes(3_000_000))
        await writer.abandon()

    on_world(test, retry_for_ms=2000)


def test_datanodes_that_are_too_few_are_told_with_the_file_and_who_failed() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a")
        await writer.write(bytes(100_000))
        await asyncio.sleep(1)
        for datanode in world.datanodes.values():
            datanode.kill()
        with pytest.raises(TooFewDatanodes, match=r"^/a cannot be written on: .*d0: ") as caught:
            await writer.write(bytes(3_000_000))
        assert caught.value.path == "/a"
        await writer.abandon()

    on_world(test, retry_for_ms=2000)


@pytest.mark.parametrize("visible", [False, True])
def test_closing_a_spoiled_writer_fails_and_lets_others_write(visible: bool) -> None:
    async def test(world: World, client: Client) -> None:
        opening = client.open_writer("/a", visible=True) if visible else client.open_writer("/a")
        writer = await opening
        writing = asyncio.create_task(writer.write(DATA))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        with pytest.raises(InvalidRequest, match="a write failed or was cancelled"):
            await writer.close()
        assert len(world.namenode.heard_of(AbandonFile)) == 1
        await asyncio.sleep(100)
        assert world.namenode.heard_of(RenewLeases) == []
        if visible:
            await (await client.open_appender("/a")).close()

    on_world(test)


@pytest.mark.parametrize("is_done", [False, True])
def test_who_gives_up_opening_leaves_no_draft_behind(is_done: bool) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", b"old")

        async def take_long(request: Any) -> None:
            if isinstance(request, OpenDraft):
                await asyncio.sleep(1)

        world.namenode.fault = no_fault if is_done else take_long
        world.namenode.after = take_long if is_done else no_fault
        opening = asyncio.create_task(client.open_appender("/a"))
        await asyncio.sleep(0.5)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert world.namenode.drafts.targets == {}

    on_world(test)


def test_who_gives_up_opening_waits_only_a_moment_for_a_namenode_that_is_silent() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", b"old")
        world.namenode.kill()
        opening = asyncio.create_task(client.open_appender("/a"))
        await asyncio.sleep(0.5)
        opening.cancel()
        start_s = asyncio.get_running_loop().time()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert asyncio.get_running_loop().time() - start_s < 3

    on_world(test)
