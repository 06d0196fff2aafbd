"""Steps that outlive who waits for them, and end with the datanode."""

import asyncio

import pytest

from datanode.work import Work
from dolmen.protocol.errors import TryAgain


def test_a_step_under_way_is_finished_and_no_other_one_begun() -> None:
    async def main() -> None:
        work, may_end, done = Work(), asyncio.Event(), []

        async def step(name: str) -> None:
            await may_end.wait()
            done.append(name)

        first = asyncio.create_task(work.run(step("first")))
        await asyncio.sleep(0)
        finishing = asyncio.create_task(work.finish())
        await asyncio.sleep(0)
        with pytest.raises(TryAgain):
            await work.run(step("second"))
        assert not finishing.done()
        may_end.set()
        await finishing
        await first
        assert done == ["first"]

    asyncio.run(main())


def test_nothing_is_begun_after_a_kill() -> None:
    async def main() -> None:
        work = Work()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work.run(asyncio.sleep(0))

    asyncio.run(main())
