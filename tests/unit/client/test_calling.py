"""Calls to the namenode: repeated when it is lost, done once, and clear about what is known."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dolmen.client.attempts import Attempts, Bearing, Earlier
from dolmen.client.client import Client
from dolmen.client.connection import CALLS_IN_FLIGHT, NamenodeConnection
from dolmen.client.options import ClientOptions
from dolmen.protocol.client_messages import GetInfo, GetInfos, MakeDirectory
from dolmen.protocol.errors import (
    InvalidRequest,
    NamenodeUnreachable,
    NoSuchPath,
    OutcomeUnknown,
    PeerLost,
    SafeMode,
    WrongCluster,
)
from dolmen.simulation.virtual_time import run
from tests.unit.client.cluster import World
from tests.unit.client.scripted_datanode import for_ever
from tests.unit.client.scripted_namenode import no_fault


def on_world(test: Callable[[World, Client], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        world = await World(datanodes=0).start()
        client = world.client(**options)
        try:
            await test(world, client)
        finally:
            await client.close()

    run(main())


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_a_namenode_that_never_answered_is_an_error_within_five_seconds() -> None:
    async def test(world: World, client: Client) -> None:
        world.namenode.kill()
        with pytest.raises(NamenodeUnreachable, match=r"namenode:9870.*DOLMEN_URL"):
            await client.connect()
        assert now_s() < 5

    on_world(test)


@pytest.mark.parametrize("mutation", [False, True])
def test_a_silent_address_is_an_error_within_five_seconds(mutation: bool) -> None:
    async def test(world: World, client: Client) -> None:
        world.network.cut("client", "namenode")
        with pytest.raises(NamenodeUnreachable, match="no namenode answers at namenode:9870"):
            await (client.make_directory("/d") if mutation else client.info("/d"))
        assert now_s() < 5

    on_world(test)


def test_a_namenode_that_is_just_starting_is_found() -> None:
    async def test(world: World, client: Client) -> None:
        world.namenode.kill()
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(2)
        await world.namenode.start()
        await connecting
        assert client.cluster.cluster_id == world.namenode.cluster_id

    on_world(test)


def test_a_restart_between_two_calls_is_not_noticed() -> None:
    async def test(world: World, client: Client) -> None:
        await client.make_directory("/a")
        world.namenode.kill()
        await world.namenode.start()
        assert (await client.info("/a")).path == "/a"

    on_world(test)


def test_a_reply_lost_in_a_restart_is_given_again_for_the_same_number() -> None:
    async def test(world: World, client: Client) -> None:
        await client.connect()

        async def crash(request: Any) -> None:
            world.namenode.after = no_fault
            world.namenode.kill()
            await asyncio.sleep(0)

        world.namenode.after = crash
        making = asyncio.create_task(client.make_directory("/a"))
        await asyncio.sleep(5)
        await world.namenode.start()
        assert (await making).path == "/a"
        assert world.namenode.done["MakeDirectory"] == 1
        numbers = {(call.client_id, call.number) for call in world.namenode.heard}
        assert len(world.namenode.heard_of(MakeDirectory)) == 2
        assert len(numbers) == 1

    on_world(test)


def test_a_mutation_lost_with_its_namenode_has_an_unknown_outcome() -> None:
    async def test(world: World, client: Client) -> None:
        await client.connect()

        async def crash(request: Any) -> None:
            world.namenode.kill()
            await asyncio.sleep(0)

        world.namenode.after = crash
        with pytest.raises(OutcomeUnknown, match="MakeDirectory was sent"):
            await client.make_directory("/a")
        assert 3 < now_s() < 10

    on_world(test, retry_for_ms=5000)


def test_a_mutation_that_never_left_was_not_done() -> None:
    async def test(world: World, client: Client) -> None:
        await client.connect()
        world.namenode.kill()
        await asyncio.sleep(1)
        with pytest.raises(NamenodeUnreachable, match="MakeDirectory was not done"):
            await client.make_directory("/a")

    on_world(test, retry_for_ms=5000)


def test_a_read_lost_with_its_namenode_was_not_done() -> None:
    async def test(world: World, client: Client) -> None:
        await client.connect()
        world.namenode.kill()
        with pytest.raises(NamenodeUnreachable, match="did not return within 5 s"):
            await client.info("/a")

    on_world(test, retry_for_ms=5000)


def test_a_silent_namenode_is_left_and_connected_to_anew() -> None:
    async def test(world: World, client: Client) -> None:
        await client.make_directory("/a")

        async def silent_once(request: Any) -> None:
            world.namenode.fault = no_fault
            await for_ever(request)

        world.namenode.fault = silent_once
        assert (await client.info("/a")).path == "/a"
        assert 10 <= now_s() < 12

    on_world(test)


def test_a_refusal_that_may_pass_is_repeated_and_in_the_end_raised_as_it_is() -> None:
    async def test(world: World, client: Client) -> None:
        async def collecting(request: Any) -> None:
            raise SafeMode("still collecting block reports")

        world.namenode.fault = collecting
        with pytest.raises(SafeMode):
            await client.make_directory("/a")
        assert 30 <= now_s() < 31
        making = asyncio.create_task(client.make_directory("/b"))
        await asyncio.sleep(3)
        world.namenode.fault = no_fault
        assert (await making).path == "/b"

    on_world(test)


def test_a_refusal_that_cannot_pass_is_raised_at_once() -> None:
    async def test(world: World, client: Client) -> None:
        with pytest.raises(NoSuchPath):
            await client.info("/missing")
        assert now_s() < 1

    on_world(test)


def test_another_cluster_at_the_same_address_is_refused() -> None:
    async def test(world: World, client: Client) -> None:
        await client.make_directory("/a")
        world.namenode.kill()
        world.namenode.cluster_id = "d" * 32
        await world.namenode.start()
        with pytest.raises(WrongCluster, match=r"d{32}.*open a new client"):
            await client.info("/a")

    on_world(test)


def test_at_most_240_calls_are_in_flight() -> None:
    async def test(world: World, client: Client) -> None:
        running = 0
        most = 0

        async def count(request: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.1)
            running -= 1

        world.namenode.fault = count
        await asyncio.gather(*(client.make_directory(f"/{n}") for n in range(500)))
        assert most == CALLS_IN_FLIGHT == 240
        assert len({call.number for call in world.namenode.heard}) == 500

    on_world(test)


def test_callers_that_lose_the_namenode_together_open_one_connection() -> None:
    async def test(world: World, client: Client) -> None:
        await client.connect()
        world.namenode.kill()
        calls = [asyncio.create_task(client.make_directory(f"/{n}")) for n in range(20)]
        await asyncio.sleep(3)
        opened = 0
        await world.namenode.start()
        listen = world.network.listeners["namenode:9870"]

        def counting(end: Any) -> None:
            nonlocal opened
            opened += 1
            listen(end)

        world.network.listeners["namenode:9870"] = counting
        await asyncio.gather(*calls)
        assert opened == 1

    on_world(test)


def test_a_cancelled_caller_leaves_the_others_alone() -> None:
    async def test(world: World, client: Client) -> None:
        calls = [asyncio.create_task(client.make_directory(f"/{n}")) for n in range(2)]
        await asyncio.sleep(0)
        calls[0].cancel()
        await calls[1]
        assert "/1" in world.namenode.paths

    on_world(test)


def test_listings_come_page_by_page_and_whole() -> None:
    async def test(world: World, client: Client) -> None:
        names = [f"/n{n}" for n in range(8)]
        for name in names:
            await client.make_directory(name)
        assert [entry.path for entry in await client.list_directory("/")] == names
        assert [entry.path async for entry in client.walk_tree("/")] == names

    on_world(test)


def test_a_closed_client_answers_nothing() -> None:
    async def test(world: World, client: Client) -> None:
        with pytest.raises(InvalidRequest, match="not connected"):
            _ = client.cluster
        await client.connect()
        await client.close()
        with pytest.raises(InvalidRequest, match="closed"):
            await client.info("/a")

    on_world(test)


def test_reads_have_no_number_and_mutations_count_from_one() -> None:
    async def test(world: World, client: Client) -> None:
        await client.make_directory("/a")
        await client.info("/a")
        await client.make_directory("/b")
        assert [call.number for call in world.namenode.heard] == [1, 0, 2]
        assert len(world.namenode.heard_of(GetInfo)) == 1
        assert {len(call.client_id) for call in world.namenode.heard} == {16}

    on_world(test)


def test_paths_beyond_a_page_are_asked_about_again() -> None:
    async def test(world: World, client: Client) -> None:
        for path in ("/a", "/b", "/d"):
            await client.make_directory(path)
        found = await client.infos(["/a", "/b", "/c", "/d", "/a"])
        assert [info and info.path for info in found] == ["/a", "/b", None, "/d", "/a"]
        asked = [len(request.paths) for request in world.namenode.heard_of(GetInfos)]
        assert asked == [5, 3, 1]
        assert await client.infos([]) == []

    on_world(test)


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("began_s", [1.0, 4.0])
def test_an_attempt_that_a_thread_made_counts_as_the_first(began_s: float, changes: bool) -> None:
    """It may have taken all the time that there was."""

    async def main() -> None:
        world = await World(datanodes=0).start()
        options = ClientOptions(retry_for_ms=4000)
        connection = NamenodeConnection(world.machine("client"), "namenode:9870", "ann", options)
        await connection.connect()
        earlier = Earlier(now_s() - began_s, PeerLost("it was silent"))
        attempts = Attempts(connection, GetInfo("/"), Bearing(), earlier)
        attempts.left_us = changes
        made: list[float] = []

        async def attempt() -> None:
            made.append(now_s())

        if began_s < 4:
            await attempts.until_done(attempt)
        else:
            with pytest.raises(OutcomeUnknown if changes else NamenodeUnreachable):
                await attempts.until_done(attempt)
        assert len(made) == (began_s < 4)
        await connection.close()

    run(main())
