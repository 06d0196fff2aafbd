"""Both ends of a control connection: calls that are answered, and calls that are made.

The server answers what waits for nothing in the turn in which it came, and begins a task only for
what has to wait. It takes nothing more from a connection that has too much in flight (rule 26), so
a caller that floods it waits in its own deadline; and one that does not take its replies gets no
more of them. A peer that vanishes without closing is found by TCP itself (keepalive, user timeout).
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.runtime.control_link import ControlLink
from dolmen.runtime.transport import Session
from dolmen.runtime.upgrades import CONTROL, switching

logger = logging.getLogger(__name__)

CALLS_LIMIT = 256
CALL_BYTES_LIMIT = 8 * 1024 * 1024
"""In flight on one connection (rule 26): what one caller may hold of a server's memory and turn."""

TURN_CALLS = 64
TURN_S = 0.001
"""What is taken from one connection before all others get their turn: a caller that floods us fills
the pauses of others, and not more than some milliseconds of each."""

UNTAKEN_LIMIT_BYTES = 256 * 1024
"""Of calls that wait until others are answered; beyond that nothing is read, so that the end of the
connection may be seen late."""

FAREWELL_S = 0.5
"""How long what was sent may take to go out when a connection is closed."""


@dataclass(frozen=True)
class Watch:
    """Whom a served connection tells what comes."""

    received: Callable[[int], None]  # so many bytes, of which there may be no call yet
    heard: Callable[[], None]  # calls have come whole


async def serve_control(
    request: web.BaseRequest, open_session: Callable[[], Session], watch: Watch
) -> None:
    """Serve one control connection until it ends."""
    transport = request.transport
    if transport is None:
        return
    transport.write(switching(CONTROL))
    session = open_session()
    calls = _Calls((transport, request.protocol), session, watch)
    try:
        await calls.ended.wait()
    finally:
        try:
            await calls.stop()
        finally:
            session.closed()


class _Calls:
    """The calls of one connection that are being answered."""

    def __init__(
        self, connection: tuple[asyncio.Transport, RequestHandler], session: Session, watch: Watch
    ) -> None:
        self.ended = asyncio.Event()
        self._link = ControlLink(connection, self)
        self._session = session
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Future[bytes]] = set()
        self._bytes = 0
        self._next_turn: asyncio.Handle | None = None

    def arrived(self, length_bytes: int) -> None:
        self._watch.received(length_bytes)
        if self._next_turn is None:
            self._turn()

    def uncrammed(self) -> None:
        self._go_on()

    def lost(self) -> None:
        self.ended.set()

    def _go_on(self) -> None:
        """Take calls again in a turn to come."""
        if self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Start some of the calls that have come, and see to it that the others follow."""
        self._next_turn = None
        self._link.gather()
        more = self._start_some()
        self._link.flush()
        if more:
            self._go_on()
        if (more or self._full()) and self._link.untaken_bytes >= UNTAKEN_LIMIT_BYTES:
            self._link.hold()
        else:
            self._link.release()

    def _start_some(self) -> bool:
        """Return whether this turn is over before there are no more calls that may be taken."""
        until_s = self._loop.time() + TURN_S
        for taken in range(TURN_CALLS):
            if self._full():
                return False
            message = self._link.take()
            if message is None:
                return False
            if not taken:
                self._watch.heard()
            self._start(*message)
            if self._loop.time() >= until_s:
                break
        return True

    def _full(self) -> bool:
        return (
            len(self._running) >= CALLS_LIMIT
            or self._bytes >= CALL_BYTES_LIMIT
            or self._link.crammed
        )

    def _start(self, number: int, payload: bytes) -> None:
        try:
            reply = self._session.answer(payload)
        except Exception as error:  # noqa: BLE001 - as that of a task, whatever it is
            self._fail(error)
            return
        if isinstance(reply, bytes):
            self._reply(number, reply)
            return
        answering = asyncio.ensure_future(reply)
        self._running.add(answering)
        self._bytes += len(payload)
        answering.add_done_callback(lambda done: self._finish(done, number, len(payload)))

    def _finish(self, done: "asyncio.Future[bytes]", number: int, length_bytes: int) -> None:
        was_full = self._full()
        self._running.discard(done)
        self._bytes -= length_bytes
        if was_full:
            self._go_on()
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            self._fail(error)
            return
        self._reply(number, done.result())
        if not self._running:  # nothing else is about to be sent with it
            self._link.flush()

    def _reply(self, number: int, reply: bytes) -> None:
        if len(reply) > MESSAGE_LIMIT_BYTES:
            self._fail(ValueError(f"a reply of {len(reply)} bytes is over {MESSAGE_LIMIT_BYTES}"))
        else:
            self._link.send(number, reply)

    def _fail(self, error: BaseException) -> None:
        logger.error("a control call failed; its connection is closed", exc_info=error)
        self._link.close()

    async def stop(self) -> None:
        """Close, cancel what still runs, and wait for it."""
        self._link.close()
        if self._next_turn is not None:
            self._next_turn.cancel()
        for answering in self._running:
            answering.cancel()
        if self._running:
            await asyncio.wait(self._running)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call without its reply."""

    reply: "asyncio.Future[bytes | PeerLost]"
    due_s: float
    timeout_s: float


class HttpConnection:
    """The client's side of one control connection."""

    def __init__(self, response: aiohttp.ClientResponse, address: str) -> None:
        connection = response.connection
        assert connection is not None
        assert connection.protocol is not None
        assert connection.transport is not None
        self._response = response
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._link = ControlLink((connection.transport, connection.protocol), self)

    async def call(self, payload: bytes, timeout_s: float) -> bytes:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise InvalidRequest(
                f"a message of {len(payload)} bytes is over the limit of {MESSAGE_LIMIT_BYTES}"
            )
        if self._link.ended:
            raise PeerLost(f"the connection to {self._address} is closed")
        number = next(self._numbers)
        waiting = _Waiting(self._loop.create_future(), self._loop.time() + timeout_s, timeout_s)
        self._waiting[number] = waiting
        self._expire_at(waiting.due_s)
        try:
            self._link.send(number, payload)
            reply = await waiting.reply
        finally:
            del self._waiting[number]
        if isinstance(reply, PeerLost):
            raise reply
        return reply

    async def wait_closed(self) -> None:
        await asyncio.wait([self.ended])

    async def close(self) -> None:
        self._link.close()
        await asyncio.wait([self.ended], timeout=FAREWELL_S)
        self._link.abort()
        await self.wait_closed()

    def abort(self) -> None:
        """End at once, without a farewell."""
        self._link.abort()

    def arrived(self, length_bytes: int) -> None:
        while (message := self._link.take()) is not None:
            number, reply = message
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.reply.done():
                waiting.reply.set_result(reply)

    def uncrammed(self) -> None:
        """Nobody waited: as many messages are unsent as there are callers."""

    def lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._waiting.values():
            if not waiting.reply.done():
                waiting.reply.set_result(PeerLost(f"the connection to {self._address} broke"))
        self._response.close()
        self.ended.set_result(None)

    def _expire_at(self, due_s: float) -> None:
        """One timer serves all calls: it is set for the first that will be late."""
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due_s, self._expire, due_s)

    def _expire(self, now_s: float) -> None:
        self._timer = None
        left = [one for one in self._waiting.values() if not one.reply.done()]
        for late in [one for one in left if one.due_s <= now_s]:
            error = f"{self._address} did not answer within {late.timeout_s:g} s"
            late.reply.set_result(PeerLost(error))
        dues_s = [one.due_s for one in left if one.due_s > now_s]
        if dues_s:
            self._expire_at(min(dues_s))
