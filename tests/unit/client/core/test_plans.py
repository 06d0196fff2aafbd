"""Write and read plans: every byte exactly once, on chunk boundaries, at any length."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.read_plan import checksums_of, next_piece, runs, widen
from dolmen.client.core.write_plan import WritePlan
from dolmen.protocol.checksums import CHUNK_BYTES, chunk_checksums, chunk_count

K = CHUNK_BYTES
NEAR_CHUNKS = st.builds(lambda n, d: max(0, n * K + d), st.integers(0, 40), st.integers(-2, 2))


@given(blocks=st.integers(1, 64), segment=st.integers(1, 64), offset=NEAR_CHUNKS)
def test_a_byte_has_one_place_and_segments_start_on_chunks(
    blocks: int, segment: int, offset: int
) -> None:
    plan = WritePlan(blocks * K, segment * K)
    place = plan.place(offset)
    assert place.block_index * blocks * K + place.segment_offset + place.offset == offset
    assert place.segment_offset % K == 0
    assert 0 <= place.offset < plan.segment_limit(place.segment_offset) <= segment * K


@given(blocks=st.integers(1, 64), segment=st.integers(1, 64))
def test_the_segments_of_a_block_join_without_a_gap(blocks: int, segment: int) -> None:
    plan = WritePlan(blocks * K, segment * K)
    at = 0
    while at < blocks * K:
        assert plan.place(at) == (0, at, 0)
        at += plan.segment_limit(at)
    assert at == blocks * K
    assert plan.ends_block(at)
    assert not plan.ends_block(at - 1)
    assert not plan.ends_block(0)


def test_small_blocks_get_small_segments_and_large_ones_the_asked_size() -> None:
    assert WritePlan(4 << 20, 4 << 20).segment_bytes == 1 << 20
    assert WritePlan(128 << 20, 4 << 20).segment_bytes == 4 << 20
    assert WritePlan(K, 4 << 20).segment_bytes == 4 * K
    assert WritePlan(128 << 20, K).segment_bytes == K


@pytest.mark.parametrize(("block", "segment"), [(0, K), (K, 0), (K, K - 1), (K, K + 1)])
def test_a_plan_that_makes_no_sense_is_refused(block: int, segment: int) -> None:
    with pytest.raises(ValueError, match="no plan"):
        WritePlan(block, segment)


@given(
    length=NEAR_CHUNKS.filter(bool),
    data=st.data(),
    piece_chunks=st.integers(1, 8),
)
def test_pieces_cover_a_range_once_and_break_at_chunks(
    length: int, data: st.DataObject, piece_chunks: int
) -> None:
    block = (7 * K + 11, length)
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start + 1, length))
    at, stop = block[0] + start, block[0] + end
    while at < stop:
        piece = next_piece(at, stop, block, piece_chunks * K)
        assert piece.block_start + piece.offset == at
        assert 0 < piece.length <= piece_chunks * K
        at += piece.length
        assert at == stop or (at - block[0]) % K == 0
    assert at == stop


def test_a_position_outside_of_the_block_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the block"):
        next_piece(10, 20, (11, 5), K)


@given(block_length=NEAR_CHUNKS.filter(bool), data=st.data(), run_chunks=st.integers(1, 4))
def test_runs_bring_whole_chunks_and_keep_exactly_the_range(
    block_length: int, data: st.DataObject, run_chunks: int
) -> None:
    offset = data.draw(st.integers(0, block_length - 1))
    length = data.draw(st.integers(1, block_length - offset))
    at, wide = widen(offset, length, block_length)
    kept = []
    for run in runs(offset, length, block_length, run_chunks * K):
        assert run.offset == at
        assert run.offset % K == 0
        assert run.length % K == 0 or run.offset + run.length == block_length
        assert run.length <= (run_chunks * K if run.is_whole else K)
        kept.append((run.offset + run.skip, run.keep))
        at += run.length
    assert at == widen(offset, length, block_length)[0] + wide
    assert kept[0][0] == offset
    assert sum(count for _, count in kept) == length
    assert all(here + n == there for (here, n), (there, _) in pairwise(kept))


def test_checksums_of_a_run_are_those_of_its_chunks() -> None:
    data = bytes(range(256)) * (3 * K // 256) + b"end"
    checksums = chunk_checksums(data)
    assert checksums_of(checksums, 0, len(data)) == checksums
    assert checksums_of(checksums, K, K) == chunk_checksums(data[K : 2 * K])
    assert checksums_of(checksums, 3 * K, 3) == chunk_checksums(b"end")
    assert len(checksums) == 8 * chunk_count(len(data))
