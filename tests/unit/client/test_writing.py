"""Writers on simulated machines: what is stored, and what datanodes that fail on the way cost."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import xxhash

from dolmen.client.client import Client
from dolmen.protocol import block_messages as blocks
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.client_messages import (
    AllocateBlock,
    CreateFile,
    FirstBlock,
    PublishFile,
    RebuildPipeline,
)
from dolmen.protocol.errors import (
    BlockMissing,
    DolmenError,
    StaleGeneration,
    TooFewDatanodes,
)
from tests.unit.client.cluster import World, on_world
from tests.unit.client.scripted_datanode import ScriptedDatanode, for_ever
from tests.unit.client.scripted_namenode import BLOCK_BYTES, no_fault

DATA = Random(1).randbytes(3 * BLOCK_BYTES + 12345)


def fail_once(
    datanode: ScriptedDatanode, kind: type, after: int, action: Callable[[], Awaitable[None]]
) -> None:
    """Do `action` when the datanode has served `after` exchanges of this kind and meets another."""

    async def fault(head: Any) -> None:
        if isinstance(head, kind) and datanode.served[kind.__name__] >= after:
            datanode.fault = _nothing
            await action()

    datanode.fault = fault


async def _nothing(head: Any) -> None:
    """No fault any more."""


@pytest.mark.parametrize(
    "length", [0, 1, CHUNK_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, len(DATA)]
)
def test_what_is_written_is_on_three_datanodes_and_its_hash_in_the_file(length: int) -> None:
    async def test(world: World, client: Client) -> None:
        info = await client.write_file("/a", DATA[:length])
        assert info.length_bytes == length
        assert info.content_hash == xxhash.xxh3_128_digest(DATA[:length])
        assert world.content("/a") == DATA[:length]
        for block in world.namenode.files[info.inode_id].blocks:
            assert len(world.good_replicas(block)) == 3

    on_world(test)


@pytest.mark.parametrize("step", [1000, 64 * 1024, 100_000, 1 << 20])
def test_a_reused_buffer_is_written_as_it_was(step: int) -> None:
    async def test(world: World, client: Client) -> None:
        buffer = bytearray(step)
        writer = await client.open_writer("/a")
        for start in range(0, len(DATA), step):
            part = DATA[start : start + step]
            buffer[: len(part)] = part
            await writer.write(memoryview(buffer)[: len(part)])
            buffer[:] = bytes(step)
        await writer.close()
        assert world.content("/a") == DATA

    on_world(test)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 3, 9, 20])
def test_a_datanode_that_dies_in_mid_write_costs_only_time(position: int, after: int) -> None:
    async def test(world: World, client: Client) -> None:
        victim = world.datanodes[f"d{position}"]

        async def die() -> None:
            victim.kill()

        fail_once(victim, blocks.WriteSegment, after, die)
        await client.write_file("/a", DATA)
        assert not victim.alive
        assert world.content("/a") == DATA
        for block in world.namenode.files[world.namenode.paths["/a"]].blocks[1:]:
            assert len(world.good_replicas(block)) >= 2

    on_world(test)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_datanode_that_falls_silent_is_left_behind(position: int) -> None:
    async def test(world: World, client: Client) -> None:
        victim = world.datanodes[f"d{position}"]
        fail_once(victim, blocks.WriteSegment, 5, lambda: for_ever(None))
        await client.write_file("/a", DATA)
        assert world.content("/a") == DATA
        assert world.namenode.heard_of(RebuildPipeline)[0].survivors == tuple(
            name for name in ("d0", "d1", "d2") if name != victim.name
        )
        assert asyncio.get_running_loop().time() < 30

    on_world(test)


@pytest.mark.parametrize(
    "kind", [blocks.FinalizeReplica, blocks.RestampReplica, blocks.CopyReplica]
)
@pytest.mark.parametrize("victims", [("d1",), ("d1", "d2"), ("d3",)])
def test_a_datanode_may_die_in_any_phase(kind: type, victims: tuple[str, ...]) -> None:
    async def test(world: World, client: Client) -> None:
        head = world.datanodes["d0"]

        async def die() -> None:
            head.kill()

        if kind is not blocks.FinalizeReplica:  # a rebuild is needed to see the others
            fail_once(head, blocks.WriteSegment, 7, die)
        for name in victims:
            victim = world.datanodes[name]

            def crash(victim: ScriptedDatanode = victim) -> Awaitable[None]:
                victim.kill()
                return _nothing(None)

            fail_once(victim, kind, 0, crash)
        try:
            await client.write_file("/a", DATA)
        except TooFewDatanodes:
            assert sum(datanode.alive for datanode in world.datanodes.values()) < 2
        else:
            assert world.content("/a") == DATA

    on_world(test, retry_for_ms=5000)


def test_a_block_whose_datanodes_all_fail_at_once_is_allocated_anew() -> None:
    async def test(world: World, client: Client) -> None:
        async def refuse() -> None:
            raise DolmenError("this disk is broken")

        for name in ("d0",):
            fail_once(world.datanodes[name], blocks.WriteSegment, 0, refuse)
        world.datanodes["d1"].fault = world.datanodes["d0"].fault
        await client.write_file("/a", DATA)
        assert world.content("/a") == DATA

    on_world(test)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("length", [BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_first_block_that_comes_with_the_inode_is_used_once(length: int, given: bool) -> None:
    async def test(world: World, client: Client) -> None:
        world.namenode.gives_first_blocks = given
        await client.write_file("/a", DATA[:length])
        indexes = [call.index for call in world.namenode.heard_of(AllocateBlock)]
        assert indexes == [0, 1][given : 1 if length == BLOCK_BYTES else 2]
        victim = world.datanodes["d1"]

        async def die() -> None:
            victim.kill()

        fail_once(victim, blocks.WriteSegment, 0, die)
        for path in ("/b", "/c"):
            await client.write_file(path, DATA[:length])
            assert world.content(path) == DATA[:length]
        wishes = [call.first_block for call in world.namenode.heard_of(CreateFile)]
        assert wishes == [FirstBlock((), "client"), FirstBlock((), "client"), wishes[2]]
        assert wishes[2] == FirstBlock(("d1",), "client")

    on_world(test)


@pytest.mark.parametrize("length", [1, CHUNK_BYTES - 1])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_short_block_takes_one_exchange_and_another_block_where_that_breaks(
    position: int, length: int
) -> None:
    async def test(world: World, client: Client) -> None:
        victim = world.datanodes[f"d{position}"]

        async def die() -> None:
            victim.kill()

        fail_once(victim, blocks.WriteSegment, 1, die)
        for path in ("/a", "/b"):
            await client.write_file(path, DATA[:length])
            assert world.content(path) == DATA[:length]
        first, broken, again = world.namenode.heard_of(AllocateBlock)
        assert (first.index, broken.index, again.index) == (0, 0, 0)
        assert again.excluded == (victim.name,)
        served = [datanode.served for datanode in world.datanodes.values()]
        assert not sum(kinds["FinalizeReplica"] + kinds["RestampReplica"] for kinds in served)

    on_world(test)


def test_an_expired_token_costs_no_datanode_its_place() -> None:
    async def test(world: World, client: Client) -> None:
        async def refuse() -> None:
            raise StaleGeneration("this datanode was restarted")

        fail_once(world.datanodes["d0"], blocks.WriteSegment, 2, refuse)
        await client.write_file("/a", DATA)
        assert world.content("/a") == DATA
        assert world.namenode.heard_of(RebuildPipeline)[0].survivors == ("d0", "d1", "d2")

    on_world(test)


def test_a_prefix_that_is_nowhere_any_more_ends_the_write_with_a_clear_error() -> None:
    async def test(world: World, client: Client) -> None:
        async def lose_all() -> None:
            for datanode in world.datanodes.values():
                datanode.replicas.clear()
                datanode.fault = _nothing
            raise DolmenError("gone")

        writer = await client.open_writer("/a")
        await writer.write(DATA[:300_000])
        await asyncio.sleep(1)
        for datanode in world.datanodes.values():
            fail_once(datanode, blocks.WriteSegment, 0, lose_all)
        writing = asyncio.gather(
            writer.write(DATA[300_000:]), writer.close(), return_exceptions=True
        )
        failure, _ = await writing
        assert isinstance(failure, BlockMissing | TooFewDatanodes)
        assert "block" in str(failure)
        assert "/a" not in world.namenode.paths
        await writer.abandon()
        assert world.namenode.files == {}

    on_world(test, retry_for_ms=3000)


def test_a_failed_datanode_is_avoided_for_the_next_blocks() -> None:
    async def test(world: World, client: Client) -> None:
        async def refuse() -> None:
            raise DolmenError("this disk is broken")

        fail_once(world.datanodes["d1"], blocks.WriteSegment, 2, refuse)
        await client.write_file("/a", DATA)
        assert all("d1" in call.excluded for call in world.namenode.heard_of(AllocateBlock)[1:])

    on_world(test)


@pytest.mark.parametrize("length", [100, CHUNK_BYTES, BLOCK_BYTES, BLOCK_BYTES + 70_000])
def test_a_datanode_that_dies_between_finalizing_and_publishing_is_replaced(length: int) -> None:
    async def test(world: World, client: Client) -> None:
        for name in ("d2", "d3"):
            world.datanodes[name].kill()
        writer = await client.open_writer("/a")
        await writer.write(DATA[:length])

        async def exchange_datanodes(request: Any) -> None:
            if isinstance(request, PublishFile):
                world.namenode.fault = no_fault
                world.datanodes["d0"].kill()
                for name in ("d2", "d3"):
                    await world.datanodes[name].start()

        world.namenode.fault = exchange_datanodes
        info = await writer.close()
        assert world.content("/a") == DATA[:length]
        for block in world.namenode.files[info.inode_id].blocks:
            assert len(world.good_replicas(block)) >= 2

    on_world(test)


def test_too_few_datanodes_is_told_when_the_patience_ends() -> None:
    async def test(world: World, client: Client) -> None:
        for name in ("d1", "d2", "d3"):
            world.datanodes[name].kill()
        with pytest.raises(TooFewDatanodes):
            await client.write_file("/a", DATA)
        now_s = asyncio.get_running_loop().time()
        assert 3 < now_s < 6

    on_world(test, retry_for_ms=4000)


def test_two_silent_datanodes_cost_two_deadlines() -> None:
    async def test(world: World, client: Client) -> None:
        for name in ("d1", "d2"):
            datanode = world.datanodes[name]

            async def stopped(head: Any, datanode: ScriptedDatanode = datanode) -> None:
                if datanode.served["WriteSegment"] >= 5:
                    await for_ever(head)

            datanode.fault = stopped
        await client.write_file("/a", DATA)
        assert world.content("/a") == DATA
        assert asyncio.get_running_loop().time() < 30

    on_world(test)


def test_a_survivor_whose_answer_was_lost_is_asked_again_with_its_new_stamp() -> None:
    async def test(world: World, client: Client) -> None:
        only = world.datanodes["d0"]
        lost: list[Any] = []

        async def lose_answer(head: Any) -> None:
            if isinstance(head, blocks.RestampReplica) and not lost:
                lost.append(head)
                only.replicas[head.block_id].stamp = head.stamp
                only.kill()
                await asyncio.sleep(0)

        only.fault = lose_answer
        writer = await client.open_writer("/a")
        await writer.write(DATA[:300_000])
        await asyncio.sleep(1)
        for name in ("d1", "d2"):
            world.datanodes[name].kill()
        writing = asyncio.create_task(writer.write(DATA[300_000:]))
        await asyncio.sleep(2)
        await only.start()
        await writing
        await writer.close()
        assert lost
        assert world.content("/a") == DATA

    on_world(test)


def test_a_block_may_get_a_new_stamp_while_the_next_one_waits_to_be_allocated() -> None:
    async def test(world: World, client: Client) -> None:
        async def break_down() -> None:
            raise DolmenError("this disk is broken")

        async def hold_up(request: Any) -> None:
            if isinstance(request, AllocateBlock) and request.index == 1:
                world.namenode.fault = no_fault
                await asyncio.sleep(3)

        world.namenode.fault = hold_up
        for name in ("d0", "d1"):
            fail_once(world.datanodes[name], blocks.FinalizeReplica, 0, break_down)
        await client.write_file("/a", DATA)
        assert world.content("/a") == DATA
        first, again = [call for call in world.namenode.heard_of(AllocateBlock) if call.index == 1]
        assert first.previous.stamp < again.previous.stamp

    on_world(test)
