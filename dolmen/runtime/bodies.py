"""What sending a body means, whatever carries it: its length is kept, and its progress has a
deadline."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Protocol

from dolmen.protocol.checksums import Buffer
from dolmen.runtime.transport import Body


class Progress(Protocol):
    """The progress deadline of one direction."""

    def expect(self) -> None:
        """The peer owes us something from now on."""

    def rest(self) -> None:
        """We wait for our own source; the peer owes us nothing."""


class SourceFailed(Exception):
    """The pieces of a body failed, or are not as long as promised: the sender's fault, not the
    peer's.

    `error` is what is to be raised instead, where the sender is told.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


async def send_pieces(
    body: Body, write: Callable[[memoryview], Awaitable[None]], progress: Progress
) -> None:
    """Write all pieces of `body`; SourceFailed if they fail or have not the length it promises."""
    left = body.length_bytes
    pieces = aiter(body.pieces)
    try:
        while (piece := await _next_piece(pieces, progress)) is not None:
            left -= len(piece)
            if left < 0:
                raise _wrong_length(body, "has more than that")
            progress.expect()
            await write(memoryview(piece))
        if left:
            raise _wrong_length(body, f"ended {left} bytes short")
    finally:
        await close_pieces(pieces)
    progress.expect()


async def _next_piece(pieces: AsyncIterator[Buffer], progress: Progress) -> Buffer | None:
    progress.rest()
    try:
        return await anext(pieces, None)
    except Exception as error:  # whatever it is, it is handed to the sender
        raise SourceFailed(error) from error


def _wrong_length(body: Body, how: str) -> SourceFailed:
    return SourceFailed(ValueError(f"a body of {body.length_bytes} bytes {how}"))


async def close_pieces(pieces: AsyncIterable[Buffer]) -> None:
    """Let a generator's `finally` run now, not when it is collected. Idempotent."""
    aclose = getattr(pieces, "aclose", None)
    if aclose is not None:
        await aclose()
