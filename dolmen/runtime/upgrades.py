"""How a connection leaves HTTP: one request and a 101, then its bytes are of another protocol.

`dolmen` is for control calls (decision 0009); `dolmen-blocks/1` for bulk exchanges (decision 0012),
whose socket is taken from under HTTP. Whoever asks for another version of it is told which one is
spoken here.
"""

import asyncio
import socket

CONTROL = "dolmen"
BULK = "dolmen-blocks/1"


def upgrade_headers(protocol: str) -> dict[str, str]:
    """With these both sides agree on what the connection is from then on."""
    return {"Connection": "Upgrade", "Upgrade": protocol}


def switching(protocol: str) -> bytes:
    """Return the answer after which the connection is of that protocol."""
    headers = map(": ".join, upgrade_headers(protocol).items())
    return "\r\n".join(("HTTP/1.1 101 Switching Protocols", *headers, "", "")).encode()


def take_socket(transport: asyncio.Transport) -> socket.socket:
    """Take a connection from its transport, which is gone then; nothing may be unread or unsent."""
    transport.pause_reading()
    own: socket.socket = transport.get_extra_info("socket").dup()
    transport.abort()
    return own
