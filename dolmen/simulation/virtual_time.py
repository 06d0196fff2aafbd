"""An event loop whose clock jumps to the next timer instead of waiting.

Nothing outside the loop can wake it: there are no sockets, threads, signals or child processes, and
whatever asks for one is refused with a message. So a run is a function of its code and its seeds;
if nothing is ready and no timer is set, nothing ever will be, and that is reported as a deadlock.

Sets of tasks (TaskGroup, `asyncio.wait`) are walked in the order of their hashes, which are
addresses in asyncio. Here tasks and futures hash by serial number, so that order is the same in
every run. Timers that are due at one time go off in the order in which they were set.

The turns of a process that is paused or about to be struck (`sim_process`) are looked at one by
one; all others are taken as fast as Python can.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from dolmen.simulation.sim_process import SimProcess, owner_of

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CANCELLED_MAX = 1000
"""So many cancelled timers may lie in the heap, if they are less than half of it."""

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


class _Turn(asyncio.Handle):
    """Something to be done at once. Made more cheaply than asyncio does."""

    __slots__ = ()
    _context: Context

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(asyncio.TimerHandle):
    """Something to be done at its time."""

    __slots__ = ()
    _context: Context
    _scheduled: bool

    def __init__(
        self,
        when_s: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._when = when_s
        self._scheduled = True
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._serials = itertools.count(1)
        self._ready: deque[_Turn | _Timer] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._timers_set = itertools.count()
        self._timers_cancelled = 0
        self._watched: dict[SimProcess, None] = {}
        self.steps = 0
        """Turns of the loop so far: equal runs have taken equally many at equal times."""
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now_s

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> _Turn:
        turn = _Turn(callback, args, self, context)
        self._ready.append(turn)
        return turn

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> _Timer:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> _Timer:
        timer = _Timer(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._timers_set), timer))
        return timer

    # ------------------------------------------------------------ processes

    def pause(self, process: SimProcess) -> None:
        """Keep the turns of this process until it goes on."""
        process.paused = True
        self._watched[process] = None

    def go_on(self, process: SimProcess) -> None:
        """Let a paused process take the turns that were kept, before all others."""
        process.paused = False
        self._forget_if_idle(process)
        self._ready.extendleft(reversed(process.let_go()))

    def strike(self, process: SimProcess, turns: int, strike: Callable[[], object]) -> None:
        """Call `strike` between two turns of a process: after so many more."""

        def struck() -> None:
            self._forget_if_idle(process)
            strike()

        process.strike_before(turns, struck)
        self._watched[process] = None

    def spare(self, process: SimProcess) -> None:
        """Forget a strike that has not come yet."""
        process.forget_strike()
        self._forget_if_idle(process)

    def _forget_if_idle(self, process: SimProcess) -> None:
        if not process.watched:
            self._watched.pop(process, None)

    # ------------------------------------------------------------ turns

    def _run_once(self) -> None:
        """Take all turns that are due; let time pass if there are none."""
        self.steps += 1
        turns = self._ready
        if not turns:
            self._pass_time()
        for _ in range(len(turns)):
            turn = turns.popleft()
            if turn._cancelled or (self._watched and not self._may_take(turn)):
                continue
            if not turn._cancelled:  # by a strike just before it
                turn._run()

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
            self._timers_cancelled -= 1
        if not timers:
            raise SimulationDeadlock(self.story_of_deadlock())
        now_s = self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= now_s:
            timer = heappop(timers)[2]
            timer._scheduled = False
            if timer._cancelled:
                self._timers_cancelled -= 1
            else:
                self._ready.append(timer)

    def _may_take(self, turn: _Turn | _Timer) -> bool:
        process = owner_of(turn._context)
        return process is None or process not in self._watched or process.take_turn(turn)

    def _timer_handle_cancelled(self, handle: _Timer) -> None:
        if not handle._scheduled:
            return
        self._timers_cancelled += 1
        if self._timers_cancelled > max(CANCELLED_MAX, len(self._timers) // 2):
            self._timers[:] = [entry for entry in self._timers if not entry[2]._cancelled]
            heapify(self._timers)
            self._timers_cancelled = 0

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
