"""The network by HTTP: control connections are upgraded from `/rpc`, bulk exchanges go to
`/blocks`.

One aiohttp session pools the connections of a process; a head travels as base64 in a header, so
that bytes of blocks are all that is in a body. Exchanges have no total time limit, only a progress
deadline (`http_bodies`), and no redirect is followed: who answers is who was asked (rule 10). A
request that fails on the way before any answer is repeated once, if its body can be had again (rule
20): a pooled connection may have been closed by the peer at the very moment it was taken.

A transport belongs to the event loop it is first used on.
"""

import asyncio
import base64
import binascii
import errno
import os
import socket
import weakref
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from dolmen.protocol.block_messages import HEAD_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.protocol.identifiers import parse_address
from dolmen.runtime.bodies import Progress
from dolmen.runtime.control_link import UPGRADE_HEADERS
from dolmen.runtime.http_bodies import (
    FIELD_LIMIT_BYTES,
    HEAD_HEADER,
    LOST,
    READ_BUFFER_BYTES,
    OutgoingPayload,
    ReceivedBody,
)
from dolmen.runtime.http_control import HttpConnection
from dolmen.runtime.http_listener import HttpListener, Served, listen
from dolmen.runtime.listening_sockets import reset_at_close
from dolmen.runtime.metrics import Status
from dolmen.runtime.transport import Answered, Body, Service

POOLED_S = 15.0
"""How long an idle connection is kept: longer than the pause between two blocks of one file."""

CONNECTIONS_PER_PEER = 256
"""More exchanges than this with one peer wait for their turn: it has no more threads than that."""

SERVED_STALL_S = 30.0
"""Progress deadline of exchanges that we serve."""


class HttpTransport:
    """How a process of the real world talks.

    `own_hosts` are names, besides those of the listening socket, under which others address us.
    """

    def __init__(
        self, own_hosts: Iterable[str] = (), *, served_stall_s: float = SERVED_STALL_S
    ) -> None:
        self._own_hosts = tuple(own_hosts)
        self._served_stall_s = served_stall_s
        self._session: aiohttp.ClientSession | None = None
        self._connections: set[HttpConnection] = set()
        self._listeners: list[HttpListener] = []
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._aborted = False
        self._aborting: asyncio.Task[None] | None = None

    async def listen(
        self, service: Service, host: str, port: int, status: Status | None = None
    ) -> HttpListener:
        served = Served(service, status, self._served_stall_s)
        listener = await listen(served, (host, port), self._own_hosts)
        self._listeners.append(listener)
        return listener

    async def connect(self, address: str, timeout_s: float) -> HttpConnection:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._open_session().get(
                    _url(address, "/rpc"), headers=UPGRADE_HEADERS, allow_redirects=False
                )
        except TimeoutError:
            raise PeerLost(f"{address} did not answer within {timeout_s:g} s") from None
        except LOST as error:
            raise PeerLost(f"cannot connect to {address}: {_reason(error)}") from error
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            response.close()
            raise PeerLost(f"{address} is no daemon of Dolmen: status {response.status}")
        connection = HttpConnection(response, address)
        self._connections.add(connection)
        connection.ended.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    @asynccontextmanager
    async def exchange(
        self, address: str, head: bytes, body: Body | None = None, *, stall_s: float = 30.0
    ) -> AsyncIterator[Answered]:
        request = _Request(
            self._open_session(), (address, _url(address, "/blocks/exchange")), head, body, stall_s
        )
        try:
            response = await request.send()
            try:
                yield request.answered(response)
            finally:
                response.close()
        finally:
            await request.ended()

    async def close(self) -> None:
        connections, self._connections = self._connections, set()
        for connection in connections:
            await connection.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        if self._aborting is not None:
            await asyncio.wait([self._aborting])

    def abort(self) -> None:
        for listener in self._listeners:
            listener.abort()
        for connection in self._connections:
            connection.abort()
        for own in self._sockets:
            reset_at_close(own)
        session, self._session = self._session, None
        if session is not None:
            self._aborting = asyncio.get_running_loop().create_task(session.close())
        self._aborted = True

    def _open_session(self) -> aiohttp.ClientSession:
        if self._aborted:
            raise PeerLost("this process no longer uses the network")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=CONNECTIONS_PER_PEER,
                    keepalive_timeout=POOLED_S,
                    socket_factory=self._make_socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                read_bufsize=READ_BUFFER_BYTES,
                max_field_size=FIELD_LIMIT_BYTES,
            )
            # aiohttp would wait for the writer before it repeats; `_Request` repeats by itself.
            self._session._retry_connection = False
        return self._session

    def _make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, _ = info
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made


class _Request:
    """One bulk exchange, seen from the side that asks."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        peer: tuple[str, URL],
        head: bytes,
        body: Body | None,
        stall_s: float,
    ) -> None:
        if len(head) > HEAD_LIMIT_BYTES:
            raise InvalidRequest(f"a head of {len(head)} bytes is over {HEAD_LIMIT_BYTES}")
        self._session = session
        self._address, self._url = peer
        self._headers = {HEAD_HEADER: base64.b64encode(head).decode()}
        self._payload = OutgoingPayload(body) if body is not None else None
        self._stall_s = stall_s

    async def send(self) -> aiohttp.ClientResponse:
        """Return the response when its head is there; PeerLost if that never comes."""
        try:
            try:
                return await self._attempt()
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                if self._payload is not None and not self._payload.replayable:
                    raise
                await self.ended()
                return await self._attempt()
        except TimeoutError:
            raise PeerLost(f"{self._address} made no progress for {self._stall_s:g} s") from None
        except LOST as error:
            if self._payload is not None and self._payload.failure is not None:
                raise self._payload.failure from None
            raise PeerLost(f"{self._address}: {_reason(error)}") from error

    async def _attempt(self) -> aiohttp.ClientResponse:
        async with asyncio.timeout(self._stall_s) as deadline:
            progress = Progress(self._stall_s, deadline)
            if self._payload is not None:
                self._payload.attempt(progress)
            try:
                return await self._session.request(
                    "GET" if self._payload is None else "PUT",
                    self._url,
                    data=self._payload,
                    headers=self._headers,
                    allow_redirects=False,
                )
            finally:
                progress.forget()

    def answered(self, response: aiohttp.ClientResponse) -> Answered:
        """Return the reply of a daemon; PeerLost if something else answered."""
        try:
            head = base64.b64decode(response.headers[HEAD_HEADER], validate=True)
        except (KeyError, binascii.Error):
            raise PeerLost(
                f"{self._address} answered with status {response.status} without being a datanode"
            ) from None
        length_bytes = response.content_length or 0
        body = ReceivedBody(response.content, length_bytes, self._address, self._stall_s)
        return Answered(head, body)

    async def ended(self) -> None:
        """Return when nothing is being sent any more."""
        if self._payload is not None:
            await self._payload.ended()


def _url(address: str, path: str) -> URL:
    host, port = parse_address(address)
    return URL.build(scheme="http", host=host, port=port, path=path)


def _reason(error: BaseException) -> str:
    """What the operating system said, without aiohttp's wrapping.

    What does not speak HTTP may be this very socket: a client that is given the port it connects to
    is connected to itself.
    """
    if isinstance(error, aiohttp.ClientResponseError):
        return "what answers there does not speak HTTP"
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
        return os.strerror(cause.errno)  # asyncio puts the address into strerror
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
