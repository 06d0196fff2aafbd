"""Sockets that listen: found, bound, and refused in words that say what to do.

A port that is asked for is taken or refused; port 0 takes one that nobody else is given by chance.
"""

import asyncio
import errno
import random
import socket
import struct

from dolmen.protocol.errors import StartRefused

BACKLOG = 1024

FREE_PORTS = range(20_000, 32_768)
"""Where port 0 looks: below the ephemeral range, because a client that keeps trying a dead port of
that range can be given the same port as its own, connect to itself, and hold it."""

FREE_PORT_TRIES = 200

_Resolved = tuple[int, str]


async def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on (host, port); StartRefused if that cannot be."""
    found = await _resolve(host, port)
    return _bind_free(host, found) if port == 0 else _bind(host, found, port)


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
