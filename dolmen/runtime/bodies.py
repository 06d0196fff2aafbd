"""What sending a body means, whatever carries it: its length is kept, and its progress has a
deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from dolmen.protocol.checksums import Buffer
from dolmen.runtime.transport import Body

STEP_BYTES = 256 * 1024
"""Bytes per write: each must be taken within the progress deadline, so that a slow peer is not
taken for a dead one."""


class Progress:
    """The progress deadline of one direction, kept by an `asyncio.Timeout` up the stack."""

    def __init__(self, stall_s: float, deadline: asyncio.Timeout) -> None:
        self._stall_s = stall_s
        self._deadline: asyncio.Timeout | None = deadline

    def expect(self) -> None:
        """The peer owes us something from now on."""
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._stall_s)

    def rest(self) -> None:
        """We wait for our own source; the peer owes us nothing."""
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(None)

    def forget(self) -> None:
        """The deadline's scope has ended."""
        self._deadline = None


async def send_pieces(
    body: Body, write: Callable[[memoryview], Awaitable[None]], progress: Progress
) -> None:
    """Write all pieces of `body`; ValueError if they are not as long as it says."""
    left = body.length_bytes
    pieces = aiter(body.pieces)
    try:
        progress.rest()
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise ValueError(f"a body of {body.length_bytes} bytes has more than that")
            view = memoryview(piece)
            for start in range(0, len(view), STEP_BYTES):
                progress.expect()
                await write(view[start : start + STEP_BYTES])
            progress.rest()
        if left:
            raise ValueError(f"a body of {body.length_bytes} bytes ended {left} bytes short")
    finally:
        await _close_pieces(pieces)
    progress.expect()


async def _close_pieces(pieces: AsyncIterator[Buffer]) -> None:
    """Let a generator's `finally` run now, not when it is collected."""
    aclose = getattr(pieces, "aclose", None)
    if aclose is not None:
        await aclose()
