"""The arithmetic of a block that arrives in segments, in any order and more than once.

A segment is cut into pieces of whole chunks; each chunk is verified before any of it is written.
What `ReceivedChunks` has recorded is acknowledged: those bytes are never written again. A chunk
that arrives again is compared with what is known and skipped; one that goes on where a shorter
chunk ended adds only what is new. A writer sends one content for one offset under one stamp:
anything else is refused.

The *prefix* is what the replica is worth: all bytes from 0 up to the first gap, or the first chunk
that is not full.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import xxhash

from dolmen.protocol.block_messages import SEGMENT_LIMIT_BYTES, WHOLE_LIMIT_BYTES
from dolmen.protocol.checksums import CHECKSUM_BYTES, CHUNK_BYTES, Buffer, chunk_count
from dolmen.protocol.errors import InvalidRequest

RECEIVE_PIECE_BYTES = 16 * CHUNK_BYTES
"""Two pieces of a stream are in memory at once, one arriving and one leaving: 2 MiB (rule 20). Half
of that would cost a datanode a third more processor time: each piece is handed to a thread."""


class ChunkRecord(msgspec.Struct, frozen=True):
    """One chunk that is stored: its index, how many bytes it has, their checksum."""

    index: int
    length_bytes: int
    checksum: bytes


class Piece(msgspec.Struct, frozen=True):
    """Some chunks of a segment, in memory and verified."""

    offset_bytes: int
    data: memoryview
    checksums: bytes


@dataclass(slots=True)
class Placement:
    """What is to be done with a piece: ranges of it, and the records that make it acknowledged."""

    writes: list[tuple[int, int]] = field(default_factory=list)
    """Bytes that are not stored yet (start, end), neighbours merged."""
    compares: list[tuple[int, int]] = field(default_factory=list)
    """Bytes that are stored as part of a longer chunk: they must equal those on disk."""
    records: list[ChunkRecord] = field(default_factory=list)

    def write(self, start: int, end: int) -> None:
        """Add a range to write."""
        if self.writes and self.writes[-1][1] == start:
            self.writes[-1] = (self.writes[-1][0], end)
        else:
            self.writes.append((start, end))


@dataclass(frozen=True, slots=True)
class SegmentShape:
    """Where a segment lies, and the checksums that came with it."""

    offset_bytes: int
    length_bytes: int
    checksums: bytes
    is_block: bool = False  #: whole, to be stored in one piece

    @property
    def piece_bytes(self) -> int:
        """How long its pieces are, the last one perhaps excepted."""
        return self.length_bytes if self.is_block else RECEIVE_PIECE_BYTES

    def check(self, length_limit_bytes: int) -> None:
        """Raise InvalidRequest unless the segment can be stored in a block of this limit."""
        end_bytes = self.offset_bytes + self.length_bytes
        if self.offset_bytes < 0 or self.offset_bytes % CHUNK_BYTES:
            raise InvalidRequest(
                f"a segment starts on a chunk boundary, not at {self.offset_bytes}"
            )
        if not 0 < self.length_bytes <= SEGMENT_LIMIT_BYTES:
            raise InvalidRequest(
                f"a segment has 1 to {SEGMENT_LIMIT_BYTES} bytes, not {self.length_bytes}"
            )
        if end_bytes > length_limit_bytes:
            raise InvalidRequest(
                f"the segment ends at {end_bytes}, the block at {length_limit_bytes} at most"
            )
        if self.is_block and (self.offset_bytes or self.length_bytes > WHOLE_LIMIT_BYTES):
            raise InvalidRequest(
                f"a block that comes whole has at most {WHOLE_LIMIT_BYTES} bytes from 0 on"
            )
        if len(self.checksums) != chunk_count(self.length_bytes) * CHECKSUM_BYTES:
            raise InvalidRequest("a segment carries one checksum for each of its chunks")

    def pieces(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (offset in the block, length, checksums) of each piece, in order."""
        for start in range(0, self.length_bytes, self.piece_bytes):
            end = min(start + self.piece_bytes, self.length_bytes)
            first, last = start // CHUNK_BYTES, chunk_count(end)
            checksums = self.checksums[first * CHECKSUM_BYTES : last * CHECKSUM_BYTES]
            yield self.offset_bytes + start, end - start, checksums


