"""The serving half of the HTTP transport: one port, where `/rpc` becomes a control connection and
`/blocks` a bulk connection.

Requests are refused before anything else is looked at when a web page may be behind them (rule 32):
an `Origin` that is not our own, or a `Host` that is no name of ours. Who may stay connected is
decided by `crowd`, also after a connection has left HTTP.
"""

import asyncio
import socket
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from dolmen.protocol.identifiers import format_address
from dolmen.runtime.bulk_link import BulkLink
from dolmen.runtime.bulk_serving import BulkServing, BulkWatch
from dolmen.runtime.crowd import Crowd, CrowdLimits, Doing
from dolmen.runtime.descriptors import descriptor_limit
from dolmen.runtime.http_control import Watch, serve_control
from dolmen.runtime.http_status import PATHS, status_page
from dolmen.runtime.listening_sockets import BACKLOG, listening_socket, reset
from dolmen.runtime.metrics import Status
from dolmen.runtime.transport import Service
from dolmen.runtime.upgrades import BULK, CONTROL, switching, take_socket

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
        self._bulk: dict[BulkLink, tuple[BulkServing, asyncio.Task[None]]] = {}
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
        await self._end_bulk()
        await self._http.shutdown(CLOSE_S)

    def abort(self) -> None:
        self._stop_accepting()
        for task in self._tasks:
            task.cancel()
        for serving, _ in self._bulk.values():
            serving.reset()
        for handler in self._http.connections:
            if handler.transport is not None:
                reset(handler.transport)

    async def _end_bulk(self) -> None:
        """Let exchanges that are under way end, for a moment."""
        for serving, _ in self._bulk.values():
            serving.finish()
        tasks = [task for _, task in self._bulk.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

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

    def received(self, connection: Hashable, length_bytes: int) -> None:
        """Bytes have arrived; too many that make no sense yet cost a connection."""
        _reset_connection(self.crowd.received(connection, length_bytes))

    def connection_lost(self, handler: RequestHandler) -> None:
        """The peer is gone, or the connection has left HTTP."""
        self.crowd.gone(handler)

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
            if request.path == "/blocks":
                return self._begin_bulk(request) if _asks_for(request, BULK) else _leave_http(BULK)
            self._does(request, Doing.BUSY)
            if request.path in PATHS and self._served.status is not None:
                return status_page(request, self._served.status, self.crowd)
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
        if not _asks_for(request, CONTROL):
            return _leave_http(CONTROL)
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

    def _begin_bulk(self, request: web.BaseRequest) -> web.StreamResponse:
        """Give the connection to a task of its own, for bulk exchanges."""
        if request.transport is not None and not self._ended:
            link = BulkLink(take_socket(request.transport))
            does = partial(self._link_does, link)
            watch = BulkWatch(partial(self.received, link), does)
            served = self._served
            serving = BulkServing(link, served.service, request.remote or "", served.stall_s, watch)
            does(Doing.FRESH)
            task = asyncio.create_task(serving.run(switching(BULK)))
            self._bulk[link] = serving, task
            task.add_done_callback(lambda _: self._link_ended(link))
        return _broken_off(request)  # HTTP is over on this connection

    def _link_does(self, link: BulkLink, doing: Doing) -> None:
        self.crowd.becomes(link, doing, self._clock())

    def _link_ended(self, link: BulkLink) -> None:
        self.crowd.gone(link)
        del self._bulk[link]


def _reset_connection(connection: Hashable | None) -> None:
    """Reset a connection that has to go, if it is not gone already."""
    if isinstance(connection, BulkLink):
        connection.reset()
    if isinstance(connection, RequestHandler) and connection.transport is not None:
        reset(connection.transport)


def _broken_off(request: web.BaseRequest) -> web.Response:
    """End the connection instead of an answer: the peer sees that something broke."""
    if request.transport is not None:
        request.transport.abort()
    return _plain(500, "broken off")


def _asks_for(request: web.BaseRequest, protocol: str) -> bool:
    """Return whether a request asks for this protocol."""
    return request.headers.get(hdrs.UPGRADE, "").lower() == protocol


def _leave_http(protocol: str) -> web.Response:
    """Say what a connection is for here, and which version of it."""
    response = _plain(426, f"what begins here is an upgrade to {protocol}")
    response.headers[hdrs.UPGRADE] = protocol
    return response


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
