"""Ranges that are merged and put together: each is whole in one place, and no byte comes twice."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.range_plan import Batch, MergedRange, merge_ranges
from dolmen.protocol.block_messages import RANGES_LIMIT
from dolmen.protocol.checksums import CHUNK_BYTES

RANGES = st.lists(
    st.tuples(st.integers(0, 3_000_000), st.integers(-5, 400_000)).map(
        lambda each: (each[0], each[0] + each[1])
    ),
    max_size=40,
)


@given(RANGES, st.sampled_from([0, 1000, 100_000]), st.sampled_from([CHUNK_BYTES, 1 << 20]))
def test_each_range_is_whole_in_one_merged_range_and_merged_ranges_do_not_overlap(
    ranges: list[tuple[int, int]], max_gap: int, bytes_max: int
) -> None:
    merged = merge_ranges(ranges, max_gap, bytes_max)
    for before, after in itertools.pairwise(merged):
        assert before.end <= after.start
    for each in merged:
        starts = [ranges[index][0] for index in each.members]
        ends = [ranges[index][1] for index in each.members]
        assert (each.start, each.end) == (min(starts), max(ends))
    members = sorted(index for each in merged for index in each.members)
    assert members == [index for index, (start, end) in enumerate(ranges) if start < end]


def test_close_ranges_become_one_as_far_as_they_are_not_too_long_together() -> None:
    far = 10 * CHUNK_BYTES
    ranges = [(far, far + 10), (0, 10), (far + CHUNK_BYTES, far + CHUNK_BYTES + 10), (30, 40)]
    assert [(each.start, each.end) for each in merge_ranges(ranges, 0, far)] == [
        (0, 40),  # they share a chunk
        (far, far + 10),
        (far + CHUNK_BYTES, far + CHUNK_BYTES + 10),
    ]
    assert len(merge_ranges(ranges, CHUNK_BYTES, far)) == 2
    assert len(merge_ranges(ranges, far, 1000)) == 3


def test_a_batch_takes_what_lies_in_its_block_and_fits() -> None:
    block = (1000, 10 * CHUNK_BYTES)
    batch = Batch(block, 4 * CHUNK_BYTES)
    assert not batch.add(MergedRange(990, 1010))
    assert not batch.add(MergedRange(1000 + 10 * CHUNK_BYTES - 1, 1001 + 10 * CHUNK_BYTES))
    assert batch.add(MergedRange(1000, 1010))
    assert batch.add(MergedRange(1000 + 3 * CHUNK_BYTES - 5, 1000 + 3 * CHUNK_BYTES + 5))
    assert batch.add(MergedRange(1000 + 5 * CHUNK_BYTES, 1000 + 6 * CHUNK_BYTES))
    assert not batch.add(MergedRange(1000 + 7 * CHUNK_BYTES, 1001 + 7 * CHUNK_BYTES))


def test_one_request_has_no_more_ranges_than_a_datanode_takes() -> None:
    batch = Batch((0, RANGES_LIMIT * 2 * CHUNK_BYTES), 1 << 40)
    taken = [
        batch.add(MergedRange(start, start + 1))
        for start in range(0, RANGES_LIMIT * 2 * CHUNK_BYTES, CHUNK_BYTES)
    ]
    assert sum(taken) == RANGES_LIMIT
