"""Steps that must not stop in the middle because somebody who waited for them went away.

A peer that hangs up cancels its exchange; a write, a finalize or a restamp that is under way goes
on to its end all the same, under the gate of its replica. Only the end of the datanode itself cuts
it short.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from dolmen.protocol.errors import TryAgain

T = TypeVar("T")

LOG = logging.getLogger("datanode")


class Work:
    """The owner of all steps under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut_short = False
        self._finishing = False

    def start(self, step: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin `step`; whoever waits for it shields it, and says so when he does no more
        (`let_go`). TryAgain when the datanode stops: an exchange whose peer is slow may outlast
        the files it would need."""
        if self._cut_short or self._finishing:
            step.close()
            raise asyncio.CancelledError if self._cut_short else TryAgain("this datanode stops")
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Run `step` to its end, also if the caller is cancelled meanwhile."""
        task = self.start(step)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            let_go(task)
            raise

    def cancel(self) -> None:
        """Cut everything short: the datanode has been killed."""
        self._cut_short = True
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for the steps under way: the datanode stops, and nobody begins another one."""
        self._finishing = True
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)


def let_go(step: "asyncio.Task[Any]") -> None:
    """Nobody waits for a step any more, or will hear how it ends."""
    step.add_done_callback(_log_failure)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        LOG.warning("a step under way failed: %s", task.exception())