class ReceivedChunks:
    """The acknowledged chunks of one unfinished replica: 12 bytes of memory for each."""

    __slots__ = ("_checksums", "_full", "_lengths", "stored_bytes")

    def __init__(self) -> None:
        self._lengths = array("I")  # 0 where nothing is stored
        self._checksums = bytearray()
        self._full = 0  # chunks from 0 on that are full
        self.stored_bytes = 0
        """All bytes stored, those behind a gap included."""

    @classmethod
    def of_whole(cls, length_bytes: int, checksums: Buffer) -> "ReceivedChunks":
        """Return the chunks of a replica that has all its bytes."""
        received = cls()
        for index in range(chunk_count(length_bytes)):
            start = index * CHECKSUM_BYTES
            length = min(CHUNK_BYTES, length_bytes - index * CHUNK_BYTES)
            checksum = bytes(checksums[start : start + CHECKSUM_BYTES])
            received.record(ChunkRecord(index, length, checksum))
        return received

    @property
    def prefix_bytes(self) -> int:
        """The length of the contiguous run of bytes from 0 on."""
        partial = self._lengths[self._full] if self._full < len(self._lengths) else 0
        return self._full * CHUNK_BYTES + partial

    @property
    def end_bytes(self) -> int:
        """Where the last stored chunk ends: more than the prefix if there is a gap."""
        if not self._lengths:
            return 0
        return (len(self._lengths) - 1) * CHUNK_BYTES + self._lengths[-1]

    def known(self, index: int) -> ChunkRecord | None:
        """Return what is stored of a chunk."""
        if index >= len(self._lengths) or not self._lengths[index]:
            return None
        start = index * CHECKSUM_BYTES
        checksum = bytes(self._checksums[start : start + CHECKSUM_BYTES])
        return ChunkRecord(index, self._lengths[index], checksum)

    def record(self, record: ChunkRecord) -> None:
        """The chunk is stored: from now on it is acknowledged."""
        missing = record.index + 1 - len(self._lengths)
        if missing > 0:
            self._lengths.extend([0] * missing)
            self._checksums.extend(bytes(missing * CHECKSUM_BYTES))
        start = record.index * CHECKSUM_BYTES
        self.stored_bytes += record.length_bytes - self._lengths[record.index]
        self._lengths[record.index] = record.length_bytes
        self._checksums[start : start + CHECKSUM_BYTES] = record.checksum
        while self._full < len(self._lengths) and self._lengths[self._full] == CHUNK_BYTES:
            self._full += 1

    def check_invariants(self) -> None:
        """Raise AssertionError if the chunks contradict one another."""
        lengths = list(self._lengths)
        assert len(self._checksums) == len(lengths) * CHECKSUM_BYTES, "a checksum for each chunk"
        assert sum(lengths) == self.stored_bytes, f"{lengths} are not {self.stored_bytes} bytes"
        full = 0
        while full < len(lengths) and lengths[full] == CHUNK_BYTES:
            full += 1
        assert full == self._full, f"{full} chunks are full, {self._full} are counted"

    def place(self, piece: Piece) -> Placement:
        """Decide about a verified piece; InvalidRequest if it contradicts what is stored."""
        placement = Placement()
        first = piece.offset_bytes // CHUNK_BYTES
        for number in range(chunk_count(len(piece.data))):
            start = number * CHUNK_BYTES
            end = min(start + CHUNK_BYTES, len(piece.data))
            checksum = piece.checksums[number * CHECKSUM_BYTES : (number + 1) * CHECKSUM_BYTES]
            record = ChunkRecord(first + number, end - start, checksum)
            self._place_chunk(placement, record, piece.data, start)
        return placement

    def _place_chunk(
        self, placement: Placement, record: ChunkRecord, data: memoryview, start: int
    ) -> None:
        known = self.known(record.index)
        stored = known.length_bytes if known else 0
        if known and record.length_bytes < stored:
            placement.compares.append((start, start + record.length_bytes))
            return
        if known:
            same = data[start : start + stored]
            if xxhash.xxh3_64_digest(same) != known.checksum:
                raise contradiction(record.index)
        if record.length_bytes > stored:
            placement.write(start + stored, start + record.length_bytes)
            placement.records.append(record)

    def checksums(self) -> bytes:
        """Return the packed checksums of the prefix."""
        return bytes(self._checksums[: chunk_count(self.prefix_bytes) * CHECKSUM_BYTES])

    def whole_chunks(self, count: int) -> "ReceivedChunks":
        """Return a copy of the first `count` chunks, which must be full."""
        if count > self._full:
            raise ValueError(f"only {self._full} chunks from 0 on are full, not {count}")
        return ReceivedChunks.of_whole(
            count * CHUNK_BYTES, memoryview(self._checksums)[: count * CHECKSUM_BYTES]
        )

    def records(self) -> list[ChunkRecord]:
        """Return the records of the prefix, in order."""
        known = (self.known(index) for index in range(chunk_count(self.prefix_bytes)))
        return [record for record in known if record]


def contradiction(index: int) -> InvalidRequest:
    """Return the error for a writer that sends another content for bytes it was acknowledged."""
    return InvalidRequest(f"chunk {index} is stored already, with another content")


class PrefixFinder:
    """Finds what an unfinished replica is worth after a crash (rule 13).

    Fed with the file's bytes from 0 on, it keeps the longest run of chunks for which *some* record
    verifies. The size of the file is never believed.
    """

    def __init__(self, records: list[ChunkRecord]) -> None:
        self.received = ReceivedChunks()
        self._by_chunk: dict[int, list[ChunkRecord]] = {}
        for record in records:
            self._by_chunk.setdefault(record.index, []).append(record)
        self._next = 0
        self.ended = not records

    def feed(self, data: memoryview) -> None:
        """Take the next bytes: whole chunks, but for the end of the file."""
        for start in range(0, len(data), CHUNK_BYTES):
            if self.ended:
                return
            self._take_chunk(data[start : start + CHUNK_BYTES])

    def _take_chunk(self, chunk: memoryview) -> None:
        candidates = self._by_chunk.get(self._next, [])
        for record in sorted(candidates, key=lambda record: -record.length_bytes):
            bytes_of_it = chunk[: record.length_bytes]
            if len(bytes_of_it) < record.length_bytes:
                continue
            if xxhash.xxh3_64_digest(bytes_of_it) == record.checksum:
                self.received.record(record)
                self._next += 1
                self.ended = record.length_bytes < CHUNK_BYTES
                return
        self.ended = True
