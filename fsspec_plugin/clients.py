"""One client for each event loop of this process, ended with its loop.

A connection belongs to the loop it was made on, and fsspec hands one filesystem to many: its own
thread's loop to all synchronous callers, and whichever loop runs to asynchronous ones. A client's
life is an asynchronous generator, because loops know how to end those: `asyncio.run` closes them
last. After a fork the child forgets the parent's clients and never closes them: the sockets, and
the poll set they are registered in, are shared with the parent.
"""

import asyncio
import atexit
import contextlib
import ctypes
import os
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent import futures
from dataclasses import dataclass

from dolmen.client import AppendWriter, Client, Writer

FileWriter = Writer | AppendWriter

TRANSFERS_MAX = 16
"""Whole files moved at once per client: fsspec starts a hundred and more, each with buffers."""

FAREWELL_S = 1.0
"""How long the end of the interpreter waits for connections to close; nothing depends on it."""

_all: "weakref.WeakSet[Clients]" = weakref.WeakSet()
_endings: set["asyncio.Task[None]"] = set()


@dataclass(frozen=True)
class Connected:
    """A client in use, the turns for moving whole files with it, and who still writes."""

    client: Client
    transfers: asyncio.Semaphore
    writers: "weakref.WeakSet[FileWriter]"
    lifetime: AsyncGenerator[None, None]


OfLoop = dict[asyncio.AbstractEventLoop, Connected]


class Clients:
    """The clients of one filesystem; they end with it."""

    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._open_client = open_client
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._of_loop: OfLoop = {}
        # Held from outside: in one heap of garbage with us, sessions would complain to be unclosed.
        self._ending = weakref.finalize(self, _end_soon, self._of_loop, self._pid)
        self._ending.atexit = False

    async def get(self) -> Connected:
        """Return the running loop's client; it connects at its first call."""
        self._forget_what_is_gone()
        loop = asyncio.get_running_loop()
        if loop not in self._of_loop:
            client, turns = self._open_client(), asyncio.Semaphore(TRANSFERS_MAX)
            writers: weakref.WeakSet[FileWriter] = weakref.WeakSet()
            lifetime = _live(client, writers, self._of_loop)
            await anext(lifetime)
            self._of_loop[loop] = Connected(client, turns, writers, lifetime)
        return self._of_loop[loop]

    def reached(self, loop: asyncio.AbstractEventLoop) -> Client | None:
        """Return a loop's client, asked from any thread, once it has reached its namenode."""
        connected = self._of_loop.get(loop) if self._pid == os.getpid() else None
        return connected.client if connected and connected.client.was_reached else None

    async def close(self) -> None:
        """Close the running loop's client, if it has one."""
        self._forget_what_is_gone()
        if connected := self._of_loop.get(asyncio.get_running_loop()):
            await connected.lifetime.aclose()

    def say_farewell(self) -> list["futures.Future[None]"]:
        """Begin to close the clients whose loops run in other threads."""
        self._forget_what_is_gone()
        return [
            asyncio.run_coroutine_threadsafe(_end(connected), loop)
            for loop, connected in list(self._of_loop.items())
            if loop.is_running()
        ]

    def _forget_what_is_gone(self) -> None:
        if self._pid != os.getpid():
            self._ending()
            self._begin()
        for loop in [loop for loop in self._of_loop if loop.is_closed()]:
            del self._of_loop[loop]


async def _live(
    client: Client, writers: "weakref.WeakSet[FileWriter]", of_loop: OfLoop
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        of_loop.pop(asyncio.get_running_loop(), None)
        await asyncio.gather(*(writer.abandon() for writer in list(writers)))
        await client.close()


def _end_soon(of_loop: OfLoop, pid: int) -> None:
    """End what a filesystem that is garbage used, and wait for nothing."""
    if pid != os.getpid():
        keep_for_ever(of_loop)
        return
    for loop, connected in list(of_loop.items()):
        if loop.is_running():
            loop.call_soon_threadsafe(_begin_to_end, connected)


def keep_for_ever(inherited: object) -> None:
    """Keep what a fork brought along from being taken apart, even at the end of the interpreter.

    Its finalizers would close transports, and with them take the parent's sockets out of the poll
    set, and complain of tasks that never ended. No container is cleared later than all else, so
    this is a reference that nobody holds.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _begin_to_end(connected: Connected) -> None:
    task = asyncio.ensure_future(_end(connected))
    _endings.add(task)
    task.add_done_callback(_endings.discard)


async def _end(connected: Connected) -> None:
    # At the end of the interpreter the loop can no longer start threads, which is a RuntimeError.
    with contextlib.suppress(RuntimeError, OSError):
        await connected.lifetime.aclose()


@atexit.register
def _say_farewell() -> None:
    ending = [future for clients in list(_all) for future in clients.say_farewell()]
    futures.wait(ending, timeout=FAREWELL_S)
