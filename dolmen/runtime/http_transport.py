"""The network over one port: HTTP opens every connection, and leaves it once it is open.

Control connections are upgraded from `/rpc` (`http_control`), bulk connections from `/blocks`
(`bulk_link`); the latter are pooled. Exchanges have no total time limit, only a progress deadline,
and no redirect is followed: who answers is who was asked (rule 10).

A transport belongs to the event loop it is first used on.
"""

import asyncio
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

from dolmen.protocol.errors import PeerLost
from dolmen.protocol.identifiers import parse_address
from dolmen.runtime.bulk_asking import Asking
from dolmen.runtime.bulk_link import BulkLink
from dolmen.runtime.bulk_pool import BulkPool
from dolmen.runtime.http_control import HttpConnection
from dolmen.runtime.http_listener import HttpListener, Served, listen
from dolmen.runtime.listening_sockets import reset_at_close
from dolmen.runtime.metrics import Status
from dolmen.runtime.transport import Answered, Body, Service
from dolmen.runtime.upgrades import BULK, CONTROL, take_socket, upgrade_headers

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
        self._pool = BulkPool(self._open_link)
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
                response = await self._upgrade(address, "/rpc", CONTROL)
        except TimeoutError:
            raise PeerLost(f"{address} did not answer within {timeout_s:g} s") from None
        connection = HttpConnection(response, address)
        self._connections.add(connection)
        connection.ended.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    @asynccontextmanager
    async def exchange(
        self, address: str, head: bytes, body: Body | None = None, *, stall_s: float = 30.0
    ) -> AsyncIterator[Answered]:
        asking = Asking(self._pool, address, stall_s)
        try:
            yield await asking.ask(head, body)
        finally:
            await asking.end()

    async def close(self) -> None:
        connections, self._connections = self._connections, set()
        for connection in connections:
            await connection.close()
        self._pool.close()
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
        self._pool.abort()
        for own in self._sockets:
            reset_at_close(own)
        session, self._session = self._session, None
        if session is not None:
            self._aborting = asyncio.get_running_loop().create_task(session.close())
        self._aborted = True

    async def _open_link(self, address: str) -> BulkLink:
        response = await self._upgrade(address, "/blocks", BULK)
        assert response.connection is not None
        assert response.connection.transport is not None
        own = take_socket(response.connection.transport)
        response.close()
        return BulkLink(own)

    async def _upgrade(self, address: str, path: str, protocol: str) -> aiohttp.ClientResponse:
        """Return the answer after which a connection is of this protocol."""
        try:
            response = await self._open_session().get(
                _url(address, path), headers=upgrade_headers(protocol), allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            raise PeerLost(f"cannot connect to {address}: {_reason(error)}") from error
        if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
            return response
        response.close()
        if response.status == HTTPStatus.UPGRADE_REQUIRED:
            raise PeerLost(f"{address} does not speak {protocol}: its software is another version")
        raise PeerLost(f"{address} is no daemon of Dolmen: status {response.status}")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._aborted:
            raise PeerLost("this process no longer uses the network")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, socket_factory=self._make_socket),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        return self._session

    def _make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, _ = info
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made


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
