"""A control connection behind its handshake: numbered messages, both ways, in any order.

HTTP opens the connection (`Upgrade: dolmen`) and gives it up; from then on each message is an
8-byte number, a 4-byte length, both big-endian, and the payload. What is sent within one turn of
the event loop goes out in one write, and what has arrived is taken in one go: with many calls in
flight the costs of system calls and of the loop are shared (decision 0009 has the figures). Nothing
here waits: who uses a link is told when messages have arrived, and looks at `crammed` before more
is sent.
"""

import asyncio
import socket
import struct
from typing import Protocol

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES

HEAD = struct.Struct(">QI")
"""Number of the call, length of the payload."""

UNSENT_LIMIT_BYTES = 1024 * 1024
"""Of what the peer has not taken yet; beyond that nobody is to send more."""

GONE_AFTER_S = 30
"""Unanswered keepalives, or bytes that nobody takes, for so long end a connection: longer than a
network hiccup, shorter than anybody waits for a machine that has lost its power."""


class Talker(Protocol):
    """Who uses a link."""

    def arrived(self, length_bytes: int) -> None:
        """So many bytes have come: there may be messages to take."""

    def uncrammed(self) -> None:
        """There is room again for what is to be sent."""

    def lost(self) -> None:
        """The connection is gone. Called once."""


class ControlLink(asyncio.Protocol):
    """Takes over a connection whose handshake is done; its protocol until then learns only of its
    end."""

    def __init__(
        self, connection: tuple[asyncio.Transport, asyncio.BaseProtocol], talker: Talker
    ) -> None:
        transport, self._http = connection
        self._transport = transport
        self._talker = talker
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._taken_bytes = 0
        self._unsent: list[bytes] = []
        self._gathering = False
        self.crammed = False
        _find_dead_peers(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(UNSENT_LIMIT_BYTES)
        transport.set_protocol(self)
        transport.resume_reading()

    @property
    def ended(self) -> bool:
        """Whether nothing more comes or goes."""
        return self._transport.is_closing()

    @property
    def untaken_bytes(self) -> int:
        """How much has arrived and is still to be taken."""
        return len(self._received) - self._taken_bytes

    def take(self) -> tuple[int, bytes] | None:
        """Return the number and payload of the next message that is there whole."""
        start = self._taken_bytes + HEAD.size
        if len(self._received) < start or self.ended:
            return None
        number, length_bytes = HEAD.unpack_from(self._received, self._taken_bytes)
        if length_bytes > MESSAGE_LIMIT_BYTES:  # nothing behind this can be understood
            self._transport.abort()
            return None
        if len(self._received) < start + length_bytes:
            return None
        self._taken_bytes = start + length_bytes
        return number, bytes(self._received[start : self._taken_bytes])

    def send(self, number: int, payload: bytes) -> None:
        """Send a message at the end of this turn, together with all others of it."""
        self._unsent += (HEAD.pack(number, len(payload)), payload)
        if not self._gathering:
            self._gathering = True
            self._loop.call_soon(self.flush)

    def gather(self) -> None:
        """Keep what is sent until `flush`, which must follow in this turn."""
        self._gathering = True

    def flush(self) -> None:
        """Send what was kept."""
        self._gathering = False
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            if not self.ended:
                self._transport.write(data)

    def hold(self) -> None:
        """Take nothing more from the network, so that the peer has to wait."""
        self._transport.pause_reading()

    def release(self) -> None:
        """Go on after `hold`. Harmless without."""
        self._transport.resume_reading()

    def close(self) -> None:
        """End it when what was sent has gone out."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    # ------------------------------------------------------------ what asyncio tells

    def data_received(self, data: bytes) -> None:
        del self._received[: self._taken_bytes]
        self._taken_bytes = 0
        self._received += data
        self._talker.arrived(len(data))

    def pause_writing(self) -> None:
        self.crammed = True

    def resume_writing(self) -> None:
        self.crammed = False
        self._talker.uncrammed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)
        self._talker.lost()


def _find_dead_peers(own: socket.socket | None) -> None:
    """Let TCP notice that the peer's machine is gone."""
    if own is None:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE_AFTER_S // 2)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, GONE_AFTER_S // 6)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_S * 1000)
