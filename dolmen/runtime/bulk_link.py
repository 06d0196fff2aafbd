"""A connection for bulk exchanges, behind its handshake: bytes straight between socket and memory.

HTTP opens the connection and gives up its socket (`upgrades`). What arrives is received where
its reader wants it, and only while he wants it, so that a slow reader holds the sender back; what
is sent goes from the sender's memory to the kernel. asyncio's own transports copy what the kernel
does not take at once, which is most of a body (decision 0012). While nobody reads, a link may be
watched for its end.

One deadline serves both directions: every byte that moves either way puts it off, and it rests
while the peer owes us nothing. One timer looks at it, however often it moves.
"""

import asyncio
import math
import socket
from collections.abc import Callable

from dolmen.protocol.checksums import Buffer
from dolmen.runtime.listening_sockets import reset_at_close

TURN_BYTES = 1024 * 1024
"""What one direction moves before all others get their turn, though it need not wait: a fifth of a
millisecond."""

NEVER_S = math.inf

_LATER = (BlockingIOError, InterruptedError)


class LinkLost(ConnectionError):
    """The connection has ended, or was ended here."""


class BulkLink:
    """Takes over a connected socket. One task receives at a time, and one sends."""

    def __init__(self, own: socket.socket) -> None:
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = own
        self._descriptor = own.fileno()
        self._loop = asyncio.get_running_loop()
        self._receiving: asyncio.Future[None] | None = None
        self._wanted = memoryview(b"")
        self._is_listening = False
        self._watcher: Callable[[], object] | None = None
        self._sending: asyncio.Future[None] | None = None
        self._unsent = memoryview(b"")
        self._turn_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stall_s = 0.0
        self._due_s = self._last_s = NEVER_S

    @property
    def is_open(self) -> bool:
        """Whether it has not been ended here."""
        return self._descriptor >= 0

    @property
    def is_quiet(self) -> bool:
        """Whether the connection is there and nothing has come that nobody waits for."""
        if not self.is_open:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except _LATER:
            return True
        except OSError:
            pass
        return False

    # ------------------------------------------------------------ the deadline

    def expect(self, stall_s: float, last_s: float = NEVER_S) -> None:
        """The peer owes us something from now on: a byte within `stall_s` of the one before, and
        all of it by the time `last_s`. Else who receives and who sends gets TimeoutError."""
        self._stall_s, self._last_s = stall_s, last_s
        self._due_s = min(self._loop.time() + stall_s, last_s)
        if self._timer is None or self._timer.when() > self._due_s:
            self._look_again()

    def rest(self) -> None:
        """The peer owes us nothing."""
        self._due_s = NEVER_S

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due_s, self._look) if self.is_open else None

    def _look(self) -> None:
        self._timer = None
        if self._due_s <= self._loop.time():
            self._fail(TimeoutError())
        elif self._due_s < NEVER_S:
            self._look_again()

    def _moved(self, count: int) -> None:
        self._turn_bytes += count
        if self._due_s < NEVER_S:
            self._due_s = min(self._loop.time() + self._stall_s, self._last_s)

    # ------------------------------------------------------------ receiving

    async def fill(self, buffer: memoryview) -> None:
        """Receive until `buffer` is full; LinkLost or TimeoutError if that cannot be."""
        self._check_open()
        self._watcher = None
        self._wanted = buffer
        if not buffer or self._receive():
            await self._take_turns()
            return
        self._receiving = self._loop.create_future()
        self._listen()
        try:
            await self._receiving
        finally:
            self._receiving = None
            self._wanted = memoryview(b"")

    @property
    def unfilled_bytes(self) -> int:
        """How much is missing of what is being received."""
        return len(self._wanted)

    def watch(self, ended: Callable[[], object]) -> None:
        """Call `ended`, once, if the connection ends or something comes before anybody receives."""
        self._watcher = ended
        self._listen()

    def unwatch(self) -> None:
        """Do not call anybody any more."""
        self._watcher = None

    def _receive(self) -> bool:
        """Receive what is there; return whether that is all that is wanted."""
        try:
            count = self._socket.recv_into(self._wanted)
        except _LATER:
            return False
        except OSError as error:
            raise LinkLost(error.strerror) from error
        if not count:
            raise LinkLost("the connection was closed")
        self._wanted = self._wanted[count:]
        self._moved(count)
        return not self._wanted

    def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        if self._receiving is None or self._receiving.done():
            self._come_unasked()
            return
        try:
            if self._receive():
                self._turn_bytes = 0
                self._receiving.set_result(None)
        except LinkLost as error:
            self._receiving.set_exception(error)

    def _come_unasked(self) -> None:
        """Nobody receives: leave it where it is, and tell who watches."""
        if self._watcher is not None and self.is_quiet:
            return
        self._is_listening = False
        self._loop.remove_reader(self._descriptor)
        ended, self._watcher = self._watcher, None
        if ended is not None:
            ended()

    # ------------------------------------------------------------ sending

    async def send(self, data: Buffer) -> None:
        """Return when the kernel has all of `data`; LinkLost or TimeoutError if that cannot be."""
        self._check_open()
        self._unsent = memoryview(data)
        if not self._unsent or self._transmit():
            await self._take_turns()
            return
        self._sending = self._loop.create_future()
        self._loop.add_writer(self._descriptor, self._writable)
        try:
            await self._sending
        finally:
            self._sending = None
            self._unsent = memoryview(b"")
            if self.is_open:
                self._loop.remove_writer(self._descriptor)

    def _transmit(self) -> bool:
        """Send what the kernel takes; return whether that is all."""
        try:
            count = self._socket.send(self._unsent)
        except _LATER:
            return False
        except OSError as error:
            raise LinkLost(error.strerror) from error
        self._unsent = self._unsent[count:]
        self._moved(count)
        return not self._unsent

    def _writable(self) -> None:
        if self._sending is None or self._sending.done():
            return
        try:
            if self._transmit():
                self._turn_bytes = 0
                self._sending.set_result(None)
        except LinkLost as error:
            self._sending.set_exception(error)

    async def _take_turns(self) -> None:
        """Nothing had to be waited for: let others go on all the same, now and then."""
        if self._turn_bytes >= TURN_BYTES:
            self._turn_bytes = 0
            await asyncio.sleep(0)

    # ------------------------------------------------------------ the end

    def end_sending(self) -> None:
        """Tell the peer that nothing more comes from here."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise LinkLost(error.strerror) from error

    def close(self) -> None:
        """End it: what was sent still arrives, if all that came was received. Idempotent."""
        if not self.is_open:
            return
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._descriptor = -1
        self._watcher = None
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()
        self._fail(LinkLost("the connection was given up"))

    def reset(self) -> None:
        """End it as the death of its process would."""
        if self.is_open:
            reset_at_close(self._socket)
            self.close()

    def _check_open(self) -> None:
        if not self.is_open:
            raise LinkLost("the connection was given up")

    def _fail(self, error: Exception) -> None:
        for waiting in (self._receiving, self._sending):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
