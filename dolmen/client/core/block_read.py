"""What one read wants of one block, and how much of it has come, when no replica has all of it
right.

Its parts are filled in order. What one replica has given, verified, is kept, and the next is asked
for what comes behind. When all have failed at the same place for damage, the rest is asked for
chunk by chunk: a replica that was cut refuses a long range, and may have the chunk that is missing.
So a block can be read as long as each chunk of it is good somewhere.

A replica that races another one fills a twin, which has memory of its own: two never write into the
same place, and what the loser had is dropped with it.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from dolmen.client.core.read_plan import Piece
from dolmen.protocol.checksums import CHUNK_BYTES


@dataclass
class Part:
    """What is left of a piece, and of the buffer that it belongs into."""

    piece: Piece
    buffer: memoryview


class BlockRead:
    """The parts of one block that are still wanted."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = deque(parts)
        self.left_bytes = sum(part.piece.length for part in self._parts)
        self._chunk_by_chunk = False

    @property
    def is_done(self) -> bool:
        """Whether all has been read."""
        return self.left_bytes == 0

    @property
    def part_count(self) -> int:
        """How many parts are not read whole yet."""
        return len(self._parts)

    @property
    def wanted(self) -> list[Piece]:
        """What is to be asked for next, in order."""
        if not self._chunk_by_chunk:
            return [part.piece for part in self._parts]
        return [self.first]

    @property
    def first(self) -> Piece:
        """What is to be read next."""
        piece = self._parts[0].piece
        return piece._replace(length=_within_chunk(piece)) if self._chunk_by_chunk else piece

    @property
    def buffer(self) -> memoryview:
        """Where the next bytes go."""
        return self._parts[0].buffer

    def got(self, length_bytes: int) -> None:
        """So many bytes more of the first part have arrived, verified."""
        part = self._parts[0]
        start, offset, length = part.piece
        part.piece = Piece(start, offset + length_bytes, length - length_bytes)
        part.buffer = part.buffer[length_bytes:]
        self.left_bytes -= length_bytes
        if length_bytes == length:
            self._parts.popleft()

    def narrow(self) -> bool:
        """Ask for one chunk at a time from now on; return whether that is less than before."""
        before = self.wanted
        self._chunk_by_chunk = True
        return self.wanted != before

    def skip_part(self) -> None:
        """The first part cannot be had: go on with the one after it."""
        self.left_bytes -= self._parts.popleft().piece.length
        self._chunk_by_chunk = False


class Twin(BlockRead):
    """What `read` wants now, into memory of its own."""

    def __init__(self, read: BlockRead) -> None:
        wanted = read.wanted
        self._memory = memoryview(bytearray(sum(piece.length for piece in wanted)))
        self._began_at = read.left_bytes
        parts, start = [], 0
        for piece in wanted:
            parts.append(Part(piece, self._memory[start : start + piece.length]))
            start += piece.length
        super().__init__(parts)

    def give(self, read: BlockRead) -> None:
        """Give what has come to the read it is the twin of, which may have got something itself."""
        given = self._began_at - read.left_bytes
        come = len(self._memory) - self.left_bytes
        while given < come:
            room = read.buffer
            count = min(len(room), come - given)
            room[:count] = self._memory[given : given + count]
            read.got(count)
            given += count


def _within_chunk(piece: Piece) -> int:
    return min(piece.length, CHUNK_BYTES - piece.offset % CHUNK_BYTES)
