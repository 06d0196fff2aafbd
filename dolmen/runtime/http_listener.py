"""The serving half of the HTTP transport: one port, `/rpc` for control and `/blocks/...` for bulk.

Requests are refused before anything else is looked at when a web page may be behind them (rule 32):
an `Origin` that is not our own, or a `Host` that is no name of ours. A body is sent and read under
a progress deadline. While a request's body is still arriving, the loss of the peer shows in reading
it; after that, it cancels the exchange. Who may stay connected is decided by `crowd`.
"""

import asyncio
import base64
import binascii
import logging
import socket
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from dolmen.protocol.errors import DolmenError, PeerLost
from dolmen.protocol.identifiers import format_address
from dolmen.runtime.bodies import Progress, SourceFailed
from dolmen.runtime.crowd import Crowd, CrowdLimits, Doing
from dolmen.runtime.descriptors import descriptor_limit
from dolmen.runtime.http_bodies import (
    FIELD_LIMIT_BYTES,
    HEAD_HEADER,
    LOST,
    READ_BUFFER_BYTES,
    ReceivedBody,
    send_body,
)
from dolmen.runtime.http_control import Watch, asks_for_control, serve_control
from dolmen.runtime.http_status import PATHS, status_page
from dolmen.runtime.listening_sockets import BACKLOG, listening_socket, reset
from dolmen.runtime.metrics import Status
from dolmen.runtime.transport import Incoming, Outgoing, Service

logger = logging.getLogger(__name__)

IDLE_S = 60.0
"""Longer than any client keeps a pooled connection, so that it is the client that closes it."""

FRESH_S = 10.0
"""Until the first request, or the first call, has come whole: far longer than an honest peer needs,
short enough that a thousand dripping ones are soon gone."""

SWEEP_S = 1.0
"""How often silent connections are looked for."""

SWEEP_LIMIT = 200
"""So many are reset at a time: some milliseconds, then others get their turn."""

HEADERS_LIMIT = 64
"""Header fields of a request; ours have ten."""

UNREAD_LIMIT_BYTES = 64 * 1024 * 1024
"""Of half heads and half frames, all connections together: sixty reports on their way at once."""

LINGER_S = 1.0
"""How long the rest of a body is read and dropped after an early answer: a connection reset before
the peer has read the answer would take the answer with it. The peer stops as soon as it has it."""

CLOSE_S = 0.6
"""What control connections get to close in, then exchanges to end in, then once more to be
cancelled in: no more than 2 s in all, which a user waits for."""

CONNECTIONS_LIMIT = 10_000
"""More peers than one process can serve well."""

DESCRIPTOR_SHARE = 0.75
"""Of the descriptors that the process may have, for connections; the rest is for files."""


@dataclass(frozen=True)
class Served:
    """What a listener shows, and how long it waits for a peer that makes no progress."""

    service: Service
    status: Status | None
    stall_s: float


async def listen(
    served: Served, address: tuple[str, int], own_hosts: Iterable[str]
) -> "HttpListener":
    """Serve on (host, port); StartRefused if that cannot be."""
    host, port = address
    sockets = await listening_socket(host, port)
    bound_port = sockets.getsockname()[1]
    names = {host.lower(), "localhost", socket.gethostname().lower(), *map(str.lower, own_hosts)}
    listener = HttpListener(served, format_address(host, bound_port), names)
    await listener.start(sockets)
    return listener


class _Connection(RequestHandler):
    """aiohttp's side of a connection, which also tells how much arrives."""

    def __init__(self, server: "_Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = server.listener

    def data_received(self, data: bytes) -> None:
        self._listener.received(self, len(data))
        super().data_received(data)

    def log_exception(self, *args: Any, **details: Any) -> None:
        """What is no HTTP is no event of ours: strangers must not fill the log."""
        if isinstance(details.get("exc_info"), HttpProcessingError):
            self._listener.crowd.unreadable += 1
        else:
            super().log_exception(*args, **details)


class _Server(web.Server):
    """aiohttp's server, which also tells when a connection comes and goes."""

    def __init__(self, listener: "HttpListener") -> None:
        self.listener = listener
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": IDLE_S * 2,  # `crowd` comes first
            "lingering_time": LINGER_S,
            "read_bufsize": READ_BUFFER_BYTES,
            "max_field_size": FIELD_LIMIT_BYTES,
            "max_headers": HEADERS_LIMIT,
            "auto_decompress": False,
        }
        super().__init__(listener.handle)

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.listener.connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.listener.connection_lost(handler)


