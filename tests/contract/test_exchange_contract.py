"""What every Transport promises: bulk exchanges."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dolmen.protocol.block_messages import HEAD_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.runtime.transport import Body, Incoming, Outgoing, body_of
from tests.contract.transport_worlds import (
    MORE_THAN_FITS,
    PIECE,
    RealWorld,
    SimWorld,
    World,
    patterned,
    pieces_of,
    read,
    serve,
)


@pytest.fixture(params=[RealWorld, SimWorld], ids=lambda kind: kind.__name__)
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.param()
    return made


def test_heads_and_bodies_travel_both_ways(world: World) -> None:
    data = patterned(3 * 1024 * 1024 + 77)

    async def answer(incoming: Incoming) -> Outgoing:
        received = await read(incoming.body)
        assert received == data
        return Outgoing(b"reply to " + incoming.head, body_of(received[::-1]))

    async def scenario() -> None:
        listener = await serve(world, answer)
        body = Body(len(data), pieces_of(data))
        async with world.client.exchange(listener.address, b"\x00head\xff", body) as answered:
            assert answered.head == b"reply to \x00head\xff"
            assert answered.body.length_bytes == len(data)
            assert await read(answered.body) == data[::-1]
        await listener.close()

    world.run(scenario)


def test_a_body_may_be_read_in_any_slices(world: World) -> None:
    data = patterned(1024 * 1024)

    async def answer(incoming: Incoming) -> Outgoing:
        slices = [await read(incoming.body, length) for length in (0, 1, 65_535, 262_147)]
        rest = await read(incoming.body, len(data) - sum(map(len, slices)))
        assert b"".join(slices) + rest == data
        return Outgoing(b"", Body(len(data), pieces_of(data, 99_999)))

    async def scenario() -> None:
        listener = await serve(world, answer)
        async with world.client.exchange(listener.address, b"", body_of(data)) as answered:
            assert await read(answered.body, 5) == data[:5]
            await answered.body.skip()
            with pytest.raises(PeerLost):
                await read(answered.body, 1)
        await listener.close()

    world.run(scenario)


def test_an_exchange_without_bodies_has_empty_ones(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        assert incoming.body.length_bytes == 0
        await incoming.body.skip()
        return Outgoing(b"done")

    async def scenario() -> None:
        listener = await serve(world, answer)
        for body in (None, body_of()):
            async with world.client.exchange(listener.address, b"x", body) as answered:
                assert answered.head == b"done"
                assert answered.body.length_bytes == 0
        await listener.close()

    world.run(scenario)


def test_the_longest_head_arrives_and_a_longer_one_is_refused(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        return Outgoing(incoming.head[::-1])

    async def scenario() -> None:
        listener = await serve(world, answer)
        head = patterned(HEAD_LIMIT_BYTES)
        async with world.client.exchange(listener.address, head) as answered:
            assert answered.head == head[::-1]
        with pytest.raises(InvalidRequest):
            async with world.client.exchange(listener.address, head + b"!"):
                pass
        await listener.close()

    world.run(scenario)


def test_exchanges_run_side_by_side(world: World) -> None:
    async def scenario() -> None:
        together = asyncio.Barrier(20)

        async def answer(incoming: Incoming) -> Outgoing:
            await together.wait()  # ends only when all 20 exchanges are under way
            return Outgoing(incoming.head, body_of(await read(incoming.body)))

        listener = await serve(world, answer)

        async def one(number: int) -> None:
            data = bytes([number]) * 300_000
            head = b"%d" % number
            async with world.client.exchange(listener.address, head, body_of(data)) as answered:
                assert answered.head == head
                assert await read(answered.body) == data

        await asyncio.gather(*(one(number) for number in range(20)))
        await listener.close()

    world.run(scenario)


def test_a_slow_reader_holds_the_sender_back(world: World) -> None:
    async def scenario() -> None:
        sent = 0
        held_back = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < MORE_THAN_FITS:
                sent += PIECE
                asyncio.get_running_loop().call_later(0.1, see_whether_held_back, sent)
                yield bytes(PIECE)

        def see_whether_held_back(sent_then: int) -> None:
            if sent == sent_then:
                held_back.set()

        async def answer(incoming: Incoming) -> Outgoing:
            await held_back.wait()
            assert sent < MORE_THAN_FITS
            await incoming.body.skip()
            return Outgoing(b"done")

        listener = await serve(world, answer)
        body = Body(MORE_THAN_FITS, pieces())
        async with world.client.exchange(listener.address, b"", body) as answered:
            assert answered.head == b"done"
        await listener.close()

    world.run(scenario)


def test_an_early_answer_ends_the_sending(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        await read(incoming.body, 10)
        return Outgoing(b"no", body_of(b"because"))

    async def scenario() -> None:
        sent = 0
        ended = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            try:
                while sent < MORE_THAN_FITS:
                    sent += PIECE
                    yield bytes(PIECE)
            finally:
                ended.set()

        listener = await serve(world, answer)
        body = Body(MORE_THAN_FITS, pieces())
        async with world.client.exchange(listener.address, b"", body) as answered:
            assert answered.head == b"no"
            assert await read(answered.body) == b"because"
        await ended.wait()
        assert sent < MORE_THAN_FITS
        async with world.client.exchange(listener.address, b"", body_of(bytes(20))) as answered:
            assert answered.head == b"no"
        await listener.close()

    world.run(scenario)


def test_an_answer_comes_while_the_sender_waits_for_its_own_source(world: World) -> None:
    async def answer(incoming: Incoming) -> Outgoing:
        return Outgoing(b"no")

    async def scenario() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(PIECE)
            await asyncio.get_running_loop().create_future()

        listener = await serve(world, answer)
        body = Body(10 * PIECE, pieces())
        async with world.client.exchange(listener.address, b"", body) as answered:
            assert answered.head == b"no"
        await listener.close()

    world.run(scenario)


class Closable:
    """Pieces without end that somebody has to close."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return bytes(PIECE)

    async def aclose(self) -> None:
        self.closed.set()


def test_the_pieces_of_a_reply_are_closed_when_its_reader_goes_away(world: World) -> None:
    async def scenario() -> None:
        pieces = Closable()

        async def answer(incoming: Incoming) -> Outgoing:
            return Outgoing(b"follows", Body(MORE_THAN_FITS, pieces))

        listener = await serve(world, answer)
        async with world.client.exchange(listener.address, b"") as answered:
            assert answered.head == b"follows"
        await pieces.closed.wait()
        await listener.close()

    world.run(scenario)
