"""An event loop whose clock jumps to the next timer instead of waiting.

Nothing outside the loop can wake it: there are no sockets, threads, signals or child processes, and
whatever asks for one is refused with a message. So a run is a function of its code and its seeds;
if nothing is ready and no timer is set, nothing ever will be, and that is reported as a deadlock.

Sets of tasks (TaskGroup, `asyncio.wait`) are walked in the order of their hashes, which are
addresses in asyncio. Here tasks and futures hash by serial number, so that order is the same in
every run.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

WAITING_SHOWN = 10
"""Tasks named in the report of a deadlock; the first ones tell the story."""

OUTSIDE = {
    "sockets": (
        "add_reader",
        "add_writer",
        "create_connection",
        "create_datagram_endpoint",
        "create_server",
        "create_unix_connection",
        "create_unix_server",
        "getaddrinfo",
        "getnameinfo",
        "sendfile",
        "sock_accept",
        "sock_connect",
        "sock_recv",
        "sock_recv_into",
        "sock_sendall",
    ),
    "threads": ("run_in_executor", "set_default_executor"),
    "signals": ("add_signal_handler",),
    "child processes": (
        "connect_read_pipe",
        "connect_write_pipe",
        "subprocess_exec",
        "subprocess_shell",
    ),
}
"""What the loop refuses, and the methods by which code would ask for it."""


class SimulationDeadlock(RuntimeError):
    """Every task waits for something that can never come."""


class _SerialTask(asyncio.Task[Any]):
    def __init__(self, serial: int, coroutine: Any, **options: Any) -> None:
        self._serial = serial  # before the base class, which puts the task into a set
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._serial


class _SerialFuture(asyncio.Future[Any]):
    def __init__(self, serial: int, loop: asyncio.AbstractEventLoop) -> None:
        self._serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class _JumpingClock:
    """Stands where asyncio expects a selector: waiting for events is a jump of the clock."""

    def __init__(self, loop: "VirtualTimeLoop") -> None:
        self._loop = loop
        self.now_s = 0.0

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.steps += 1
        if timeout is None:
            raise SimulationDeadlock(self._loop.story_of_deadlock())
        self.now_s += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _JumpingClock(self)
        self._serials = itertools.count(1)
        self.steps = 0
        """Turns of the loop so far: equal runs have taken equally many at equal times."""
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._selector.now_s

    def create_future(self) -> asyncio.Future[Any]:
        return _SerialFuture(next(self._serials), self)

    def story_of_deadlock(self) -> str:
        """Return what the tasks are waiting for."""
        waiting = sorted(asyncio.all_tasks(self), key=hash)
        told = "; ".join(repr(task) for task in waiting[:WAITING_SHOWN])
        return f"deadlock at {self.time():.6f} s: no timer, nothing ready, waiting: {told}"

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        serial = next(self._serials)
        options.setdefault("name", f"task-{serial}")
        return _SerialTask(serial, coroutine, loop=loop, context=context, **options)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else is there to wake the loop."""


def _refusal(what: str, method: str) -> Callable[..., NoReturn]:
    def refuse(self: VirtualTimeLoop, *_: object, **__: object) -> NoReturn:
        raise RuntimeError(f"{method}: there are no {what} in virtual time; go through the ports")

    return refuse


for _what, _methods in OUTSIDE.items():
    for _method in _methods:
        setattr(VirtualTimeLoop, _method, _refusal(_what, _method))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time and return its result; cancel what it leaves behind."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
