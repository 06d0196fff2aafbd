"""Waiting for a share of bounded memory: in turn, and never for a file that gives nothing back.

Who wants more than there is waits for his turn at the spare part (`core/byte_shares`), and nobody
who came later takes it before him. A file whose last bytes have been given back is served at once,
in turn or not, with the least that it always gets. What a writer holds is on its way and is given
back when it has arrived, so every wait ends, though other files stand still with all that there is.
"""

import asyncio
from dataclasses import dataclass

from dolmen.client.core.byte_shares import ByteShares, Share

KEPT_BUFFER_BYTES_MIN = 1024 * 1024


@dataclass(frozen=True, eq=False)
class _Waiting:
    """Somebody who wants so much for his file."""

    share: Share
    wanted_bytes: int
    granted: "asyncio.Future[int]"


class ByteBudget:
    """The memory of one client for what it writes.

    Buffers that were given back are kept for the next ones, because fresh memory costs more than
    the copy into it; they stay within what nobody holds.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._shares = ByteShares(limit_bytes)
        self._waiting: dict[_Waiting, None] = {}
        self._kept: list[bytearray] = []
        self._kept_bytes = 0

    def open(self) -> "FileBudget":
        """Return the part of one more file."""
        return FileBudget(self, self._shares.open())

    def take_buffer(self, length_bytes: int) -> bytearray:
        """Return a buffer for so many bytes that were granted: a kept one, or one that is empty."""
        for place, buffer in enumerate(self._kept):
            if len(buffer) == length_bytes:
                self._kept_bytes -= length_bytes
                return self._kept.pop(place)
        return bytearray()

    def keep_buffer(self, buffer: bytearray) -> None:
        """A buffer is not used any more; a small one costs no more than keeping it would."""
        if len(buffer) >= KEPT_BUFFER_BYTES_MIN:
            self._kept.append(buffer)
            self._kept_bytes += len(buffer)
            self._drop_buffers()

    def _drop_buffers(self) -> None:
        while self._kept_bytes > self._shares.spare_bytes:
            self._kept_bytes -= len(self._kept.pop(0))

    async def take(self, share: Share, wanted_bytes: int) -> int:
        """Return when some of the wanted bytes may be held, and how many; 0 when interrupted."""
        if (not self._waiting or not share.held_bytes) and (granted := share.take(wanted_bytes)):
            self._drop_buffers()
            return granted
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(share, wanted_bytes, future)
        self._waiting[waiting] = None
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                share.give_back(future.result())
            raise
        finally:
            self._waiting.pop(waiting, None)
            self.serve()

    def serve(self) -> None:
        """Something was given back: let those go on whose turn it is."""
        is_turn = True
        for waiting in list(self._waiting):
            if waiting.granted.done():
                continue
            granted = 0
            if is_turn or not waiting.share.held_bytes:
                granted = waiting.share.take(waiting.wanted_bytes)
            if granted:
                waiting.granted.set_result(granted)
            else:
                is_turn = False
        self._drop_buffers()

    def interrupt(self, share: Share) -> None:
        """Let whoever waits for this file go without anything."""
        for waiting in list(self._waiting):
            if waiting.share is share and not waiting.granted.done():
                waiting.granted.set_result(0)


class FileBudget:
    """What one file being written holds."""

    def __init__(self, budget: ByteBudget, share: Share) -> None:
        self._budget = budget
        self._share = share
        self._is_closed = False

    @property
    def held_bytes(self) -> int:
        """What is held."""
        return self._share.held_bytes

    async def take(self, wanted_bytes: int) -> int:
        """Return when at least some of the wanted bytes may be held, and how many; 0 when
        interrupted."""
        return await self._budget.take(self._share, wanted_bytes)

    def give_back(self, length_bytes: int) -> None:
        """Hold so many bytes less."""
        if not self._is_closed:
            self._share.give_back(length_bytes)
            self._budget.serve()

    def take_buffer(self, length_bytes: int) -> bytearray:
        """Return a buffer for so many bytes that were granted."""
        return self._budget.take_buffer(length_bytes)

    def keep_buffer(self, buffer: bytearray) -> None:
        """A buffer is not used any more."""
        self._budget.keep_buffer(buffer)

    def interrupt(self) -> None:
        """Let whoever waits go without anything."""
        self._budget.interrupt(self._share)

    def close(self) -> None:
        """Hold nothing, whatever is given back later. Idempotent."""
        self.interrupt()
        self.give_back(self.held_bytes)
        self._is_closed = True
