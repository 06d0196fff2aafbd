"""What every Transport promises: control connections."""

import asyncio

import pytest

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost, StartRefused
from tests.contract.transport_worlds import RealWorld, RecordingService, SimWorld, World


@pytest.fixture(params=[RealWorld, SimWorld], ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param()
    return made


def never() -> "asyncio.Future[bytes]":
    return asyncio.get_running_loop().create_future()


def test_a_call_is_answered(world: World) -> None:
    async def scenario() -> None:
        service = RecordingService()
        listener = await world.server.listen(service, world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        assert await connection.call(b"hello", 5) == b"echo hello"
        assert len(service.peer_hosts) == 1
        await connection.close()
        await listener.close()
        assert service.sessions[0].closed_times == 1

    world.run(scenario)


def test_many_calls_run_at_once_and_each_gets_its_own_reply(world: World) -> None:
    async def scenario() -> None:
        together = asyncio.Barrier(200)

        async def answer(payload: bytes) -> bytes:
            await together.wait()  # ends only when all 200 calls are in flight
            return payload[::-1]

        listener = await world.server.listen(RecordingService(answer), world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        calls = [connection.call(b"%03d" % number, 5) for number in range(200)]
        assert await asyncio.gather(*calls) == [(b"%03d" % n)[::-1] for n in range(200)]
        await connection.close()
        await listener.close()

    world.run(scenario)


def test_more_calls_than_may_be_in_flight_wait_for_their_turn(world: World) -> None:
    async def scenario() -> None:
        running = 0
        most = 0

        async def answer(payload: bytes) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return payload

        listener = await world.server.listen(RecordingService(answer), world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        calls = [connection.call(b"%d" % number, 10) for number in range(600)]
        assert len(await asyncio.gather(*calls)) == 600
        assert most <= 256
        await connection.close()
        await listener.close()

    world.run(scenario)


def test_a_call_that_times_out_does_not_disturb_the_others(world: World) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def answer(payload: bytes) -> bytes:
            if payload == b"slow":
                await release.wait()
            return payload

        listener = await world.server.listen(RecordingService(answer), world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        with pytest.raises(PeerLost, match=listener.address):
            await connection.call(b"slow", 0.1)
        release.set()
        assert await connection.call(b"quick", 5) == b"quick"
        await connection.close()
        await listener.close()

    world.run(scenario)


def test_a_cancelled_call_does_not_disturb_the_others(world: World) -> None:
    async def scenario() -> None:
        async def answer(payload: bytes) -> bytes:
            return await never() if payload == b"slow" else payload

        listener = await world.server.listen(RecordingService(answer), world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        slow = asyncio.create_task(connection.call(b"slow", 5))
        assert await connection.call(b"quick", 5) == b"quick"
        slow.cancel()
        assert await connection.call(b"again", 5) == b"again"
        await connection.close()
        await listener.close()

    world.run(scenario)


def test_a_message_over_the_limit_is_refused_and_the_connection_lives_on(world: World) -> None:
    async def scenario() -> None:
        listener = await world.server.listen(RecordingService(), world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        with pytest.raises(InvalidRequest, match=str(MESSAGE_LIMIT_BYTES)):
            await connection.call(bytes(MESSAGE_LIMIT_BYTES + 1), 5)
        largest = bytes(MESSAGE_LIMIT_BYTES - 5)
        assert await connection.call(largest, 5) == b"echo " + largest
        await connection.close()
        await listener.close()

    world.run(scenario)


def test_a_call_that_fails_unforeseen_ends_the_connection(world: World) -> None:
    async def scenario() -> None:
        async def answer(payload: bytes) -> bytes:
            raise LookupError("a defect")

        service = RecordingService(answer)
        listener = await world.server.listen(service, world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        with pytest.raises(PeerLost):
            await connection.call(b"hello", 5)
        await connection.wait_closed()
        await service.sessions[0].gone.wait()
        await connection.close()
        await listener.close()

    world.run(scenario)


def test_closing_a_connection_cancels_its_calls_and_ends_the_session_once(world: World) -> None:
    async def scenario() -> None:
        started = asyncio.Event()

        async def answer(payload: bytes) -> bytes:
            started.set()
            return await never()

        service = RecordingService(answer)
        listener = await world.server.listen(service, world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        call = asyncio.create_task(connection.call(b"hello", 60))
        await started.wait()
        await connection.close()
        with pytest.raises(PeerLost):
            await call
        session = service.sessions[0]
        await session.gone.wait()
        assert session.cancelled == [b"hello"]
        await listener.close()
        assert session.closed_times == 1

    world.run(scenario)


def test_the_end_of_a_connection_with_too_much_in_flight_is_seen(world: World) -> None:
    async def scenario() -> None:
        async def answer(payload: bytes) -> bytes:
            return await never()

        service = RecordingService(answer)
        listener = await world.server.listen(service, world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        calls = [asyncio.create_task(connection.call(b"x", 60)) for _ in range(300)]
        with pytest.raises(PeerLost):  # the server has read what it will by then
            await connection.call(b"x", 0.2)
        await connection.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, PeerLost) for outcome in outcomes)
        session = service.sessions[0]
        await asyncio.wait_for(session.gone.wait(), 60)
        assert len(session.cancelled) <= 256
        await listener.close()

    world.run(scenario)


def test_a_closed_connection_takes_no_more_calls(world: World) -> None:
    async def scenario() -> None:
        listener = await world.server.listen(RecordingService(), world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        await connection.close()
        await connection.close()
        await connection.wait_closed()
        with pytest.raises(PeerLost):
            await connection.call(b"hello", 5)
        await listener.close()

    world.run(scenario)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_the_end_of_a_listener_ends_its_connections(world: World, how: str) -> None:
    async def scenario() -> None:
        started = asyncio.Event()

        async def answer(payload: bytes) -> bytes:
            started.set()
            return await never()

        service = RecordingService(answer)
        listener = await world.server.listen(service, world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        call = asyncio.create_task(connection.call(b"hello", 60))
        await started.wait()
        if how == "abort":
            listener.abort()
        else:
            await listener.close()
        with pytest.raises(PeerLost, match=listener.address):
            await call
        await connection.wait_closed()
        await service.sessions[0].gone.wait()
        assert service.sessions[0].cancelled == [b"hello"]
        with pytest.raises(PeerLost, match=listener.address):
            await world.client.connect(listener.address, 5)
        assert service.sessions[0].closed_times == 1

    world.run(scenario)


def test_the_end_of_a_process_ends_the_connections_it_opened(world: World) -> None:
    async def scenario() -> None:
        service = RecordingService()
        listener = await world.server.listen(service, world.host, 0)
        connection = await world.client.connect(listener.address, 5)
        await connection.call(b"hello", 5)
        world.client.abort()
        await service.sessions[0].gone.wait()
        with pytest.raises(PeerLost):
            await connection.call(b"hello", 5)
        await connection.wait_closed()
        await listener.close()

    world.run(scenario)


def test_connecting_to_an_address_where_nobody_listens_fails_at_once(world: World) -> None:
    async def scenario() -> None:
        listener = await world.server.listen(RecordingService(), world.host, 0)
        await listener.close()
        with pytest.raises(PeerLost, match=listener.address):
            await world.client.connect(listener.address, 5)

    world.run(scenario)


def test_a_port_that_is_taken_is_refused_and_free_again_after_close(world: World) -> None:
    async def scenario() -> None:
        listener = await world.server.listen(RecordingService(), world.host, 0)
        port = int(listener.address.rpartition(":")[2])
        with pytest.raises(StartRefused, match=f"port {port} on {world.host} is in use"):
            await world.server.listen(RecordingService(), world.host, port)
        await listener.close()
        again = await world.server.listen(RecordingService(), world.host, port)
        assert again.address == listener.address
        again.abort()
        third = await world.server.listen(RecordingService(), world.host, port)
        await third.close()

    world.run(scenario)


def test_a_free_port_is_none_that_outgoing_connections_are_given(world: World) -> None:
    async def scenario() -> None:
        listener = await world.server.listen(RecordingService(), world.host, 0)
        assert 1024 < int(listener.address.rpartition(":")[2]) < 32768
        await listener.close()

    world.run(scenario)


def test_an_address_that_is_none_is_the_callers_mistake(world: World) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidRequest):
            await world.client.connect("nonsense", 5)

    world.run(scenario)
