"""Requests that wait for datanodes: asked again, given up, ended."""

import asyncio

import pytest

from dolmen.protocol.errors import StandbyNamenode, TooFewDatanodes
from namenode.core.outcome import Outcome, Waits
from namenode.core.tables import View
from namenode.store import Store
from tests.unit.namenode.store_worlds import (
    SimHost,
    Writing,
    done,
    make_directory,
    make_new,
    stored_names,
    with_store,
)


class Switch:
    """A decision that waits for block 7 until it is switched on."""

    def __init__(self) -> None:
        self.on = False
        self.asked = 0

    def __call__(self, view: View, now_ms: int) -> Outcome | Waits:
        self.asked += 1
        return make_directory("a")(view, now_ms) if self.on else Waits((7, 8), "1 of 2 replicas")


def test_a_request_that_waits_is_asked_again_when_its_block_changes() -> None:
    async def check(host: SimHost, store: Store) -> None:
        switch = Switch()
        deadline = asyncio.get_running_loop().time() + 30
        async with Writing(store) as journal:
            asked = asyncio.create_task(journal.submit(switch, deadline))
            await asyncio.sleep(1)
            journal.wake([1, 2])
            await asyncio.sleep(1)
            assert switch.asked == 1
            journal.wake([8, 7])
            await asyncio.sleep(1)
            assert switch.asked == 2
            switch.on = True
            journal.wake([7])
            assert await asked == done("a")
            journal.wake([7])

    with_store(check)


def test_a_request_that_waits_ends_at_its_deadline_with_the_reason() -> None:
    async def check(host: SimHost, store: Store) -> None:
        loop = asyncio.get_running_loop()
        async with Writing(store) as journal:
            with pytest.raises(TooFewDatanodes, match="1 of 2 replicas"):
                await journal.submit(Switch())
            begun_s = loop.time()
            with pytest.raises(TooFewDatanodes, match="1 of 2 replicas"):
                await journal.submit(Switch(), begun_s + 30)
            assert loop.time() - begun_s == pytest.approx(30)

    with_store(check)


def test_a_caller_that_gives_up_is_forgotten() -> None:
    async def check(host: SimHost, store: Store) -> None:
        switch = Switch()
        async with Writing(store) as journal:
            asked = asyncio.create_task(journal.submit(switch, 1e9))
            await asyncio.sleep(1)
            asked.cancel()
            await asyncio.wait((asked,))
            switch.on = True
            journal.wake([7])
            await asyncio.sleep(1)
        assert switch.asked == 1
        assert stored_names(store) == []

    with_store(check)


def test_closing_refuses_what_waits_and_what_comes() -> None:
    async def check(host: SimHost, store: Store) -> None:
        writing = Writing(store)
        running = asyncio.create_task(writing.journal.run())
        parked = asyncio.create_task(writing.journal.submit(Switch(), 1e9))
        await asyncio.sleep(1)
        queued = asyncio.create_task(writing.journal.submit(make_new("a")))
        late = asyncio.create_task(writing.journal.submit(Switch(), 1e9))
        await asyncio.sleep(0)
        writing.journal.close()
        await running
        assert await queued == done("a")
        with pytest.raises(StandbyNamenode):
            await parked
        with pytest.raises(StandbyNamenode):
            await late
        with pytest.raises(StandbyNamenode):
            await writing.journal.submit(make_new("b"))

    with_store(check)
