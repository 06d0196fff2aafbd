"""Checkpoints on demand: shared, awaited, and refused with a reason."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dolmen.protocol.errors import DataDamaged, NoSpace, Overloaded
from dolmen.simulation import virtual_time
from namenode.checkpoint_calls import ASKERS_LIMIT, PATIENCE_S, CheckpointCalls


class SlowCheckpointer:
    """Stands where `Checkpointer` does: each checkpoint takes a while, or fails."""

    def __init__(self, takes_s: float = 1.0) -> None:
        self.takes_s = takes_s
        self.written = 0
        self.due = 0
        self.error: Exception | None = None

    async def run_asked(self) -> int:
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        self.written += 1
        return self.written

    async def run_if_due(self) -> bool:
        self.due += 1
        return False


Scenario = Callable[[CheckpointCalls, SlowCheckpointer], Coroutine[Any, Any, None]]


def run(scenario: Scenario, takes_s: float = 1.0) -> None:
    async def main() -> None:
        checkpointer = SlowCheckpointer(takes_s)
        calls = CheckpointCalls(checkpointer)
        loop = asyncio.create_task(calls.run())
        await scenario(calls, checkpointer)
        loop.cancel()
        await asyncio.wait((loop,))

    virtual_time.run(main())


def test_who_asks_while_one_is_written_gets_the_next_one() -> None:
    async def scenario(calls: CheckpointCalls, checkpointer: SlowCheckpointer) -> None:
        first = asyncio.create_task(calls.ask(b"a"))
        await asyncio.sleep(0.5)
        others = await asyncio.gather(calls.ask(b"b"), calls.ask(b"c"))
        assert (await first).txid == 1
        assert [other.txid for other in others] == [2, 2]

    run(scenario)


def test_a_long_one_is_fetched_by_asking_again() -> None:
    async def scenario(calls: CheckpointCalls, checkpointer: SlowCheckpointer) -> None:
        for _ in range(2):
            with pytest.raises(Overloaded, match="not done yet"):
                await calls.ask(b"a")
        await asyncio.sleep(PATIENCE_S)
        assert (await calls.ask(b"a")).txid == 1
        assert checkpointer.written == 1

    run(scenario, takes_s=2.5 * PATIENCE_S)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NoSpace("a checkpoint needs 7 bytes of free space, there are 3"), NoSpace),
        (OSError(errno.ENOSPC, "no space left"), NoSpace),
        (OSError(errno.EIO, "the disk"), DataDamaged),
    ],
)
def test_a_failure_is_told_and_the_next_one_may_succeed(
    error: Exception, told: type[Exception]
) -> None:
    async def scenario(calls: CheckpointCalls, checkpointer: SlowCheckpointer) -> None:
        checkpointer.error = error
        with pytest.raises(told):
            await calls.ask(b"a")
        checkpointer.error = None
        assert (await calls.ask(b"a")).txid == 1

    run(scenario)


def test_only_so_many_wait_and_those_who_never_fetch_are_forgotten() -> None:
    async def scenario(calls: CheckpointCalls, checkpointer: SlowCheckpointer) -> None:
        waiting = [asyncio.create_task(calls.ask(b"%d" % n)) for n in range(ASKERS_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="wait for a checkpoint already"):
            await calls.ask(b"one more")
        for task in waiting:
            task.cancel()
        await asyncio.sleep(2)
        assert (await calls.ask(b"one more")).txid == 2

    run(scenario)


def test_those_that_are_due_are_looked_for_all_the_while() -> None:
    async def scenario(calls: CheckpointCalls, checkpointer: SlowCheckpointer) -> None:
        await asyncio.sleep(21)
        assert checkpointer.due == 4

    run(scenario)
