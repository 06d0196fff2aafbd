"""What strangers do to a port: each attack returns the sockets that it leaves open."""

import contextlib
import itertools
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from random import Random

Attack = Callable[[str], list[socket.socket]]

PATIENCE_S = 5.0
SOURCES = 8
"""Addresses of ours to come from: one has too few ports for ten thousand connections."""

MOST_CONNECTIONS = 10_500
"""A little more than a listener lets in."""

_RANDOM = Random(7)


def connect(address: str, source: str = "127.0.0.1") -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_S, source_address=(source, 0))


def send(to: socket.socket, *pieces: bytes) -> None:
    """Send as far as it is taken."""
    with contextlib.suppress(OSError):
        for piece in pieces:
            to.sendall(piece)


def answer(to: socket.socket) -> bytes:
    """Read until the other side closes, or as much as an answer has."""
    received = b""
    with contextlib.suppress(OSError):
        while len(received) < 65536 and (piece := to.recv(65536)):
            received += piece
    return received


def request(address: str, line: str, *fields: str) -> bytes:
    own = [f"{line} HTTP/1.1", f"Host: {address}", *fields]
    return "\r\n".join((*own, "", "")).encode()


def upgrade(address: str, path: str = "/rpc", protocol: str = "dolmen") -> socket.socket:
    """A control connection, or one of another protocol, that says nothing."""
    to = connect(address)
    send(to, request(address, f"GET {path}", "Connection: Upgrade", f"Upgrade: {protocol}"))
    with contextlib.suppress(OSError):
        to.recv(4096)
    return to


def bulk(address: str) -> socket.socket:
    """A bulk connection that says nothing."""
    return upgrade(address, "/blocks", "dolmen-blocks/1")


def frame(head: bytes, body_bytes: int, head_bytes: int | None = None) -> bytes:
    """The beginning of a bulk request."""
    return struct.pack(">IQ", len(head) if head_bytes is None else head_bytes, body_bytes) + head


def message(payload: bytes, announced: int | None = None) -> bytes:
    length_bytes = len(payload) if announced is None else announced
    return struct.pack(">QI", 1, length_bytes) + payload


def opened(count: int, make: Callable[[int], socket.socket]) -> list[socket.socket]:
    """Open so many; those that are refused are left out."""
    held = []
    for number in range(count):
        with contextlib.suppress(OSError):
            held.append(make(number))
    return held


