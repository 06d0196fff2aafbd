"""The log's bytes: whatever happens to them is seen."""

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from dolmen.protocol.errors import DataDamaged, StandbyNamenode, UnsupportedVersion
from namenode.core.edit_batches import (
    BATCH_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
    SEGMENT_HEADER_BYTES,
    START,
    Batch,
    Position,
    decode_batch,
    decode_segment_header,
    encode_batch,
    encode_segment_header,
    is_torn_tail,
    make_batch,
    walk_segment,
)

CLUSTER = "0123456789abcdef" * 2
GROUPS = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=3), min_size=1, max_size=5)


def segment(batches: list[list[bytes]]) -> tuple[bytes, list[Batch], list[int]]:
    """Return a segment's bytes, its batches, and where each ends."""
    position, made, ends = START, [], []
    data = encode_segment_header(CLUSTER, START, 1)
    for groups in batches:
        batch = make_batch(position, 1, groups)
        position = position.follow(batch)
        data += encode_batch(batch)
        made.append(batch)
        ends.append(len(data))
    return data, made, ends


@given(GROUPS)
def test_a_segment_is_read_as_it_was_written(batches: list[list[bytes]]) -> None:
    data, made, ends = segment(batches)
    assert decode_segment_header(data) == (CLUSTER, Position(0, START.digest, 1))
    assert list(walk_segment(data, START)) == list(zip(ends, made, strict=True))
    groups = [group for batch in made for group in batch.groups()]
    expected = [group for groups in batches for group in groups]
    assert groups == list(enumerate(expected, start=1))


@given(batches=GROUPS, share=st.floats(0, 1, exclude_max=True))
def test_a_cut_segment_keeps_its_longest_intact_prefix(
    batches: list[list[bytes]], share: float
) -> None:
    data, made, ends = segment(batches)
    length = SEGMENT_HEADER_BYTES + int((len(data) - SEGMENT_HEADER_BYTES) * share)
    found = list(walk_segment(data[:length], START))
    kept = sum(end <= length for end in ends)
    assert [batch for _, batch in found] == made[:kept]
    end = ends[kept - 1] if kept else SEGMENT_HEADER_BYTES
    assert is_torn_tail(data[:length], end)


@given(batches=GROUPS, share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(batches=[[b""]], share=0.0625, bit=0)
def test_a_flipped_bit_is_damage_unless_it_is_in_the_last_batch(
    batches: list[list[bytes]], share: float, bit: int
) -> None:
    data, made, ends = segment(batches)
    place = int(len(data) * share)
    flipped = bytearray(data)
    flipped[place] ^= 1 << bit
    flipped_data = bytes(flipped)
    if place < SEGMENT_HEADER_BYTES:
        # A greater version is told from the head alone: a newer head may have another digest.
        with pytest.raises((DataDamaged, UnsupportedVersion)):
            decode_segment_header(flipped_data)
        return
    hit = sum(end <= place for end in ends)
    found = list(walk_segment(flipped_data, START))
    assert [batch for _, batch in found] == made[:hit]
    end = ends[hit - 1] if hit else SEGMENT_HEADER_BYTES
    assert is_torn_tail(flipped_data, end) == (hit == len(made) - 1)


def test_more_than_one_batch_is_never_taken_for_a_torn_one() -> None:
    data = segment([[b"one"]])[0]
    assert is_torn_tail(data + bytes(BATCH_LIMIT_BYTES), len(data))
    assert not is_torn_tail(data + bytes(BATCH_LIMIT_BYTES + 1), len(data))


def test_a_batch_of_another_history_or_place_does_not_follow() -> None:
    one = make_batch(START, 1, [b"one"])
    other = make_batch(START, 1, [b"other"])
    position = START.follow(one)
    with pytest.raises(DataDamaged, match="another history"):
        position.follow(make_batch(START.follow(other), 1, [b"two"]))
    with pytest.raises(DataDamaged, match="from transaction 1 to 1"):
        position.follow(other)
    with pytest.raises(StandbyNamenode):
        position.follow(make_batch(position, 0, [b"two"]))


def test_a_batch_has_a_limit() -> None:
    make_batch(START, 1, [bytes(PAYLOAD_LIMIT_BYTES - 4)])
    with pytest.raises(ValueError, match="above"):
        make_batch(START, 1, [bytes(PAYLOAD_LIMIT_BYTES - 3)])


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    data = encode_batch(make_batch(START, 1, [b"one"]))
    digest_start = len(data) - 7 - 16
    payload = data[digest_start + 16 :]
    header = data[:4] + (2).to_bytes(4, "big") + data[8:digest_start]
    newer = header + xxhash.xxh3_128_digest(header + payload) + payload
    with pytest.raises(UnsupportedVersion, match="start a newer one"):
        decode_batch(newer)
    head = encode_segment_header(CLUSTER, START, 1)
    newer = head[:8] + (2).to_bytes(4, "big") + head[12:]  # its digest may be any other
    with pytest.raises(UnsupportedVersion, match="start a newer one"):
        decode_segment_header(newer)
