"""Races between replicas: the right bytes, in time, from one of them, and bounded load."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from dolmen.client.client import Client
from dolmen.client.core.hedge_budget import BURST_REQUESTS
from dolmen.client.core.recent_times import UNMEASURED_S
from dolmen.client.hedging import RACES_AT_ONCE
from dolmen.protocol.block_messages import ChecksumsFollow, RangesFollow, ReadRanges, encode_head
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.errors import NoSuchReplica, PeerLost
from dolmen.runtime.transport import Body, Outgoing, body_of
from tests.unit.client.cluster import World, on_world
from tests.unit.client.scripted_datanode import ScriptedDatanode, for_ever
from tests.unit.client.scripted_namenode import BLOCK_BYTES, Fault

DATA = Random(2).randbytes(3 * BLOCK_BYTES + 12345)


def after(seconds: float) -> Fault:
    """A fault: answer reads late."""

    async def fault(head: Any) -> None:
        if isinstance(head, ReadRanges):
            await asyncio.sleep(seconds)

    return fault


def holders(world: World) -> list[ScriptedDatanode]:
    """The datanodes that have blocks."""
    return [datanode for datanode in world.datanodes.values() if datanode.replicas]


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("fault", [for_ever, after(3.0)])
def test_a_datanode_that_stands_still_or_is_late_costs_no_second(fault: Fault) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        holders(world)[0].fault = fault
        start_s = now_s()
        for _ in range(20):
            assert await client.read_file("/a") == DATA
        assert now_s() - start_s < 20 * 0.1 + 1
        assert client.hedging.won > 0

    on_world(test)


def test_two_of_three_that_stand_still_cost_one_race_after_the_other() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        for datanode in holders(world)[:2]:
            datanode.fault = for_ever
        assert await client.read_file("/a") == DATA
        assert now_s() < 6  # a rival that is silent too is left after its deadline

    on_world(test)


def test_nobody_writes_into_the_callers_memory_after_the_read_returned() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        slow = holders(world)[0]
        slow.fault = after(UNMEASURED_S + 0.05)
        buffer = bytearray(len(DATA))
        async with await client.open_reader("/a") as reader:
            for _ in range(10):
                await reader.read_into(0, memoryview(buffer))
                assert buffer == DATA
                buffer[:] = bytes(len(buffer))
                await asyncio.sleep(1)
                assert not any(buffer)
        assert client.hedging.hedged > 0

    on_world(test)


def test_a_rival_with_wrong_bytes_wins_nothing() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        slow, damaged, dead = holders(world)
        slow.fault = after(0.5)
        for replica in damaged.replicas.values():
            for offset in range(0, len(replica.data), CHUNK_BYTES):
                replica.damage(offset)
        dead.kill()
        for _ in range(3):
            assert await client.read_file("/a") == DATA
        assert client.hedging.won == 0

    on_world(test, host="d0")


def test_who_fails_while_he_is_raced_leaves_the_race_to_the_other() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)

        async def fail_late(head: Any) -> None:
            await asyncio.sleep(0.4)
            raise NoSuchReplica("it went away")

        own, *others = holders(world)
        own.fault = fail_late
        for other in others:
            other.fault = after(0.4)
        assert await client.read_file("/a") == DATA
        assert own.name in client._links.datanodes.read_failures.current(now_s())
        assert client.hedging.won > 0

    on_world(test, host="d0")


def test_who_lost_is_asked_after_the_others_and_tried_again_later() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        own = holders(world)[0]
        own.fault = for_ever
        await client.read_file("/a")
        own.served.clear()
        asked = client.hedging.asked
        await client.read_file("/a")
        assert (own.served.total(), client.hedging.hedged > 0) == (0, True)
        assert client.hedging.asked > asked
        own.fault = after(0)
        await asyncio.sleep(40)
        await client.read_file("/a")
        assert own.served["ReadRanges"] > 0

    on_world(test, host="d0")


def test_a_cluster_that_is_slow_all_over_is_not_asked_twice() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        random = Random(3)

        async def fault(head: Any) -> None:
            await asyncio.sleep(random.uniform(0, 3))

        running = most = 0

        async def count(head: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await fault(head)
            finally:
                running -= 1

        for datanode in world.datanodes.values():
            datanode.fault = count
        for _ in range(30):
            assert await client.read_file("/a") == DATA
        figures = client.hedging
        assert 0 < figures.hedged <= 0.05 * figures.asked + BURST_REQUESTS
        assert figures.refused > 0
        assert most <= 16 + RACES_AT_ONCE

    on_world(test)


def test_a_share_of_zero_turns_it_off() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        holders(world)[0].fault = after(1.0)
        assert await client.read_file("/a") == DATA
        assert client.hedging.hedged == client.hedging.refused == 0

    on_world(test, hedged_share=0.0)


def test_a_read_that_is_cancelled_in_mid_race_leaves_nothing_behind() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        before = len(asyncio.all_tasks())
        for datanode in world.datanodes.values():
            datanode.fault = for_ever
        reader = await client.open_reader("/a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(UNMEASURED_S + 0.2):
                await reader.read_at(0, len(DATA))
        assert client.hedging.hedged > 0
        await asyncio.sleep(6)  # a list of checksums may still be fetched for others
        assert len(asyncio.all_tasks()) <= before + 2  # the control connection's own

    on_world(test)


def cut_short(outgoing: Outgoing) -> Outgoing:
    """A body that ends before its length."""
    assert outgoing.body is not None

    async def half() -> Any:
        yield bytes(outgoing.body.length_bytes // 2) if outgoing.body else b""
        raise PeerLost("gone")

    return Outgoing(outgoing.head, Body(outgoing.body.length_bytes, half()))


def too_few(outgoing: Outgoing) -> Outgoing:
    """Fewer bytes than were asked for, and a head that says so."""
    return Outgoing(encode_head(RangesFollow(10)), body_of(bytes(10)))


def another_reply(outgoing: Outgoing) -> Outgoing:
    """The answer to another question."""
    return Outgoing(encode_head(ChecksumsFollow(1, b"")), outgoing.body)


def no_datanode(outgoing: Outgoing) -> Outgoing:
    """No answer of ours at all."""
    return Outgoing(b"<html>503</html>", outgoing.body)


def wrong_bytes(outgoing: Outgoing) -> Outgoing:
    """As many bytes as were asked for, and not those."""
    assert outgoing.body is not None
    return Outgoing(outgoing.head, body_of(bytes(outgoing.body.length_bytes)))


@pytest.mark.parametrize("spoil", [cut_short, too_few, another_reply, no_datanode, wrong_bytes])
def test_who_answers_short_corrupt_or_with_something_else_is_avoided(
    spoil: Callable[[Outgoing], Outgoing],
) -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        own = holders(world)[0]
        own.spoil = spoil
        assert await client.read_file("/a") == DATA
        assert own.name in client._links.datanodes.read_failures.current(now_s())
        own.served.clear()
        assert await client.read_file("/a") == DATA
        assert own.served["ReadRanges"] == 0
        await asyncio.sleep(31)
        own.spoil = lambda outgoing: outgoing
        assert await client.read_file("/a") == DATA
        assert own.served["ReadRanges"] > 0

    on_world(test, host="d0")


def test_who_refuses_is_avoided() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA)
        own = holders(world)[0]
        async with await client.open_reader("/a") as reader:
            own.replicas.clear()
            assert await reader.read_at(0, len(DATA)) == DATA
        assert own.name in client._links.datanodes.read_failures.current(now_s())
        own.served.clear()
        assert await client.read_file("/a") == DATA
        assert own.served.total() == 0

    on_world(test, host="d0")


def test_a_long_read_of_one_block_has_all_its_datanodes_at_work() -> None:
    async def test(world: World, client: Client) -> None:
        await client.write_file("/a", DATA[: BLOCK_BYTES - 1])
        running: set[str] = set()
        most = 0

        def counting(name: str) -> Fault:
            async def fault(head: Any) -> None:
                nonlocal most
                running.add(name)
                most = max(most, len(running))
                await asyncio.sleep(0.01)
                running.discard(name)

            return fault

        for name, datanode in world.datanodes.items():
            datanode.fault = counting(name)
        assert await client.read_file("/a") == DATA[: BLOCK_BYTES - 1]
        assert most == 3

    on_world(test)
