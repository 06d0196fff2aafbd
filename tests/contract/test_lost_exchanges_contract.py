"""What every Transport promises about bulk exchanges that go wrong: clear ends, and in time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dolmen.protocol.errors import DolmenError, PeerLost, StaleGeneration
from dolmen.runtime.transport import Body, Incoming, Outgoing, body_of
from tests.contract.transport_worlds import (
    MORE_THAN_FITS,
    PIECE,
    RealWorld,
    RecordingService,
    SimWorld,
    World,
    pieces_of,
    read,
    serve,
)


@pytest.fixture(params=[RealWorld, SimWorld], ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param()
    return made


def test_a_peer_that_never_answers_is_lost_after_the_progress_deadline(world: World) -> None:
    async def scenario() -> None:
        cancelled = asyncio.Event()

        async def answer(incoming: Incoming) -> Outgoing:
            try:
                await incoming.body.skip()
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.set()
            return Outgoing(b"never")

        listener = await serve(world, answer)
        for body in (None, body_of(bytes(10))):
            cancelled.clear()
            started = asyncio.get_running_loop().time()
            with pytest.raises(PeerLost, match=listener.address):
                async with world.client.exchange(
                    listener.address, b"", body, stall_s=world.stall_s
                ):
                    pass
            elapsed_s = asyncio.get_running_loop().time() - started
            assert world.stall_s * 0.9 <= elapsed_s < world.stall_s + 1
            await cancelled.wait()
        await listener.close()

    world.run(scenario)


def test_a_peer_that_stops_reading_is_lost_after_the_progress_deadline(world: World) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def answer(incoming: Incoming) -> Outgoing:
            await release.wait()
            return Outgoing(b"late")

        listener = await serve(world, answer)
        body = Body(MORE_THAN_FITS, pieces_of(bytes(MORE_THAN_FITS)))
        with pytest.raises(PeerLost, match=listener.address):
            async with world.client.exchange(listener.address, b"", body, stall_s=world.stall_s):
                pass
        release.set()
        await listener.close()

    world.run(scenario)


def test_a_sender_that_waits_for_its_own_source_is_not_taken_for_stalled(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        return Outgoing(b"%d" % len(await read(incoming.body)))

    async def scenario() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(4):
                await asyncio.sleep(world.stall_s / 2)
                yield b"x"

        listener = await serve(world, answer)
        async with world.client.exchange(
            listener.address, b"", Body(4, pieces()), stall_s=world.stall_s / 4
        ) as answered:
            assert answered.head == b"4"
        await listener.close()

    world.run(scenario)


def test_a_receiver_gives_up_on_a_body_that_stalls(world: World) -> None:
    async def scenario() -> None:
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def answer(incoming: Incoming) -> Outgoing:
            try:
                await incoming.body.skip()
            except PeerLost as error:
                outcome.set_result(error.message)
                raise
            return Outgoing(b"")

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            await outcome
            await asyncio.get_running_loop().create_future()

        listener = await serve(world, answer)
        with pytest.raises(PeerLost, match=listener.address):
            async with world.client.exchange(listener.address, b"", Body(100, pieces())):
                pass
        assert "sent nothing" in await outcome
        await listener.close()

    world.run(scenario)


def test_a_reader_gives_up_on_a_reply_that_stalls(world: World) -> None:
    async def scenario() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.get_running_loop().create_future()

        async def answer(incoming: Incoming) -> Outgoing:
            return Outgoing(b"follows", Body(100, pieces()))

        listener = await serve(world, answer)
        async with world.client.exchange(listener.address, b"", stall_s=world.stall_s) as answered:
            with pytest.raises(PeerLost, match=listener.address):
                await read(answered.body)
        await listener.close()

    world.run(scenario)


@pytest.mark.parametrize(
    "error", [LookupError("the source"), OSError("the source"), PeerLost("the source")], ids=repr
)
def test_a_sender_that_fails_in_mid_body_raises_its_own_error(
    world: World, error: Exception
) -> None:
    async def scenario() -> None:
        outcome: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        async def answer(incoming: Incoming) -> Outgoing:
            try:
                await read(incoming.body)
            except BaseException as error:
                outcome.set_result(error)
                raise
            return Outgoing(b"")

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            raise error

        listener = await serve(world, answer)
        with pytest.raises(type(error), match="the source"):
            async with world.client.exchange(listener.address, b"", Body(2000, pieces())):
                pass
        assert isinstance(await outcome, PeerLost)
        await listener.close()

    world.run(scenario)


@pytest.mark.parametrize("length_bytes", [999, 1001])
def test_a_body_of_another_length_than_promised_is_the_senders_mistake(
    world: World, length_bytes: int
) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        await incoming.body.skip()
        return Outgoing(b"done")

    async def scenario() -> None:
        listener = await serve(world, answer)
        with pytest.raises(ValueError, match="a body of 1000 bytes"):
            async with world.client.exchange(
                listener.address, b"", Body(1000, pieces_of(bytes(length_bytes), 500))
            ):
                pass
        await listener.close()

    world.run(scenario)


@pytest.mark.parametrize(
    "error", [PeerLost("the source has failed"), StaleGeneration("reopened meanwhile")], ids=repr
)
def test_a_reply_body_that_fails_in_the_middle_breaks_off(
    world: World, error: DolmenError, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(PIECE)
            raise error

        async def answer(incoming: Incoming) -> Outgoing:
            return Outgoing(b"follows", Body(2 * PIECE, pieces()))

        listener = await serve(world, answer)
        async with world.client.exchange(listener.address, b"") as answered:
            with pytest.raises(PeerLost, match=listener.address):
                await read(answered.body)
        await listener.close()

    world.run(scenario)
    assert not [record for record in caplog.records if record.exc_info], "it is no defect"


def test_an_exchange_that_fails_unforeseen_is_a_lost_peer(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        raise LookupError("a defect")

    async def scenario() -> None:
        listener = await serve(world, answer)
        with pytest.raises(PeerLost, match=listener.address):
            async with world.client.exchange(listener.address, b""):
                pass
        await listener.close()

    world.run(scenario)


def test_a_client_that_goes_away_cancels_the_exchange(world: World) -> None:
    async def scenario() -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def answer(incoming: Incoming) -> Outgoing:
            await incoming.body.skip()
            started.set()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return Outgoing(b"")

        async def ask() -> None:
            async with world.client.exchange(listener.address, b"", body_of(bytes(10))):
                pass

        listener = await serve(world, answer)
        asking = asyncio.create_task(ask())
        await started.wait()
        asking.cancel()
        await cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await listener.close()

    world.run(scenario)


@pytest.mark.parametrize("how", ["the listener", "the process"])
def test_an_abort_resets_exchanges_in_mid_body(world: World, how: str) -> None:
    async def scenario() -> None:
        received = asyncio.Event()

        async def answer(incoming: Incoming) -> Outgoing:
            await read(incoming.body, 10)
            received.set()
            await asyncio.get_running_loop().create_future()
            return Outgoing(b"")

        async def send() -> None:
            body = Body(MORE_THAN_FITS, pieces_of(bytes(MORE_THAN_FITS)))
            async with world.client.exchange(listener.address, b"", body):
                pass

        listener = await serve(world, answer)
        sending = asyncio.create_task(send())
        await received.wait()
        started = asyncio.get_running_loop().time()
        if how == "the listener":
            listener.abort()
        else:
            world.server.abort()
        with pytest.raises(PeerLost, match=listener.address):
            await sending
        assert asyncio.get_running_loop().time() - started < 1
        with pytest.raises(PeerLost, match=listener.address):
            await send()

    world.run(scenario)


def test_closing_a_listener_waits_for_exchanges_only_for_a_moment(world: World) -> None:
    async def scenario() -> None:
        started = asyncio.Event()
        cancelled = asyncio.Event()

        async def answer(incoming: Incoming) -> Outgoing:
            await incoming.body.skip()
            started.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.set()
            return Outgoing(b"")

        async def ask() -> None:
            async with world.client.exchange(listener.address, b"", body_of(bytes(10))):
                pass

        listener = await serve(world, answer)
        asking = asyncio.create_task(ask())
        await started.wait()
        before = asyncio.get_running_loop().time()
        await listener.close()
        assert asyncio.get_running_loop().time() - before < 2
        await cancelled.wait()
        with pytest.raises(PeerLost, match=listener.address):
            await asking

    world.run(scenario)


def test_an_abort_of_the_client_shows_in_the_middle_of_a_body(world: World) -> None:
    async def scenario() -> None:
        received = asyncio.Event()
        outcome: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        async def answer(incoming: Incoming) -> Outgoing:
            await read(incoming.body, 10)
            received.set()
            try:
                await read(incoming.body, PIECE)
            except BaseException as error:
                outcome.set_result(error)
                raise
            return Outgoing(b"")

        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(10)
            await asyncio.get_running_loop().create_future()

        async def send() -> None:
            async with world.client.exchange(listener.address, b"", Body(PIECE + 10, pieces())):
                pass

        listener = await serve(world, answer)
        sending = asyncio.create_task(send())
        await received.wait()
        world.client.abort()
        assert isinstance(await outcome, PeerLost)
        with pytest.raises(PeerLost):
            await sending
        await listener.close()

    world.run(scenario)


def test_an_exchange_after_a_restart_of_the_peer_works_at_once(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        return Outgoing(await read(incoming.body))

    async def scenario() -> None:
        listener = await serve(world, answer)
        port = int(listener.address.rpartition(":")[2])
        for _ in range(5):
            async with world.client.exchange(listener.address, b"", body_of(b"x")) as answered:
                assert answered.head == b"x"
            listener.abort()
            service = RecordingService(answer_exchange=answer)
            listener = await world.server.listen(service, world.host, port)
        await listener.close()

    world.run(scenario)
