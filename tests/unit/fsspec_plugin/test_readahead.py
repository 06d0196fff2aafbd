"""Readahead: the right bytes whatever is asked, few more than asked, and ahead in sequence."""

from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.client.core.byte_shares import LEAST_BYTES, ByteShares
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


def readahead_of(source: Source, shares: ByteShares | None = None) -> Readahead:
    return Readahead(source.length, source.begin, (shares or ByteShares(64 * MIB)).open())


STARTS = st.integers(0, LENGTH - 1) | st.sampled_from([0, PAGE_BYTES, PAGE_BYTES - 1, MIB])
LENGTHS = st.integers(0, 700_000) | st.integers(0, 5000)
READS = st.lists(st.tuples(STARTS | st.none(), LENGTHS), max_size=25)


@settings(max_examples=60)
@given(READS, st.sampled_from([LENGTH, 5000, MIB]), st.sampled_from([64, 4, 1, 0]))
def test_any_sequence_of_reads_gets_the_bytes_of_the_file(
    reads: list[tuple[int | None, int]], length: int, memory_mib: int
) -> None:
    source = Source(length)
    shares = ByteShares(memory_mib * MIB)
    readahead = readahead_of(source, shares)
    position = 0
    for start, count in reads:
        position = position if start is None else min(start, length)
        end = min(position + count, length)
        assert readahead.read(position, end) == source.bytes(position, end)
        kept_bytes = sum(w.end - w.start for w in readahead._windows)
        assert kept_bytes == readahead._share.held_bytes
        assert kept_bytes <= min(KEPT_BYTES_MAX, memory_mib * MIB // 2 + LEAST_BYTES)
        position = end
    readahead.close()
    assert shares.spare_bytes == memory_mib * MIB // 2


def test_large_reads_at_random_fetch_exactly_their_bytes() -> None:
    source = Source()
    readahead = readahead_of(source)
    for start in (2 * MIB, 100, MIB, 100):
        readahead.read(start, start + 100_000)
    assert source.asked == [(s, s + 100_000) for s in (2 * MIB, 100, MIB)]


def test_two_reads_in_sequence_may_be_chance() -> None:
    source = Source()
    readahead = readahead_of(source)
    readahead.read(MIB, MIB + 100_000)
    readahead.read(MIB + 100_000, MIB + 200_000)
    assert source.fetched_bytes == 200_000


def test_a_small_read_brings_its_page() -> None:
    source = Source()
    readahead = readahead_of(source)
    readahead.read(PAGE_BYTES + 10, PAGE_BYTES + 20)
    readahead.read(PAGE_BYTES + 5000, PAGE_BYTES + 6000)
    readahead.read(PAGE_BYTES, PAGE_BYTES + 10)
    assert source.asked == [(PAGE_BYTES, 2 * PAGE_BYTES)]


def test_a_small_file_comes_at_once() -> None:
    source = Source(MIB)
    readahead = readahead_of(source)
    readahead.read(5, 10)
    readahead.read(MIB - 5, MIB)
    assert source.asked == [(0, MIB)]


def test_reading_in_sequence_fetches_each_byte_once_in_growing_windows() -> None:
    source = Source(40 * MIB)
    readahead = readahead_of(source)
    for start in range(0, 40 * MIB, 64 * KIB):
        readahead.read(start, start + 64 * KIB)
    assert source.fetched_bytes == 40 * MIB
    assert len(source.asked) < 20
    assert max(end - start for start, end in source.asked) == 8 * MIB


def test_lines_are_read_in_few_requests() -> None:
    source = Source(10 * MIB)
    readahead = readahead_of(source)
    for start in range(0, 10 * MIB, 1000):
        readahead.read(start, min(start + 8192, 10 * MIB))
    assert source.fetched_bytes <= 11 * MIB
    assert len(source.asked) < 60


def test_blocks_as_dask_reads_them_cost_hardly_more_than_their_bytes() -> None:
    length, block = 34 * MIB, 8 * MIB
    fetched = 0
    for start in range(0, length, block):
        source = Source(length)
        readahead = readahead_of(source)
        end = min(start + block, length)
        readahead.read(start, start + 64 * KIB)
        readahead.read(end - 64 * KIB, end)
        readahead.read(start + 100, end)
        fetched += source.fetched_bytes
    assert fetched <= 1.05 * length


def test_a_failure_is_asked_again_once_and_then_told() -> None:
    source = Source()
    readahead = readahead_of(source)
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

    readahead = Readahead(LENGTH, begin, ByteShares(64 * MIB).open())
    for start in range(0, 300_000, 100_000):
        readahead.read(start, start + 100_000)
    assert len(pending) == 4
    readahead.close()
    assert pending[3].cancelled()


def test_two_hundred_open_files_share_what_there_is_and_each_goes_on() -> None:
    shares = ByteShares(64 * MIB)
    sources = [Source(10 * MIB) for _ in range(200)]
    files = [readahead_of(source, shares) for source in sources]
    for start in range(0, 2 * MIB, 16 * KIB):
        for source, file in zip(sources, files, strict=True):
            assert file.read(start, start + 16 * KIB) == source.bytes(start, start + 16 * KIB)
        assert sum(file._share.held_bytes for file in files) <= 64 * MIB
    assert all(source.fetched_bytes <= 12 * MIB for source in sources)
    assert max(len(source.asked) for source in sources) <= 2 * MIB // LEAST_BYTES + 2


def test_a_large_read_without_memory_for_it_is_one_request_and_is_not_kept() -> None:
    source = Source()
    readahead = readahead_of(source, ByteShares(0))
    readahead.read(100, 2 * MIB)
    readahead.read(100, 2 * MIB)
    assert source.asked == [(100, 2 * MIB)] * 2
    assert readahead._share.held_bytes == 0