def raise_own_limit() -> int:
    """Let this process hold many sockets; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# ---------------------------------------------------------------- attacks


def random_bytes(address: str) -> list[socket.socket]:
    def make(number: int) -> socket.socket:
        to = connect(address)
        send(to, _RANDOM.randbytes(_RANDOM.randrange(1, 5000)))
        return to

    return opened(200, make)


def spoilt_requests(address: str) -> list[socket.socket]:
    """Good requests with some of their bytes changed."""
    good = request(address, "GET /blocks", "Connection: Upgrade", "Upgrade: dolmen-blocks/1")

    def make(number: int) -> socket.socket:
        spoilt = bytearray(good + frame(b"head", 4) + b"body")
        for _ in range(3):
            spoilt[_RANDOM.randrange(len(spoilt))] = _RANDOM.randrange(256)
        to = connect(address)
        send(to, bytes(spoilt))
        return to

    return opened(200, make)


def huge_headers(address: str) -> list[socket.socket]:
    field = b"X: " + b"x" * 60_000 + b"\r\n"
    endless = itertools.repeat(field, 100)

    def make(number: int) -> socket.socket:
        to = connect(address)
        if number % 2:
            send(to, f"GET /{'x' * 1_000_000}".encode())
        else:
            send(to, request(address, "GET /")[:-2], *endless)
        return to

    return opened(20, make)


def half_heads(address: str) -> list[socket.socket]:
    half = request(address, "GET /blocks", "X: " + "x" * 50_000)[:-2]

    def make(number: int) -> socket.socket:
        to = connect(address)
        send(to, half)
        return to

    return opened(2000, make)


def slow_bodies(address: str) -> list[socket.socket]:
    def make(number: int) -> socket.socket:
        to = bulk(address)
        send(to, frame(b"head", 9_999_999) + b"x" * 100)
        return to

    return opened(1000, make)


def wrong_lengths(address: str) -> list[socket.socket]:
    """Heads and bodies shorter and longer than announced."""

    def make(number: int) -> socket.socket:
        lengths = ((4, 10), (4, 0), (3, 5), (5, 5), (0, 1), (4, 2**64 - 1), (2**32 - 1, 5))
        head_bytes, body_bytes = lengths[number % len(lengths)]
        to = bulk(address)
        send(to, frame(b"head", body_bytes, head_bytes), b"x" * 5)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)
        return to

    return opened(120, make)


def pipelined(address: str) -> list[socket.socket]:
    """More requests than anybody answers, and nobody reads the answers."""
    many = request(address, "GET /nothing") * 1000

    def make(number: int) -> socket.socket:
        to = connect(address)
        to.settimeout(0.1)
        send(to, *itertools.repeat(many, 50))
        return to

    return opened(10, make)


def half_frames(address: str) -> list[socket.socket]:
    """Bulk requests of which the greater part came: more than may be unread."""

    def make(number: int) -> socket.socket:
        to = bulk(address)
        send(to, frame(b"x" * 30_000, 0, 32 * 1024))
        return to

    return opened(2500, make)


def silent_talkers(address: str) -> list[socket.socket]:
    return opened(1500, lambda _: upgrade(address))


def half_messages(address: str) -> list[socket.socket]:
    """Of two hundred messages the greater part: more than may be unread."""

    def make(number: int) -> socket.socket:
        to = upgrade(address)
        to.settimeout(0.5)
        send(to, message(b"x" * 1_000_000, announced=1_040_000))
        return to

    return opened(200, make)


def wrong_messages(address: str) -> list[socket.socket]:
    messages = (
        message(b"", announced=0xFFFFFFFF),
        message(b"x" * 3_000_000),
        message(b"a text"),
        message(b""),
        b"GET /rpc HTTP/1.1\r\n\r\n",
        *(_RANDOM.randbytes(50) for _ in range(20)),
    )

    def make(number: int) -> socket.socket:
        to = upgrade(address)
        send(to, messages[number % len(messages)])
        return to

    return opened(100, make)


def unread_replies(address: str) -> list[socket.socket]:
    """Calls without end, whose replies nobody reads."""
    calls = message(b"\xc0") * 2000

    def make(number: int) -> socket.socket:
        to = upgrade(address)
        to.settimeout(0.2)
        send(to, *itertools.repeat(calls, 20))
        return to

    return opened(10, make)


def crowd(address: str) -> list[socket.socket]:
    """As many connections as this process may hold; they do nothing."""
    count = min(MOST_CONNECTIONS, raise_own_limit() - 1000)
    sources = [f"127.0.0.{number}" for number in range(2, 2 + SOURCES)]
    return opened(count, lambda number: connect(address, sources[number % SOURCES]))


def half_closed(address: str) -> list[socket.socket]:
    def make(number: int) -> socket.socket:
        to = connect(address)
        to.shutdown(socket.SHUT_WR)
        return to

    return opened(500, make)


ATTACKS: tuple[Attack, ...] = (
    random_bytes,
    spoilt_requests,
    huge_headers,
    half_heads,
    slow_bodies,
    wrong_lengths,
    pipelined,
    silent_talkers,
    half_messages,
    half_frames,
    wrong_messages,
    unread_replies,
    half_closed,
    crowd,
)


def unknown_requests(address: str) -> Iterator[tuple[str, int]]:
    """Yield (request line, status) of requests that make no sense."""
    for line, fields in (
        ("DELETE /", ()),
        ("BREW /coffee", ()),
        ("GET /blocks/../../etc/passwd", ()),
        ("POST /metrics", ()),
        ("PUT /healthz", ()),
        ("GET /rpc", ()),
        ("GET /blocks", ()),
        ("GET /blocks", ("Upgrade: dolmen-blocks/9",)),
        ("GET /blocks", ("Upgrade: \xff",)),
    ):
        with connect(address) as to:
            send(to, request(address, line, "Connection: close", *fields))
            said = answer(to)
        yield line, int(said.split()[1]) if said else 0
