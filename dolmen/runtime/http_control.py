"""Control connections over aiohttp's WebSocket: numbered calls, many in flight, replies in any
order.

A frame is an 8-byte big-endian call number and the payload; a reply carries the number of its call.
The server pauses reading while a connection has too much in flight (rule 26), so a caller that
floods it waits in its own deadline. A peer that vanishes without closing is found by TCP itself
(keepalive, user timeout): unlike WebSocket pings these are answered while reading is paused.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable

import aiohttp
from aiohttp import web

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.runtime.http_bodies import LOST
from dolmen.runtime.transport import Session

logger = logging.getLogger(__name__)

NUMBER_BYTES = 8

FRAME_LIMIT_BYTES = 2 * MESSAGE_LIMIT_BYTES
"""aiohttp drops a connection on a longer frame; senders refuse far shorter ones themselves."""

CALLS_LIMIT = 256
CALL_BYTES_LIMIT = 8 * 1024 * 1024
"""In flight on one connection (rule 26): what one caller may hold of a server's memory and turn."""

TURN_CALLS = 16
"""Calls taken from one connection before all others get their turn: a caller that floods us fills
the pauses of others, and not more than some milliseconds of each."""

FAREWELL_S = 0.5
"""How long the closing handshake may take; nothing depends on it."""

GONE_AFTER_S = 30
"""Unanswered keepalives, or bytes that nobody takes, for so long end a connection: longer than a
network hiccup, shorter than anybody waits for a machine that has lost its power."""


def find_dead_peers(own: socket.socket | None) -> None:
    """Let TCP notice that the peer's machine is gone."""
    if own is None:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE_AFTER_S // 2)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, GONE_AFTER_S // 6)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_S * 1000)


async def serve_control(
    request: web.BaseRequest,
    open_session: Callable[[], Session],
    changed: asyncio.Event,
    heard: Callable[[], None],
) -> web.StreamResponse:
    """Serve one control connection until it ends.

    `changed` is to be set when the connection is lost: nobody reads while too much is in flight.
    `heard` is called for each call that has come whole.
    """
    websocket = web.WebSocketResponse(
        compress=False, max_msg_size=FRAME_LIMIT_BYTES, timeout=FAREWELL_S
    )
    await websocket.prepare(request)
    find_dead_peers(request.get_extra_info("socket"))
    session = open_session()
    calls = _Calls(websocket, session, changed)
    try:
        await calls.take(request, heard)
    finally:
        try:
            await calls.stop()
        finally:
            session.closed()
    await websocket.close()
    return websocket


class _Calls:
    """The calls of one connection that are being answered."""

    def __init__(
        self, websocket: web.WebSocketResponse, session: Session, changed: asyncio.Event
    ) -> None:
        self._websocket = websocket
        self._session = session
        self._changed = changed
        self._running: set[asyncio.Task[None]] = set()
        self._bytes = 0

    async def take(self, request: web.BaseRequest, heard: Callable[[], None]) -> None:
        """Start calls as they come, within the limits, until the connection ends."""
        turn = itertools.count(1)
        async for message in self._websocket:
            if message.type is not aiohttp.WSMsgType.BINARY or len(message.data) < NUMBER_BYTES:
                return
            heard()
            self._start(message.data)
            if next(turn) % TURN_CALLS == 0:
                await asyncio.sleep(0)
            while self._full() and request.transport is not None:
                self._changed.clear()
                await self._changed.wait()
            if request.transport is None:  # nobody waits for what is left
                return

    def _full(self) -> bool:
        return len(self._running) >= CALLS_LIMIT or self._bytes >= CALL_BYTES_LIMIT

    def _start(self, frame: bytes) -> None:
        task = asyncio.create_task(self._answer(frame))
        self._running.add(task)
        self._bytes += len(frame)
        task.add_done_callback(lambda done: self._finish(done, len(frame)))

    def _finish(self, task: asyncio.Task[None], length_bytes: int) -> None:
        self._running.discard(task)
        self._bytes -= length_bytes
        self._changed.set()

    async def _answer(self, frame: bytes) -> None:
        try:
            reply = await self._session.answer(frame[NUMBER_BYTES:])
            if len(reply) > MESSAGE_LIMIT_BYTES:
                raise ValueError(f"a reply of {len(reply)} bytes is over {MESSAGE_LIMIT_BYTES}")
            await self._websocket.send_bytes(frame[:NUMBER_BYTES] + reply)
        except LOST:
            return  # the connection is gone, and `take` knows
        except Exception:
            logger.exception("a control call failed; its connection is closed")
            await self._websocket.close(code=aiohttp.WSCloseCode.INTERNAL_ERROR)

    async def stop(self) -> None:
        """Cancel what still runs, and wait for it."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)


class HttpConnection:
    """The client's side of one control connection."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, address: str) -> None:
        self._websocket = websocket
        self._address = address
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._lost = False
        find_dead_peers(websocket.get_extra_info("socket"))
        self.ended = asyncio.create_task(self._take_replies())

    async def call(self, payload: bytes, timeout_s: float) -> bytes:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise InvalidRequest(
                f"a message of {len(payload)} bytes is over the limit of {MESSAGE_LIMIT_BYTES}"
            )
        if self._lost:
            raise PeerLost(f"the connection to {self._address} is closed")
        number = next(self._numbers)
        waiting: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            async with asyncio.timeout(timeout_s):
                await self._websocket.send_bytes(number.to_bytes(NUMBER_BYTES, "big") + payload)
                reply = await waiting
        except TimeoutError:
            raise PeerLost(f"{self._address} did not answer within {timeout_s:g} s") from None
        except LOST as error:
            raise PeerLost(f"the connection to {self._address} broke: {error}") from error
        finally:
            del self._waiting[number]
        if reply is None:
            raise PeerLost(f"the connection to {self._address} broke")
        return reply

    async def wait_closed(self) -> None:
        await asyncio.wait([self.ended])

    async def close(self) -> None:
        if not self._lost:
            await self._websocket.close()
        await self.wait_closed()

    def abort(self) -> None:
        """End at once, without a farewell."""
        self.ended.cancel()

    async def _take_replies(self) -> None:
        try:
            async for message in self._websocket:
                if message.type is not aiohttp.WSMsgType.BINARY or len(message.data) < NUMBER_BYTES:
                    break
                reply = self._waiting.get(int.from_bytes(message.data[:NUMBER_BYTES], "big"))
                if reply is not None and not reply.done():
                    reply.set_result(message.data[NUMBER_BYTES:])
        except LOST as error:
            logger.debug("the connection to %s broke: %s", self._address, error)
        finally:
            self._lost = True
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_result(None)
            await self._websocket.close()
