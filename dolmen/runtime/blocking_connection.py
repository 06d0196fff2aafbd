"""A control connection for a thread that waits: one call at a time, and no event loop.

It is opened by the same handshake as others and carries the same messages (`control_link`), with
one system call to send and one to receive: the kernel keeps the time, so that none is needed to
wait. A connection on which a call failed is of no more use: its reply may still come.
"""

import itertools
import socket
import struct
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.protocol.identifiers import parse_address
from dolmen.runtime.control_link import HEAD
from dolmen.runtime.upgrades import CONTROL, upgrade_headers

RECEIVED_BYTES = 64 * 1024
"""Received at once: most replies whole."""


class SocketConnection:
    """A BlockingConnection over a socket whose handshake is done."""

    def __init__(self, own: socket.socket, address: str) -> None:
        self._socket = own
        self._address = address
        self._numbers = itertools.count(1)
        self._received = bytearray(RECEIVED_BYTES)
        self._timeout_s = 0.0

    def call(self, payload: bytes, timeout_s: float) -> bytes:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise InvalidRequest(
                f"a message of {len(payload)} bytes is over the limit of {MESSAGE_LIMIT_BYTES}"
            )
        number = next(self._numbers)
        try:
            if timeout_s != self._timeout_s:
                self._limit(timeout_s)
            self._socket.sendall(HEAD.pack(number, len(payload)) + payload)
            return self._reply(number)
        except BlockingIOError:
            raise PeerLost(f"{self._address} did not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise PeerLost(f"the connection to {self._address} broke: {error}") from error

    def _limit(self, timeout_s: float) -> None:
        """Have the kernel end what takes longer, with a BlockingIOError."""
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._timeout_s = timeout_s

    def _reply(self, number: int) -> bytes:
        count = self._socket.recv_into(self._received)
        if count >= HEAD.size:
            answered, length_bytes = HEAD.unpack_from(self._received)
            if answered == number and count == HEAD.size + length_bytes:
                return bytes(memoryview(self._received)[HEAD.size : count])
        return self._long_reply(number, bytes(memoryview(self._received)[:count]))

    def _long_reply(self, number: int, received: bytes) -> bytes:
        """Return a reply of which one system call did not bring all."""
        until_s = time.monotonic() + self._timeout_s
        head = self._fill(received[: HEAD.size], HEAD.size, until_s)
        answered, length_bytes = HEAD.unpack(head)
        if answered != number or length_bytes > MESSAGE_LIMIT_BYTES:
            raise PeerLost(f"{self._address} sent something else than the reply")
        return self._fill(received[HEAD.size :], length_bytes, until_s)

    def _fill(self, received: bytes, length_bytes: int, until_s: float) -> bytes:
        parts = [received]
        missing = length_bytes - len(received)
        while missing > 0:
            part = self._socket.recv(min(missing, RECEIVED_BYTES))
            if not part:
                raise ConnectionResetError("closed by the peer")
            if time.monotonic() > until_s:
                raise BlockingIOError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()


def connect_blocking(address: str, timeout_s: float) -> SocketConnection:
    """Open a control connection. PeerLost if nobody answers within `timeout_s`."""
    host, port = parse_address(address)
    asking = HTTPConnection(host, port, timeout=timeout_s)
    try:
        asking.request("GET", "/rpc", headers=upgrade_headers(CONTROL))
        with asking.getresponse() as response:
            own, status = asking.sock, response.status
    except (OSError, HTTPException) as error:
        asking.close()
        raise PeerLost(f"cannot connect to {address}: {error}") from error
    if status != HTTPStatus.SWITCHING_PROTOCOLS:
        asking.close()
        raise PeerLost(f"{address} is no daemon of Dolmen: status {status}")
    return SocketConnection(own, address)
