"""The block of an offset is found among those known, and with few questions among the others."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from dolmen.client.core.known_blocks import KnownBlocks

PAGE = 5


def spans_of(lengths: list[int]) -> list[tuple[int, int]]:
    return list(zip(accumulate([0, *lengths]), lengths, strict=False))


def questions(known: KnownBlocks, spans: list[tuple[int, int]], offset: int) -> int:
    """Ask for pages until the block is known; return how many were asked for."""
    asked = 0
    while known.find(offset) is None:
        first = known.guess(offset, asked)
        assert first is not None
        known.learn(first, spans[first : first + PAGE])
        asked += 1
    index = known.find(offset)
    assert index is not None
    start, length = spans[index]
    assert start <= offset < start + length
    return asked


LENGTHS = st.lists(st.integers(1, 50) | st.sampled_from([100, 1000]), min_size=1, max_size=60)


@given(LENGTHS, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8))
def test_any_offset_of_blocks_of_any_lengths_is_found(
    lengths: list[int], places: list[float]
) -> None:
    spans = spans_of(lengths)
    known = KnownBlocks(100, len(spans))
    known.learn(0, spans[:PAGE])
    for place in places:
        assert questions(known, spans, int(place * sum(lengths))) <= 17


def test_blocks_of_one_length_are_found_with_one_question() -> None:
    spans = spans_of([100] * 5000)
    for offset in (0, 250_000, 499_999):
        assert questions(KnownBlocks(100, 5000), spans, offset) == 1


def test_a_block_among_thousands_of_odd_lengths_is_found_with_few_questions() -> None:
    spans = spans_of([1 + 7 * (index % 13) for index in range(4000)] + [100_000] * 1000)
    for offset in (5, 100_000, spans[3999][0], spans[4500][0] + 9):
        assert questions(KnownBlocks(100_000, 5000), spans, offset) <= 16


def test_reading_in_order_asks_for_the_next_page() -> None:
    spans = spans_of([3, 1, 4, 1, 5, 9, 2, 6])
    known = KnownBlocks(100, 8)
    known.learn(0, spans[:PAGE])
    assert known.guess(spans[PAGE][0], 0) == PAGE


def test_what_is_known_is_not_replaced() -> None:
    known = KnownBlocks(100, 2)
    assert known.learn(0, [(0, 10), (10, 5)]) == [0, 1]
    assert known.learn(1, [(10, 90)]) == []
    assert known.find(14) == 1
    assert known.find(15) is None


def test_the_block_behind_those_that_are_known_before_an_offset_begins_at_their_end() -> None:
    known = KnownBlocks(100, 9)
    assert known.next_unknown(50) == (0, 0)
    known.learn(0, [(0, 10), (10, 5)])
    known.learn(4, [(60, 5)])
    assert known.next_unknown(50) == (2, 15)
    assert known.next_unknown(70) == (5, 65)


def test_an_offset_between_blocks_that_are_all_known_has_no_block() -> None:
    known = KnownBlocks(100, 2)
    known.learn(0, [(0, 10), (20, 10)])
    assert known.guess(15, 0) is None
    assert known.guess(30, 0) is None
