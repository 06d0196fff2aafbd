"""Readahead: the right bytes whatever is asked, few more than asked, and ahead in sequence."""

from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsspec_plugin.readahead import KEPT_BYTES_MAX, KIB, MIB, PAGE_BYTES, Readahead

LENGTH = 3 * MIB + 12_345
DATA = bytes(range(251)) * (LENGTH // 251 + 1)


class Source:
    """Answers at once, and remembers what it was asked."""

    def __init__(self, length: int = LENGTH) -> None:
        self.length = length
        self.asked: list[tuple[int, int]] = []
        self.fail = False

    def begin(self, start: int, end: int) -> "Future[bytes]":
        assert 0 <= start < end <= self.length
        self.asked.append((start, end))
        coming: Future[bytes] = Future()
        if self.fail:
            coming.set_exception(ConnectionError("away"))
        else:
            coming.set_result(self.bytes(start, end))
        return coming

    def bytes(self, start: int, end: int) -> bytes:
        offset = start % 251
        return DATA[offset : offset + end - start]

    @property
    def fetched_bytes(self) -> int:
        return sum(end - start for start, end in self.asked)


STARTS = st.integers(0, LENGTH - 1) | st.sampled_from([0, PAGE_BYTES, PAGE_BYTES - 1, MIB])
LENGTHS = st.integers(0, 700_000) | st.integers(0, 5000)
READS = st.lists(st.tuples(STARTS | st.none(), LENGTHS), max_size=25)


@settings(max_examples=60)
@given(READS, st.sampled_from([LENGTH, 5000, MIB]))
def test_any_sequence_of_reads_gets_the_bytes_of_the_file(
    reads: list[tuple[int | None, int]], length: int
) -> None:
    source = Source(length)
    readahead = Readahead(length, source.begin)
    position = 0
    for start, count in reads:
        position = position if start is None else min(start, length)
        end = min(position + count, length)
        assert readahead.read(position, end) == source.bytes(position, end)
        assert sum(w.end - w.start for w in readahead._windows) <= KEPT_BYTES_MAX
        position = end


def test_large_reads_at_random_fetch_exactly_their_bytes() -> None:
    source = Source()
    readahead = Readahead(LENGTH, source.begin)
    for start in (2 * MIB, 100, MIB, 100):
        readahead.read(start, start + 100_000)
    assert source.asked == [(s, s + 100_000) for s in (2 * MIB, 100, MIB)]


def test_two_reads_in_sequence_may_be_chance() -> None:
    source = Source()
    readahead = Readahead(LENGTH, source.begin)
    readahead.read(MIB, MIB + 100_000)
    readahead.read(MIB + 100_000, MIB + 200_000)
    assert source.fetched_bytes == 200_000


def test_a_small_read_brings_its_page() -> None:
    source = Source()
    readahead = Readahead(LENGTH, source.begin)
    readahead.read(PAGE_BYTES + 10, PAGE_BYTES + 20)
    readahead.read(PAGE_BYTES + 5000, PAGE_BYTES + 6000)
    readahead.read(PAGE_BYTES, PAGE_BYTES + 10)
    assert source.asked == [(PAGE_BYTES, 2 * PAGE_BYTES)]


def test_a_small_file_comes_at_once() -> None:
    source = Source(MIB)
    readahead = Readahead(MIB, source.begin)
    readahead.read(5, 10)
    readahead.read(MIB - 5, MIB)
    assert source.asked == [(0, MIB)]


def test_reading_in_sequence_fetches_each_byte_once_in_growing_windows() -> None:
    source = Source(40 * MIB)
    readahead = Readahead(40 * MIB, source.begin)
    for start in range(0, 40 * MIB, 64 * KIB):
        readahead.read(start, start + 64 * KIB)
    assert source.fetched_bytes == 40 * MIB
    assert len(source.asked) < 20
    assert max(end - start for start, end in source.asked) == 8 * MIB


def test_lines_are_read_in_few_requests() -> None:
    source = Source(10 * MIB)
    readahead = Readahead(10 * MIB, source.begin)
    for start in range(0, 10 * MIB, 1000):
        readahead.read(start, min(start + 8192, 10 * MIB))
    assert source.fetched_bytes <= 11 * MIB
    assert len(source.asked) < 60


def test_blocks_as_dask_reads_them_cost_hardly_more_than_their_bytes() -> None:
    length, block = 34 * MIB, 8 * MIB
    fetched = 0
    for start in range(0, length, block):
        source = Source(length)
        readahead = Readahead(length, source.begin)
        end = min(start + block, length)
        readahead.read(start, start + 64 * KIB)
        readahead.read(end - 64 * KIB, end)
        readahead.read(start + 100, end)
        fetched += source.fetched_bytes
    assert fetched <= 1.05 * length


def test_a_failure_is_asked_again_once_and_then_told() -> None:
    source = Source()
    readahead = Readahead(LENGTH, source.begin)
    source.fail = True
    with pytest.raises(ConnectionError):
        readahead.read(0, 100_000)
    assert len(source.asked) == 2
    source.fail = False
    assert readahead.read(0, 100_000) == source.bytes(0, 100_000)


def test_closing_cancels_what_is_on_its_way() -> None:
    pending: list[Future[bytes]] = []

    def begin(start: int, end: int) -> "Future[bytes]":
        pending.append(Future())
        if len(pending) <= 3:
            pending[-1].set_result(bytes(end - start))
        return pending[-1]

    readahead = Readahead(LENGTH, begin)
    for start in range(0, 300_000, 100_000):
        readahead.read(start, start + 100_000)
    assert len(pending) == 4
    readahead.close()
    assert pending[3].cancelled()
