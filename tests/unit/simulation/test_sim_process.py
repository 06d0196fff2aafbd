"""A simulated process can be stopped and go on, and be struck between any two of its turns."""

import asyncio

from dolmen.simulation import virtual_time
from dolmen.simulation.sim_process import SimProcess
from dolmen.simulation.virtual_time import VirtualTimeLoop


def loop() -> VirtualTimeLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running


class Ticking:
    """A process that notes the time each second, and another one beside it."""

    def __init__(self) -> None:
        self.process = SimProcess("ticking")
        self.seen: list[float] = []
        self.others: list[float] = []
        self.task = loop().create_task(_tick(self.seen), context=self.process.context)
        self.other = loop().create_task(_tick(self.others))


async def _tick(seen: list[float]) -> None:
    while True:
        await asyncio.sleep(1)
        seen.append(round(loop().time(), 3))


def test_a_paused_process_sees_no_timer_and_then_that_time_has_passed() -> None:
    async def main() -> None:
        world = Ticking()
        await asyncio.sleep(1.5)
        loop().pause(world.process)
        await asyncio.sleep(3)
        assert world.seen == [1]
        assert world.others == [1, 2, 3, 4]
        loop().go_on(world.process)
        await asyncio.sleep(1.2)
        assert world.seen == [1, 4.5, 5.5]

    virtual_time.run(main())


def test_what_a_process_made_before_and_while_it_was_paused_waits_in_its_order() -> None:
    async def main() -> None:
        process = SimProcess("one")
        done: list[int] = []
        loop().pause(process)
        for number in range(5):
            loop().call_soon(done.append, number, context=process.context)
        await asyncio.sleep(1)
        assert done == []
        loop().go_on(process)
        await asyncio.sleep(0)
        assert done == [0, 1, 2, 3, 4]

    virtual_time.run(main())


def test_a_process_is_struck_before_its_turn_and_no_other_is() -> None:
    async def main() -> None:
        world = Ticking()
        await asyncio.sleep(0.5)
        loop().strike(world.process, 4, world.task.cancel)
        await asyncio.sleep(10)
        assert world.task.cancelled()
        assert world.seen == [1, 2]  # two turns each: the timer, and the task that it wakes
        assert len(world.others) == 10

    virtual_time.run(main())


def test_a_turn_that_the_strike_before_it_cancels_is_not_taken() -> None:
    async def main() -> None:
        process = SimProcess("one")
        done: list[object] = []
        loop().set_exception_handler(lambda _, trouble: done.append(trouble))
        turn = loop().call_soon(done.append, "turn", context=process.context)
        loop().strike(process, 0, turn.cancel)
        await asyncio.sleep(1)
        assert turn.cancelled()
        assert done == []

    virtual_time.run(main())


def test_a_strike_that_is_spared_never_comes() -> None:
    async def main() -> None:
        world = Ticking()
        loop().strike(world.process, 4, world.task.cancel)
        await asyncio.sleep(1.5)
        loop().spare(world.process)
        await asyncio.sleep(5)
        assert not world.task.done()

    virtual_time.run(main())
