"""The serving half of the HTTP transport: one port, `/rpc` for control and `/blocks/...` for bulk.

Requests are refused before anything else is looked at when a web page may be behind them (rule 32):
an `Origin` that is not our own, or a `Host` that is no name of ours. A body is sent and read under
a progress deadline. While a request's body is still arriving, the loss of the peer shows in reading
it; after that, it cancels the exchange.
"""

import asyncio
import base64
import binascii
import errno
import logging
import random
import socket
import struct
from collections.abc import Iterable
from functools import partial

import aiohttp
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from dolmen.protocol.errors import DolmenError, PeerLost, StartRefused
from dolmen.protocol.identifiers import format_address
from dolmen.runtime.bodies import Progress, SourceFailed
from dolmen.runtime.http_bodies import (
    FIELD_LIMIT_BYTES,
    HEAD_HEADER,
    LOST,
    READ_BUFFER_BYTES,
    ReceivedBody,
    send_body,
)
from dolmen.runtime.http_control import serve_control
from dolmen.runtime.transport import Incoming, Outgoing, Service

logger = logging.getLogger(__name__)

KEEPALIVE_S = 3600.0
"""Longer than any client keeps a pooled connection, so that it is the client that closes it."""

LINGER_S = 1.0
"""How long the rest of a body is read and dropped after an early answer: a connection reset before
the peer has read the answer would take the answer with it. The peer stops as soon as it has it."""

CLOSE_S = 0.6
"""What control connections get to close in, then exchanges to end in, then once more to be
cancelled in: no more than 2 s in all, which a user waits for."""

CONNECTIONS_LIMIT = 10_000
"""More peers than one process can serve well; the rest are reset before descriptors run out."""

BACKLOG = 1024

FREE_PORTS = range(20_000, 32_768)
"""Where port 0 looks: below the ephemeral range, because a client that keeps trying a dead port of
that range can be given the same port as its own, connect to itself, and hold it."""

FREE_PORT_TRIES = 200


async def listen(
    service: Service, address: tuple[str, int], own_hosts: Iterable[str], stall_s: float
) -> "HttpListener":
    """Serve `service` on (host, port); StartRefused if that cannot be."""
    host, port = address
    found = await _resolve(host, port)
    sockets = _bind_free(host, found) if port == 0 else _bind(host, found, port)
    bound_port = sockets.getsockname()[1]
    names = {host.lower(), "localhost", socket.gethostname().lower(), *map(str.lower, own_hosts)}
    listener = HttpListener(service, format_address(host, bound_port), names, stall_s)
    await listener.start(sockets)
    return listener


_Resolved = tuple[int, str]


