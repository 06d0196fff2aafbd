"""What a block's writer holds: always the bytes that some datanode of a new pipeline may lack."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.held_segments import HeldSegments, Segment
from dolmen.protocol.checksums import CHUNK_BYTES, chunk_checksums


def segment(offset: int, data: bytes) -> Segment:
    return Segment(offset, memoryview(data), chunk_checksums(data))


def test_a_segment_is_let_go_when_all_before_it_are_acknowledged() -> None:
    held = HeldSegments()
    segments = [segment(n * CHUNK_BYTES, bytes(CHUNK_BYTES)) for n in range(3)]
    for each in segments:
        held.add(each)
    assert held.take_unsent() == segments
    assert held.take_unsent() == []
    assert held.acknowledge(segments[1]) == []
    assert held.acknowledge(segments[2]) == []
    assert held.prefix_bytes == 0
    assert held.acknowledge(segments[0]) == segments
    assert held.prefix_bytes == 3 * CHUNK_BYTES
    assert held.is_empty


def test_a_segment_that_leaves_a_gap_is_refused() -> None:
    held = HeldSegments()
    with pytest.raises(ValueError, match="after one that ends at 0"):
        held.add(segment(CHUNK_BYTES, b"x"))


def test_an_odd_end_is_kept_so_that_a_pipeline_starts_again_on_a_chunk() -> None:
    held = HeldSegments()
    data = bytes(CHUNK_BYTES) + b"the odd end"
    last = segment(0, data)
    held.add(last)
    held.take_unsent()
    assert held.acknowledge(last) == [last]
    assert held.is_empty
    assert held.prefix_bytes == len(data)
    held.start_again()
    assert held.prefix_bytes == CHUNK_BYTES
    (tail,) = held.take_unsent()
    assert (tail.offset_bytes, bytes(tail.data), tail.has_slot) == (
        CHUNK_BYTES,
        b"the odd end",
        False,
    )
    assert held.acknowledge(tail) == [tail]
    assert held.prefix_bytes == len(data)


@given(
    lengths=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    odd=st.integers(0, CHUNK_BYTES - 1),
    choices=st.data(),
)
def test_prefix_and_held_segments_are_the_whole_block_at_all_times(
    lengths: list[int], odd: int, choices: st.DataObject
) -> None:
    sizes = [n * CHUNK_BYTES for n in lengths] + ([odd] if odd else [])
    content = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    held = HeldSegments()
    at = 0
    for size in sizes:
        held.add(segment(at, content[at : at + size]))
        at += size
    sent = held.take_unsent()
    for _ in range(20):
        if choices.draw(st.booleans()) and sent:
            held.acknowledge(sent.pop(choices.draw(st.integers(0, len(sent) - 1))))
        else:
            held.start_again()
            sent = held.take_unsent()
            assert held.prefix_bytes % CHUNK_BYTES == 0
            stored = content[: held.prefix_bytes] + b"".join(bytes(each.data) for each in sent)
            assert stored == content
