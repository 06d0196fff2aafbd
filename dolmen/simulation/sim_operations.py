"""Disk operations in virtual time: each is a generator that yields how long its next step takes.

As on threads, a few operations of a process run at once, the others wait; one that has begun runs
to its end, also if its caller is cancelled; only the death of its process stops it, between two
steps. No task is made for an operation: one timer for each of its steps is all that it costs.

What is done in one go is an operation too: a coroutine whose awaits are the steps of the operations
that it awaits.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dolmen.simulation.sim_device import SimDevice

T = TypeVar("T")

THREADS = 4
"""Operations that run at once, as on the real disk."""

Steps = Generator[float, None, T]
"""What is done, step by step: yields the seconds that pass before the next one is done."""


@dataclass(frozen=True)
class DiskTimes:
    """How long operations take."""

    operation_s: float = 20e-6
    sync_s: float = 200e-6
    bytes_per_s: float = 1e9

    def transfer_s(self, size_bytes: int) -> float:
        """Return how long so many bytes take."""
        return self.operation_s + size_bytes / self.bytes_per_s

    @property
    def lasting_s(self) -> float:
        """How long making something last takes."""
        return self.operation_s + self.sync_s


class SimThreads:
    """The threads of one process for one disk."""

    def __init__(self, done: Callable[[Exception | None], None]) -> None:
        self._done = done
        self._running: dict[_Operation[Any], None] = {}
        self._waiting: deque[_Operation[Any]] = deque()
        self._here: _Operation[Any] | None = None

    @property
    def are_here(self) -> bool:
        """Whether the code that asks runs on one of them, as a part of what is done in one go."""
        return self._here is not None

    def run(self, device: SimDevice, steps: Steps[T]) -> Awaitable[T]:
        """Do all steps: when a thread is free, or at once on the thread that asks."""
        if self._here is not None:
            self._here.device = device
            return _Part(steps)
        return self._submit(_Operation(self, device, steps))

    def run_through(self, operations: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """Do all operations on one thread, when it is free; each brings its own device."""
        return self._submit(_Operation(self, SimDevice(), operations))

    def _submit(self, operation: "_Operation[T]") -> "asyncio.Future[T]":
        if len(self._running) < THREADS:
            self._begin(operation)
        else:
            self._waiting.append(operation)
        return operation.future

    def next_step(self, operation: "_Operation[Any]") -> float:
        """Go on with an operation; return how long its next step takes, or raise what ends it."""
        self._here = operation
        try:
            return operation.next_step()
        finally:
            self._here = None

    def kill(self) -> None:
        """The process has died: what runs stops where it is."""
        operations = [*self._running, *self._waiting]
        self._running.clear()
        self._waiting.clear()
        for operation in operations:
            operation.kill()

    def finished(self, operation: "_Operation[Any]", error: Exception | None) -> None:
        """A thread is free again."""
        self._running.pop(operation, None)
        self._done(error)
        if self._waiting:
            self._begin(self._waiting.popleft())

    def _begin(self, operation: "_Operation[Any]") -> None:
        self._running[operation] = None
        operation.go_on()


class _Part(Generic[T]):
    """The steps of one operation among those that are done in one go."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps

    def __await__(self) -> Steps[T]:
        return self._steps


class _Operation(Generic[T]):
    def __init__(
        self, threads: SimThreads, device: SimDevice, steps: Steps[T] | Coroutine[Any, Any, T]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self.device = device
        self._threads = threads
        self._steps = steps
        self._killed = False

    def kill(self) -> None:
        self._killed = True
        with suppress(asyncio.CancelledError):  # of what it would do on its way out
            self._steps.close()
        self.future.cancel()

    def next_step(self) -> float:
        lasts_s = self._steps.send(None)
        if not isinstance(lasts_s, float):
            self._steps.close()
            raise RuntimeError("what is done in one go awaits something that is no operation")
        return lasts_s

    def go_on(self) -> None:
        """Do the next step; a disk that hangs does it when it no longer does."""
        if self._killed:
            return
        if self.device.hangs:
            context = copy_context()
            self.device.parked.append(lambda: self._loop.call_soon(self.go_on, context=context))
            return
        try:
            lasts_s = self._threads.next_step(self)
        except StopIteration as stopped:
            self._threads.finished(self, None)
            if not self.future.done():
                self.future.set_result(stopped.value)
        except Exception as error:  # noqa: BLE001 - told to the caller, if there still is one
            self._threads.finished(self, error)
            if not self.future.done():
                self.future.set_exception(error)
        else:
            self._loop.call_later(lasts_s * self.device.slowness, self.go_on)