async def _resolve(host: str, port: int) -> _Resolved:
    """Return family and numeric address of `host`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise StartRefused(f"{host} is not an address of this machine: {error.strerror}") from None
    family, _, _, _, sockaddr = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, str(sockaddr[0])


def _bind_free(host: str, found: _Resolved) -> socket.socket:
    for _ in range(FREE_PORT_TRIES):
        port = random.SystemRandom().choice(FREE_PORTS)
        try:
            return _listening_socket(found, port)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise _refusal(host, port, error) from None
    raise StartRefused(
        f"no free port on {host} from {FREE_PORTS.start} to {FREE_PORTS.stop - 1} in"
        f" {FREE_PORT_TRIES} tries: name one with --port"
    )


def _bind(host: str, found: _Resolved, port: int) -> socket.socket:
    try:
        return _listening_socket(found, port)
    except OSError as error:
        raise _refusal(host, port, error) from None


def _listening_socket(found: _Resolved, port: int) -> socket.socket:
    family, ip_address = found
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ip_address, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _refusal(host: str, port: int, error: OSError) -> StartRefused:
    if error.errno == errno.EADDRINUSE:
        return StartRefused(f"port {port} on {host} is in use by another process")
    if error.errno == errno.EADDRNOTAVAIL:
        return StartRefused(f"{host} is not an address of this machine")
    return StartRefused(f"cannot listen on port {port} of {host}: {error.strerror}")


class _Server(web.Server):
    """aiohttp's server, which also tells when a connection is gone, and can refuse new ones."""

    def __init__(self, listener: "HttpListener") -> None:
        super().__init__(
            listener.handle,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            read_bufsize=READ_BUFFER_BYTES,
            max_field_size=FIELD_LIMIT_BYTES,
            auto_decompress=False,
        )
        self._listener = listener

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._listener.connection_made(transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._listener.connection_lost(handler)


class HttpListener:
    """A service that listens on one port."""

    def __init__(self, service: Service, address: str, names: set[str], stall_s: float) -> None:
        self.address = address
        self._service = service
        self._names = names
        self._stall_s = stall_s
        self._http = _Server(self)
        self._accepting: asyncio.Server | None = None
        self._exchanges: dict[object, tuple[asyncio.Task[None], ReceivedBody]] = {}
        self._lingering: dict[object, aiohttp.StreamReader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._controls: dict[object, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._connections = 0
        self._ended = False

    async def start(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._accepting = await loop.create_server(self._http, sock=listening)

    async def close(self) -> None:
        if self._accepting is None:
            return
        self._ended = True
        self._accepting.close()
        self._accepting = None
        self._http.pre_shutdown()
        controls = [task for task, _ in self._controls.values()]
        for control in controls:
            control.cancel()
        if controls:
            await asyncio.wait(controls, timeout=CLOSE_S)
        await self._http.shutdown(CLOSE_S)

    def abort(self) -> None:
        self._ended = True
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None
        for task in self._tasks:
            task.cancel()
        for handler in self._http.connections:
            if handler.transport is not None:
                reset(handler.transport)

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Reset what was accepted while the listener ended, or is too much."""
        self._connections += 1
        if self._ended or self._connections > CONNECTIONS_LIMIT:
            reset(transport)

    def connection_lost(self, handler: RequestHandler) -> None:
        """The peer is gone: nobody waits for the answer, and no rest of its body will come."""
        self._connections -= 1
        lingering = self._lingering.pop(handler, None)
        if lingering is not None:
            lingering.feed_eof()
        _, changed = self._controls.get(handler, (None, None))
        if changed is not None:
            changed.set()
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
            if request.path.startswith("/blocks/"):
                return await self._exchange(request, task)
            return _plain(404, "there is nothing at this path")
        finally:
            self._tasks.discard(task)

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
        changed = asyncio.Event()
        self._controls[request.protocol] = task, changed
        open_session = partial(self._service.open_session, request.remote or "")
        try:
            return await serve_control(request, open_session, changed)
        finally:
            del self._controls[request.protocol]

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
        body = ReceivedBody(request.content, request.content_length or 0, peer_host, self._stall_s)
        self._exchanges[request.protocol] = task, body
        try:
            outgoing = await self._service.exchange(Incoming(head, body, peer_host))
            return await self._answer(request, outgoing, early=not body.complete)
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
            async with asyncio.timeout(self._stall_s) as deadline:
                writer = await response.prepare(request)
                assert writer is not None
                if outgoing.body is not None:
                    await send_body(outgoing.body, writer, Progress(self._stall_s, deadline))
                await response.write_eof()
        except TimeoutError:
            raise PeerLost(f"{request.remote} took nothing for {self._stall_s:g} s") from None
        except LOST as error:
            raise PeerLost(f"{request.remote} broke off: {error}") from error
        except SourceFailed as failed:
            _broken_off(request)  # the peer must not wait for the rest
            raise failed.error from None
        return response


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection as the death of its process would, without a farewell."""
    own = transport.get_extra_info("socket")
    if own is not None:
        reset_at_close(own)
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


def reset_at_close(own: socket.socket) -> None:
    """Let the closing of a socket be a reset: what is unsent is dropped, nobody lingers."""
    if own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _broken_off(request: web.BaseRequest) -> web.Response:
    """End the connection instead of an answer: the peer sees that something broke."""
    if request.transport is not None:
        request.transport.abort()
    return _plain(500, "broken off")


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
