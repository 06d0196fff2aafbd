"""A file's bytes at every boundary of chunks, segments and blocks: cut by the write plan, received
in any order, finalized, and read in any range, they are the bytes that were written."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datanode.core.checksum_file import FinalizedContents, decode, encode_finalized
from datanode.core.receiver import Piece, ReceivedChunks, SegmentShape
from dolmen.client.core.read_plan import checksums_of, next_piece, runs
from dolmen.client.core.write_plan import WritePlan
from dolmen.protocol.checksums import (
    CHUNK_BYTES,
    block_digest,
    chunk_checksums,
    chunk_count,
    first_bad_chunk,
)

K = CHUNK_BYTES
BLOCK_BYTES = 8 * K
SEGMENT_BYTES = 4 * K
EDGES = sorted(
    {0, 1}
    | {edge + step for edge in (K, SEGMENT_BYTES, BLOCK_BYTES) for step in (-1, 0, 1)}
    | {2 * BLOCK_BYTES - 1, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1}
)
"""0, 1, a chunk ± 1, a segment ± 1, a block ± 1, two blocks ± 1."""

LENGTHS = st.sampled_from(EDGES)
CLUSTER = "0123456789abcdef" * 2


def content(length: int) -> bytes:
    """Return bytes of which no two chunks are alike."""
    return b"".join(number.to_bytes(4, "big") for number in range(length // 4 + 1))[:length]


def segments_of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Cut a file as its writer does; yield (block index, offset in it, bytes)."""
    plan = WritePlan(BLOCK_BYTES, SEGMENT_BYTES)
    at = 0
    while at < len(data):
        place = plan.place(at)
        assert place.offset == 0
        end = min(at + plan.segment_limit(place.segment_offset), len(data))
        yield place.block_index, place.segment_offset, data[at:end]
        at = end
        assert plan.ends_block(at) == (at % BLOCK_BYTES == 0)


class StoredBlock:
    """What a datanode makes of the segments of a block."""

    def __init__(self) -> None:
        self.received = ReceivedChunks()
        self.disk = bytearray(BLOCK_BYTES)

    def receive(self, offset: int, data: bytes) -> None:
        shape = SegmentShape(offset, len(data), chunk_checksums(data))
        shape.check(BLOCK_BYTES)
        for start, length, checksums in shape.pieces():
            view = memoryview(data)[start - offset :][:length]
            assert first_bad_chunk(view, checksums) is None
            placement = self.received.place(Piece(start, view, checksums))
            for begin, end in placement.writes:
                self.disk[start + begin : start + end] = view[begin:end]
            for record in placement.records:
                self.received.record(record)
        self.received.check_invariants()

    def finalize(self, number: int) -> FinalizedContents:
        length, checksums = self.received.prefix_bytes, self.received.checksums()
        digest = block_digest(length, checksums)
        contents = FinalizedContents(CLUSTER, number, 1, length, digest, checksums)
        found = decode(encode_finalized(contents), CLUSTER, number)
        assert isinstance(found, FinalizedContents)
        return found


def stored(data: bytes, order: list[tuple[int, int, bytes]]) -> dict[int, StoredBlock]:
    blocks: dict[int, StoredBlock] = {}
    for index, offset, segment in order:
        blocks.setdefault(index, StoredBlock()).receive(offset, segment)
    assert len(blocks) == -(-len(data) // BLOCK_BYTES)
    return blocks


def read(blocks: dict[int, StoredBlock], start: int, end: int, length: int) -> bytes:
    """Read a range as a reader does: piece by piece, each chunk verified."""
    found = bytearray()
    while start < end:
        index = start // BLOCK_BYTES
        block = blocks[index]
        contents = block.finalize(index)
        here = (index * BLOCK_BYTES, min(BLOCK_BYTES, length - index * BLOCK_BYTES))
        piece = next_piece(start, end, here, 2 * K)
        for run in runs(piece.offset, piece.length, here[1], K):
            received = block.disk[run.offset : run.offset + run.length]
            checksums = checksums_of(contents.checksums, run.offset, run.length)
            assert first_bad_chunk(received, checksums) is None
            found += received[run.skip : run.skip + run.keep]
        start += piece.length
    return bytes(found)


@pytest.mark.parametrize("length", EDGES)
def test_a_file_of_this_length_is_read_as_it_was_written(length: int) -> None:
    data = content(length)
    order = list(segments_of(data))
    assert b"".join(segment for _, _, segment in order) == data
    blocks = stored(data, order)
    assert read(blocks, 0, length, length) == data
    lengths = [blocks[index].finalize(index).length_bytes for index in sorted(blocks)]
    assert sum(lengths) == length
    assert all(whole == BLOCK_BYTES for whole in lengths[:-1])


@settings(max_examples=60)
@given(LENGTHS.filter(bool), st.data())
def test_any_range_is_right_after_segments_that_came_in_any_order_and_twice(
    length: int, data: st.DataObject
) -> None:
    written = content(length)
    segments = list(segments_of(written))
    order = data.draw(st.permutations(segments))
    again = data.draw(st.lists(st.sampled_from(segments), max_size=3))
    blocks = stored(written, [*order, *again])
    near = st.sampled_from([edge for edge in EDGES if edge <= length])
    start, end = sorted((data.draw(near), data.draw(near)))
    assert read(blocks, start, end, length) == written[start:end]


@settings(max_examples=60)
@given(LENGTHS.filter(bool), st.data())
def test_no_flipped_bit_passes_the_checksums_of_its_block(length: int, data: st.DataObject) -> None:
    written = bytearray(content(length)[:BLOCK_BYTES])
    checksums = chunk_checksums(written)
    edges = [edge for edge in EDGES if edge < len(written)]
    place = data.draw(st.sampled_from([*edges, len(written) - 1]))
    written[place] ^= 1 << data.draw(st.integers(0, 7))
    assert first_bad_chunk(written, checksums) == place // K
    assert len(checksums) == 8 * chunk_count(len(written))
    assert block_digest(len(written), chunk_checksums(written)) != block_digest(
        len(written), checksums
    )


@given(LENGTHS, LENGTHS)
def test_blocks_of_other_length_or_content_have_another_digest(one: int, other: int) -> None:
    digests = {block_digest(length, chunk_checksums(content(length))) for length in (one, other)}
    assert len(digests) == len({one, other})
