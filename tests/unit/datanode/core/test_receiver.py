"""The arithmetic of segments that arrive in any order, more than once, and cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datanode.core.receiver import (
    RECEIVE_PIECE_BYTES,
    ChunkRecord,
    Piece,
    PrefixFinder,
    ReceivedChunks,
    SegmentShape,
)
from dolmen.protocol.block_messages import SEGMENT_LIMIT_BYTES
from dolmen.protocol.checksums import CHUNK_BYTES, block_digest, chunk_checksums
from dolmen.protocol.errors import InvalidRequest

BOUNDARIES = (1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17)


def block(length: int, salt: int = 0) -> bytes:
    """Return bytes of which no two chunks are alike."""
    words = (length + 7) // 8
    return b"".join((salt << 40 | word).to_bytes(8, "big") for word in range(words))[:length]


def piece(data: bytes, offset: int, end: int) -> Piece:
    part = memoryview(data)[offset:end]
    return Piece(offset, part, chunk_checksums(part))


def accept(received: ReceivedChunks, disk: bytearray, arriving: Piece) -> int:
    """Do what a receiver does; return how many bytes were written."""
    placement = received.place(arriving)
    written = 0
    for start, end in placement.compares:
        at = arriving.offset_bytes + start
        assert disk[at : at + end - start] == arriving.data[start:end]
    for start, end in placement.writes:
        at = arriving.offset_bytes + start
        disk.extend(bytes(max(0, at + end - start - len(disk))))
        disk[at : at + end - start] = arriving.data[start:end]
        written += end - start
    for record in placement.records:
        received.record(record)
    return written


@pytest.mark.parametrize("length", BOUNDARIES)
def test_a_block_that_arrives_whole_is_stored_whole_and_only_once(length: int) -> None:
    data, received, disk = block(length), ReceivedChunks(), bytearray()
    assert accept(received, disk, piece(data, 0, length)) == length
    assert accept(received, disk, piece(data, 0, length)) == 0
    assert (bytes(disk), received.prefix_bytes, received.end_bytes) == (data, length, length)
    assert received.checksums() == chunk_checksums(data)


def test_nothing_received_is_an_empty_prefix() -> None:
    received = ReceivedChunks()
    assert (received.prefix_bytes, received.end_bytes, received.checksums()) == (0, 0, b"")


def test_bytes_behind_a_gap_are_kept_but_not_part_of_the_prefix() -> None:
    data, received, disk = block(3 * CHUNK_BYTES), ReceivedChunks(), bytearray()
    accept(received, disk, piece(data, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES))
    assert (received.prefix_bytes, received.end_bytes) == (0, 3 * CHUNK_BYTES)
    accept(received, disk, piece(data, 0, CHUNK_BYTES))
    assert received.prefix_bytes == CHUNK_BYTES
    accept(received, disk, piece(data, CHUNK_BYTES, 2 * CHUNK_BYTES))
    assert received.prefix_bytes == 3 * CHUNK_BYTES


def test_a_flushed_partial_chunk_grows_without_its_bytes_being_written_again() -> None:
    data, received, disk = block(CHUNK_BYTES), ReceivedChunks(), bytearray()
    assert accept(received, disk, piece(data, 0, 100)) == 100
    assert accept(received, disk, piece(data, 0, 1000)) == 900
    assert received.prefix_bytes == 1000


def test_a_late_duplicate_of_a_shorter_chunk_is_compared_with_the_disk_and_changes_nothing() -> (
    None
):
    data, received, disk = block(CHUNK_BYTES), ReceivedChunks(), bytearray()
    accept(received, disk, piece(data, 0, CHUNK_BYTES))
    placement = received.place(piece(data, 0, 100))
    assert (placement.writes, placement.records, placement.compares) == ([], [], [(0, 100)])


@pytest.mark.parametrize("length", [100, 200])
def test_another_content_for_acknowledged_bytes_is_refused(length: int) -> None:
    received, disk = ReceivedChunks(), bytearray()
    accept(received, disk, piece(block(100), 0, 100))
    with pytest.raises(InvalidRequest, match="chunk 0 is stored already"):
        received.place(piece(block(200, salt=1), 0, length))


@given(data=st.data())
def test_segments_in_any_order_and_any_number_of_times_give_the_same_block(
    data: st.DataObject,
) -> None:
    length = data.draw(st.sampled_from(BOUNDARIES))
    whole, received, disk = block(length), ReceivedChunks(), bytearray()
    chunks = -(-length // CHUNK_BYTES)
    cuts = st.tuples(st.integers(0, chunks - 1), st.integers(1, length), st.booleans())
    written = 0
    for first, end, to_the_end in data.draw(st.lists(cuts, max_size=8)):
        start = first * CHUNK_BYTES
        stop = length if to_the_end else max(end, start + 1)
        written += accept(received, disk, piece(whole, start, stop))
        received.check_invariants()
        assert written == received.stored_bytes
        prefix = received.prefix_bytes
        assert bytes(disk[:prefix]) == whole[:prefix]
        assert received.checksums() == chunk_checksums(whole[:prefix])
    accept(received, disk, piece(whole, 0, length))
    assert bytes(disk) == whole
    assert block_digest(length, received.checksums()) == block_digest(
        length, chunk_checksums(whole)
    )


@given(length=st.integers(1, SEGMENT_LIMIT_BYTES), offset=st.integers(0, 3))
def test_the_pieces_of_a_segment_are_the_segment(length: int, offset: int) -> None:
    checksums = bytes(-(-length // CHUNK_BYTES) * 8)
    shape = SegmentShape(offset * CHUNK_BYTES, length, checksums)
    shape.check(offset * CHUNK_BYTES + length)
    pieces = list(shape.pieces())
    assert sum(size for _, size, _ in pieces) == length
    assert b"".join(sums for _, _, sums in pieces) == checksums
    expected = offset * CHUNK_BYTES
    for start, size, sums in pieces:
        assert start == expected
        assert size <= RECEIVE_PIECE_BYTES
        assert len(sums) == -(-size // CHUNK_BYTES) * 8
        expected += size


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (SegmentShape(1, 10, bytes(8)), "chunk boundary"),
        (SegmentShape(-CHUNK_BYTES, 10, bytes(8)), "chunk boundary"),
        (SegmentShape(0, 0, b""), "has 1 to"),
        (SegmentShape(0, SEGMENT_LIMIT_BYTES + 1, b""), "has 1 to"),
        (SegmentShape(CHUNK_BYTES, CHUNK_BYTES + 1, bytes(16)), "the block at"),
        (SegmentShape(0, 10, bytes(16)), "one checksum for each"),
    ],
)
def test_a_segment_that_cannot_be_stored_is_refused(shape: SegmentShape, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        shape.check(2 * CHUNK_BYTES)


def find_prefix(records: list[ChunkRecord], disk: bytes) -> ReceivedChunks:
    finder = PrefixFinder(records)
    for start in range(0, len(disk) + 1, 2 * CHUNK_BYTES):
        finder.feed(memoryview(disk)[start : start + 2 * CHUNK_BYTES])
    return finder.received


def test_after_a_crash_the_longest_record_that_fits_the_disk_counts() -> None:
    data = block(2 * CHUNK_BYTES)
    received = ReceivedChunks.of_whole(CHUNK_BYTES, chunk_checksums(data[:CHUNK_BYTES]))
    short, long = (
        ChunkRecord(1, size, chunk_checksums(data[CHUNK_BYTES : CHUNK_BYTES + size]))
        for size in (10, 2000)
    )
    records = [*received.records(), short, long]
    assert find_prefix(records, data).prefix_bytes == CHUNK_BYTES + 2000
    assert find_prefix(records, data[: CHUNK_BYTES + 1999]).prefix_bytes == CHUNK_BYTES + 10
    assert find_prefix(records, data[: CHUNK_BYTES + 9]).prefix_bytes == CHUNK_BYTES


@given(flipped=st.integers(0, 3 * CHUNK_BYTES - 1), length=st.integers(0, 3 * CHUNK_BYTES))
def test_a_flipped_or_missing_byte_ends_the_prefix_before_its_chunk(
    flipped: int, length: int
) -> None:
    data = block(3 * CHUNK_BYTES)
    records = ReceivedChunks.of_whole(len(data), chunk_checksums(data)).records()
    damaged = bytearray(data)
    damaged[flipped] ^= 1
    good_chunks = min(flipped, length) // CHUNK_BYTES
    found = find_prefix(records, bytes(damaged[:length]))
    assert found.prefix_bytes == good_chunks * CHUNK_BYTES
    assert find_prefix([], data).prefix_bytes == 0
