"""Virtual time: it jumps, it is deterministic, and it lets nothing in from outside."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from dolmen.simulation import virtual_time
from dolmen.simulation.virtual_time import SimulationDeadlock


def test_a_day_passes_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert virtual_time.run(main()) == pytest.approx(86_400)
    assert time.monotonic() - started < 60


def test_timers_go_off_in_their_order() -> None:
    async def main() -> list[int]:
        done: list[int] = []

        async def wait(number: int) -> None:
            await asyncio.sleep(number)
            done.append(number)

        async with asyncio.TaskGroup() as group:
            for number in (3, 1, 2):
                group.create_task(wait(number))
        return done

    assert virtual_time.run(main()) == [1, 2, 3]


def test_a_timeout_goes_off_in_virtual_time() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.get_running_loop().create_future()

    virtual_time.run(main())


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationDeadlock, match="wait_for_nothing"):
        virtual_time.run(wait_for_nothing())


def test_threads_sockets_signals_and_children_are_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="no threads in virtual time"):
            await asyncio.to_thread(os.getpid)
        with pytest.raises(RuntimeError, match="no sockets in virtual time"):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(RuntimeError, match="no signals in virtual time"):
            loop.add_signal_handler(1, os.getpid)
        with pytest.raises(RuntimeError, match="no child processes in virtual time"):
            await asyncio.create_subprocess_exec("true")

    virtual_time.run(main())


def test_tasks_left_behind_are_cancelled() -> None:
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("cancelled")

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(linger())
        await asyncio.sleep(1)
        return task

    assert virtual_time.run(main()).cancelled()
    assert ended == ["cancelled"]


PROGRAM = """
import asyncio
from dolmen.simulation import virtual_time

async def main():
    order = []
    async def wait(number):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            order.append(number)
            raise
    async def fail():
        await asyncio.sleep(1)
        raise LookupError
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                ballast = [object() for _ in range(hash(str(number)) % 1000)]
                group.create_task(wait(number))
            group.create_task(fail())
    except* LookupError:
        pass
    return order

print(virtual_time.run(main()))
"""


def test_sets_of_tasks_are_walked_in_the_same_order_in_every_run() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
