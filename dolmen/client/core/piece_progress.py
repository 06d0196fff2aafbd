"""How much of a piece has been read, when no replica has all of it right.

What one replica has given, verified, is kept, and the next is asked for what comes behind. When all
have failed at the same place for damage, the rest is asked for chunk by chunk: a replica that was
cut refuses a long range, and may have the chunk that is missing. So a block can be read as long as
each chunk of it is good somewhere.
"""

from dataclasses import dataclass

from dolmen.client.core.read_plan import Piece
from dolmen.protocol.checksums import CHUNK_BYTES


@dataclass
class PieceProgress:
    """What is left of a piece, and of the buffer that it belongs into."""

    piece: Piece
    buffer: memoryview
    chunk_by_chunk: bool = False

    @property
    def is_done(self) -> bool:
        """Whether all has been read."""
        return self.piece.length == 0

    @property
    def wanted(self) -> Piece:
        """What is to be asked for next."""
        length = self.piece.length
        if self.chunk_by_chunk:
            length = min(length, CHUNK_BYTES - self.piece.offset % CHUNK_BYTES)
        return self.piece._replace(length=length)

    def got(self, length_bytes: int) -> None:
        """So many bytes more have arrived, verified."""
        start, offset, length = self.piece
        self.piece = Piece(start, offset + length_bytes, length - length_bytes)
        self.buffer = self.buffer[length_bytes:]

    def narrow(self) -> bool:
        """Ask for one chunk at a time from now on; return whether that is less than before."""
        before = self.wanted
        self.chunk_by_chunk = True
        return self.wanted.length < before.length
