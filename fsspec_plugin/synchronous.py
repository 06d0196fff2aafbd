"""How a synchronous caller has a coroutine run: in its own thread, else in the loop's.

What waits for calls to the namenode alone runs where it is called (`run_here`), once the namenode
was reached. All else crosses into the loop's thread and back. For that fsspec's own way makes two
futures, chained across the threads, and an event for each call: as much work as a call to the
namenode is. A lock that is released when the task is done does the same.
"""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fsspec.asyn import sync

from dolmen.client import loop_of_this_thread

T = TypeVar("T")


def staying(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """Return the synchronous twin of an async method that waits for the namenode alone."""

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> T:
        if "timeout" in kwargs:
            answer: T = sync(self.loop, method, self, *args, **kwargs)
        else:
            answer = self._call(lambda: method(self, *args, **kwargs))
        return answer

    return called


def crossing(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """Return the synchronous twin of any async method of a filesystem."""

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> T:
        loop = self.loop
        if "timeout" in kwargs:
            answer: T = sync(loop, method, self, *args, **kwargs)
            return answer
        return cross(loop, lambda: method(self, *args, **kwargs))

    return called


def cross(loop: asyncio.AbstractEventLoop | None, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what a coroutine on that loop returns, or raise what it raises."""
    if loop is None or runs_here(loop):
        answer: T = sync(loop, begin)  # which says why not
    else:
        answer = _Crossing(begin).wait(loop)
    return answer


def runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether we are in that loop's own thread.

    Who interrupts a coroutine that runs in another one (a finalizer, the handler of a signal) may
    have something done by that loop, and wait for it.
    """
    return asyncio._get_running_loop() is loop and loop_of_this_thread() is None


class _Crossing:
    """One call on its way to the loop and back."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._begin = begin
        self._done = threading.Lock()
        self._task: asyncio.Future[Any] | None = None

    def wait(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Return what the coroutine returns, or raise what it raises."""
        self._done.acquire()
        loop.call_soon_threadsafe(self._start, loop)
        try:
            self._done.acquire()
        except BaseException:  # an interrupt: what is under way fills a buffer of the caller's
            loop.call_soon_threadsafe(self._stop)
            raise
        assert self._task is not None
        return self._task.result()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = asyncio.ensure_future(self._begin(), loop=loop)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Future[Any]") -> None:
        if not task.cancelled():
            task.exception()  # told to who waits, if no interrupt took him away
        self._done.release()

    def _stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