class _PeerGone(PeerLost):
    """Whoever asked does not wait for the answer: a reader that is cancelled. It is no event."""


class HttpListener:
    """A service that listens on one port."""

    def __init__(self, served: Served, address: str, names: set[str]) -> None:
        self.address = address
        self._served = served
        self._names = names
        allowed = min(CONNECTIONS_LIMIT, int(descriptor_limit() * DESCRIPTOR_SHARE))
        self.crowd = Crowd(CrowdLimits(allowed, UNREAD_LIMIT_BYTES, FRESH_S, IDLE_S))
        self._clock = asyncio.get_running_loop().time
        self._sweeping: asyncio.TimerHandle | None = None
        self._http = _Server(self)
        self._accepting: asyncio.Server | None = None
        self._exchanges: dict[object, tuple[asyncio.Task[None], ReceivedBody]] = {}
        self._lingering: dict[object, aiohttp.StreamReader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._controls: set[asyncio.Task[None]] = set()
        self._ended = False

    async def start(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._accepting = await loop.create_server(self._http, sock=listening, backlog=BACKLOG)
        self._sweep()

    async def close(self) -> None:
        if self._accepting is None:
            return
        self._stop_accepting()
        self._http.pre_shutdown()
        for control in self._controls:
            control.cancel()
        if self._controls:
            await asyncio.wait(self._controls, timeout=CLOSE_S)
        await self._http.shutdown(CLOSE_S)

    def abort(self) -> None:
        self._stop_accepting()
        for task in self._tasks:
            task.cancel()
        for handler in self._http.connections:
            if handler.transport is not None:
                reset(handler.transport)

    def _stop_accepting(self) -> None:
        self._ended = True
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _sweep(self) -> None:
        """Reset who has been silent for too long, now and ever again."""
        silent = self.crowd.overdue(self._clock(), SWEEP_LIMIT)
        for connection in silent:
            _reset_connection(connection)
        pause_s = SWEEP_S if len(silent) < SWEEP_LIMIT else SWEEP_S / 20
        self._sweeping = asyncio.get_running_loop().call_later(pause_s, self._sweep)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Reset what was accepted while the listener ended, or who has to go for this one."""
        if self._ended:
            reset(transport)
        else:
            _reset_connection(self.crowd.came(handler, self._clock()))

    def received(self, handler: RequestHandler, length_bytes: int) -> None:
        """Bytes have arrived; too many that make no sense yet cost a connection."""
        _reset_connection(self.crowd.received(handler, length_bytes))

    def connection_lost(self, handler: RequestHandler) -> None:
        """The peer is gone: nobody waits for the answer, and no rest of its body will come."""
        self.crowd.gone(handler)
        lingering = self._lingering.pop(handler, None)
        if lingering is not None:
            lingering.feed_eof()
        task, body = self._exchanges.get(handler, (None, None))
        if task is not None and body is not None and body.complete:
            task.cancel()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request: the one place where a path means something."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            refusal = self._refuse_strangers(request)
            if refusal is not None:
                return refusal
            if request.path == "/rpc":
                return await self._control(request, task)
            self._does(request, Doing.BUSY)
            if request.path in PATHS and self._served.status is not None:
                return status_page(request, self._served.status, self.crowd)
            if request.path.startswith("/blocks/"):
                return await self._exchange(request, task)
            return _plain(404, "there is nothing at this path")
        finally:
            self._tasks.discard(task)
            if request.content.is_eof():  # otherwise the rest is dropped, then it is closed
                self._does(request, Doing.IDLE)

    def _does(self, request: web.BaseRequest, doing: Doing) -> None:
        if request.transport is not None:
            self.crowd.becomes(request.protocol, doing, self._clock())

    def _refuse_strangers(self, request: web.BaseRequest) -> web.Response | None:
        host = request.headers.get(hdrs.HOST, "")
        if not self._is_own_host(host, request):
            return _plain(403, f"{host!r} is not an address of this daemon")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return _plain(403, "requests of other web pages are refused")
        return None

    def _is_own_host(self, host: str, request: web.BaseRequest) -> bool:
        """A name is ours only if we know it; an address, also if the request came in on it."""
        name, colon, port = host.lower().rpartition(":")
        if not colon or not port.isdigit():
            name = host.lower()
        name = name.strip("[]")
        if name in self._names:
            return True
        own = request.get_extra_info("sockname")
        return own is not None and name == own[0]

    async def _control(
        self, request: web.BaseRequest, task: asyncio.Task[None]
    ) -> web.StreamResponse:
        if not asks_for_control(request):
            return _plain(426, "this is where control connections begin")
        self._does(request, Doing.FRESH)  # until it has said something
        self._controls.add(task)
        watch = Watch(
            received=partial(self.received, request.protocol),
            heard=partial(self._does, request, Doing.TALKING),
        )
        open_session = partial(self._served.service.open_session, request.remote or "")
        try:
            await serve_control(request, open_session, watch)
        finally:
            self._controls.discard(task)
        return _broken_off(request)  # HTTP is over on this connection

    async def _exchange(
        self, request: web.BaseRequest, task: asyncio.Task[None]
    ) -> web.StreamResponse:
        if request.method not in (hdrs.METH_GET, hdrs.METH_PUT):
            return _plain(405, "blocks are read by GET and written by PUT")
        if request.can_read_body and request.content_length is None:
            return _plain(411, "a body must say its length")
        try:
            head = base64.b64decode(request.headers.get(HEAD_HEADER, ""), validate=True)
        except (binascii.Error, ValueError):
            return _plain(400, f"the header {HEAD_HEADER} is not base64")
        peer_host = request.remote or ""
        body = ReceivedBody(
            request.content, request.content_length or 0, peer_host, self._served.stall_s
        )
        self._exchanges[request.protocol] = task, body
        try:
            outgoing = await self._served.service.exchange(Incoming(head, body, peer_host))
            return await self._answer(request, outgoing, early=not body.complete)
        except _PeerGone:
            return _broken_off(request)
        except DolmenError as error:  # of the peer, or of what the answer's bytes came from
            if request.transport is not None:
                logger.warning("exchange with %s failed: %s", peer_host, error)
            return _broken_off(request)
        finally:
            self._exchanges.pop(request.protocol, None)

    async def _answer(
        self, request: web.BaseRequest, outgoing: Outgoing, *, early: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=200 if outgoing.ok else 409)
        response.headers[HEAD_HEADER] = base64.b64encode(outgoing.head).decode()
        response.content_length = outgoing.body.length_bytes if outgoing.body else 0
        if early and request.transport is not None:
            response.force_close()
            self._lingering[request.protocol] = request.content
        try:
            async with asyncio.timeout(self._served.stall_s) as deadline:
                writer = await response.prepare(request)
                assert writer is not None
                if outgoing.body is not None:
                    await send_body(outgoing.body, writer, Progress(self._served.stall_s, deadline))
                await response.write_eof()
        except TimeoutError:
            raise PeerLost(
                f"{request.remote} took nothing for {self._served.stall_s:g} s"
            ) from None
        except LOST as error:
            raise _PeerGone(f"{request.remote} broke off: {error}") from error
        except SourceFailed as failed:
            _broken_off(request)  # the peer must not wait for the rest
            raise failed.error from None
        return response


def _reset_connection(connection: Hashable | None) -> None:
    """Reset a connection that has to go, if it is not gone already."""
    if isinstance(connection, RequestHandler) and connection.transport is not None:
        reset(connection.transport)


def _broken_off(request: web.BaseRequest) -> web.Response:
    """End the connection instead of an answer: the peer sees that something broke."""
    if request.transport is not None:
        request.transport.abort()
    return _plain(500, "broken off")


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
