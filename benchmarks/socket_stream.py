"""A limit: bytes from one Python process to another over a bare socket, into one buffer, where each
chunk's checksum is computed."""

import socket
from multiprocessing.connection import Connection

import xxhash

from benchmarks.sizes import MIB
from dolmen.protocol.checksums import CHUNK_BYTES

PIECE_BYTES = MIB


def serve(pipe: Connection) -> None:
    """Send as many bytes as each connection asks for, out of one buffer."""
    content = bytes(PIECE_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            with connection:
                left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
                while left:
                    left -= connection.send(memoryview(content)[: min(left, len(content))])


def receive(port: int, length_bytes: int) -> None:
    """Fetch `length_bytes` from `serve`."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(length_bytes.to_bytes(8, "big"))
        left = length_bytes
        while left:
            filled = 0
            while filled < min(left, PIECE_BYTES):
                received = connection.recv_into(buffer[filled:])
                if not received:
                    raise ConnectionError(f"the stream ended {left - filled} bytes early")
                filled += received
            for start in range(0, filled, CHUNK_BYTES):
                xxhash.xxh3_64_digest(buffer[start : min(start + CHUNK_BYTES, filled)])
            left -= filled
