"""Calls of threads that wait, each over a connection that it has for itself: a *line*.

A program that is not asynchronous would cross into the event loop's thread and back for each call:
three wake-ups, which cost more than the call (decision 0016). So its thread runs the coroutine of
the call itself (`run_here`), which then never waits for the loop: what it asks the namenode goes
over a line, and the thread sleeps in the receiving of the reply.

A line makes one attempt. Whoever gets no line, or nothing but "try again", goes on in the loop, as
the caller it was and with the number it had, so that it happens once (rule 7): how long a lost
namenode is borne, and what is known in the end, is told there and nowhere else.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dolmen.protocol.client_messages import MUTATIONS, ClientRequest
from dolmen.protocol.control_messages import ClientCall, Reply, decode_reply, encode_call
from dolmen.protocol.errors import DolmenError
from dolmen.runtime.transport import BlockingConnection

T = TypeVar("T")

LINES_MAX = 8
"""For one client: more threads than that find no core to run on; others go through the loop."""

IDLE_S = 30.0
"""So often is looked which lines were used since: a program that does not call may be done."""

REOPEN_AFTER_S = 1.0
"""After a line could not be opened: the loop finds out when the namenode is back."""


class _Thread(threading.local):
    """What this thread does."""

    loop: asyncio.AbstractEventLoop | None = None


_this_thread = _Thread()


def loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    """Return the loop for which this thread runs a coroutine; None if it does not."""
    return _this_thread.loop


def run_here(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing but calls to the namenode.

    It belongs to `loop`, which runs in another thread, and is told so if it asks.
    """
    outer = asyncio._get_running_loop()  # a notebook's
    try:  # an interrupt may come at any step
        _this_thread.loop = loop
        asyncio._set_running_loop(loop)
        coroutine.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    finally:
        _this_thread.loop = None
        asyncio._set_running_loop(outer)
    coroutine.close()
    raise RuntimeError(f"{coroutine} waits for more than the namenode")


class Line:
    """A connection, and who calls over it: nobody else uses its numbers."""

    def __init__(self, connection: BlockingConnection, client_id: bytes) -> None:
        self.connection = connection
        self.client_id = client_id
        self.was_used = True
        self._last_number = 0

    def sign(self, user: str, request: ClientRequest) -> ClientCall:
        """Return a call with a number that is not drawn again."""
        if type(request) not in MUTATIONS:
            return ClientCall(self.client_id, 0, user, request)
        self._last_number += 1
        return ClientCall(self.client_id, self._last_number, user, request)


class Lines:
    """The lines of one client; any thread may ask for one."""

    def __init__(self, open_line: Callable[[], Line]) -> None:
        self._open_line = open_line
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._count = 0
        self._not_before_s = 0.0
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self, loop: asyncio.AbstractEventLoop) -> Line | None:
        """Return a line that nobody else uses until it was asked; None if there is none."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._closed or self._count == LINES_MAX or loop.time() < self._not_before_s:
                return None
            self._count += 1
        try:
            line = self._open_line()
        except BaseException as error:
            with self._lock:
                self._count -= 1
                self._not_before_s = loop.time() + REOPEN_AFTER_S
            if isinstance(error, DolmenError):
                return None
            raise
        loop.call_soon_threadsafe(self._look_later, loop)
        return line

    def ask(self, line: Line, call: ClientCall, patience_s: float) -> Reply:
        """Return the reply to one call, or raise the error it carries; PeerLost: none has come.

        The line is given back with it.
        """
        try:
            reply = line.connection.call(encode_call(call), patience_s)
        except BaseException:  # its reply may still come
            self._drop(line)
            raise
        self._give_back(line)
        return decode_reply(reply)

    def close(self) -> None:
        """Close all; those in use when they are given back."""
        if self._looking is not None:
            self._looking.cancel()
        with self._lock:
            self._closed = True
            unused, self._idle = self._idle, []
        for line in unused:
            self._drop(line)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._looking is None and self._count and not self._closed:
            self._looking = loop.call_later(IDLE_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what was not used since we looked last."""
        self._looking = None
        with self._lock:
            unused = [line for line in self._idle if not line.was_used]
            self._idle = [line for line in self._idle if line.was_used]
            for line in self._idle:
                line.was_used = False
        for line in unused:
            self._drop(line)
        self._look_later(loop)

    def _give_back(self, line: Line) -> None:
        line.was_used = True
        with self._lock:
            if not self._closed:
                self._idle.append(line)
                return
        self._drop(line)

    def _drop(self, line: Line) -> None:
        line.connection.close()
        with self._lock:
            self._count -= 1
