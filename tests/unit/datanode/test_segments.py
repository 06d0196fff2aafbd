"""Deadlines along a pipeline, and the handing over of pieces to a slow or failing next hop."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datanode.segments import Relay, hop_deadline_s
from dolmen.protocol.errors import PeerLost
from dolmen.simulation import virtual_time


@given(targets=st.integers(2, 512))
def test_each_hop_waits_for_a_shorter_time_than_the_one_before_it(targets: int) -> None:
    waits = [10.0] + [hop_deadline_s(10.0, position, targets) for position in range(targets)]
    assert all(earlier > later > 0 for earlier, later in pairwise(waits))


def test_a_buffer_is_not_filled_again_before_the_sender_is_done_with_it() -> None:
    relay, sent = Relay(20), bytearray()
    buffers = [memoryview(bytearray(4)) for _ in range(2)]

    async def send() -> None:
        async for piece in relay:
            await asyncio.sleep(1)  # a slow peer
            sent.extend(piece)

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(5):
                buffer = buffers[number % 2]
                buffer[:] = bytes([number] * 4)
                await relay.hand_over(buffer)
            await relay.end()

    virtual_time.run(scenario())
    assert sent == b"".join(bytes([number] * 4) for number in range(5))


@pytest.mark.parametrize("taken", [0, 1])
def test_a_sender_that_gave_up_holds_nobody_up(taken: int) -> None:
    relay = Relay(20)

    async def send() -> None:
        pieces = aiter(relay)
        for _ in range(taken):
            await anext(pieces)
        relay.abandon()

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for _ in range(5):
                await relay.hand_over(memoryview(b"data"))
            await relay.end()

    virtual_time.run(scenario())


def test_a_sender_may_begin_again_until_the_first_piece_has_passed() -> None:
    relay, sent = Relay(6), bytearray()

    async def send() -> None:
        lost = aiter(relay)
        await anext(lost)  # the connection breaks while this one is sent
        async for piece in relay:
            sent.extend(piece)
        with pytest.raises(PeerLost):
            await anext(aiter(relay))

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            await relay.hand_over(memoryview(b"one"))
            await relay.hand_over(memoryview(b"two"))
            await relay.end()

    virtual_time.run(scenario())
    assert sent == b"onetwo"


def test_a_sender_is_done_with_the_last_byte_while_it_is_still_being_stored() -> None:
    relay = Relay(8)

    async def scenario() -> None:
        sending = asyncio.create_task(_all_of(relay))
        await relay.hand_over(memoryview(b"data"))
        await relay.hand_over(memoryview(b"last"))
        assert await sending == b"datalast"  # nobody has said that this is the end
        await relay.end()

    virtual_time.run(scenario())


async def _all_of(relay: Relay) -> bytes:
    return b"".join([bytes(piece) async for piece in relay])
