"""Disk operations in virtual time: each is a generator that yields how long its next step takes.

As on threads, a few operations of a process run at once, the others wait; one that has begun runs
to its end, also if its caller is cancelled; only the death of its process stops it, between two
steps. No task is made for an operation: one timer for each of its steps is all that it costs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
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

    def run(self, device: SimDevice, steps: Steps[T]) -> "asyncio.Future[T]":
        """Do all steps, when a thread is free."""
        operation = _Operation(self, device, steps)
        if len(self._running) < THREADS:
            self._begin(operation)
        else:
            self._waiting.append(operation)
        return operation.future

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


class _Operation(Generic[T]):
    def __init__(self, threads: SimThreads, device: SimDevice, steps: Steps[T]) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self._threads = threads
        self._device = device
        self._steps = steps
        self._killed = False

    def kill(self) -> None:
        self._killed = True
        self._steps.close()
        self.future.cancel()

    def go_on(self) -> None:
        """Do the next step; a disk that hangs does it when it no longer does."""
        if self._killed:
            return
        if self._device.hangs:
            context = copy_context()
            self._device.parked.append(lambda: self._loop.call_soon(self.go_on, context=context))
            return
        try:
            lasts_s = next(self._steps)
        except StopIteration as stopped:
            self._threads.finished(self, None)
            if not self.future.done():
                self.future.set_result(stopped.value)
        except Exception as error:  # noqa: BLE001 - told to the caller, if there still is one
            self._threads.finished(self, error)
            if not self.future.done():
                self.future.set_exception(error)
        else:
            self._loop.call_later(lasts_s * self._device.slowness, self.go_on)
