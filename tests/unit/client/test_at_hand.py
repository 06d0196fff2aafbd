"""What any thread may read of an open file without waiting: verified, and no longer than it is
believed."""

import asyncio
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from dolmen.client.at_hand import AtHand
from dolmen.client.core.block_read import BlockRead, Part
from dolmen.client.core.read_plan import Piece
from dolmen.client.local_replica import LocalReplica
from dolmen.protocol.checksums import CHUNK_BYTES, chunk_checksums
from dolmen.protocol.client_messages import LocatedBlock
from dolmen.protocol.errors import ChecksumMismatch

DATA = Random(1).randbytes(7 * CHUNK_BYTES + 1234)
FIRST_BYTES = 2 * CHUNK_BYTES + 77
"""The length of the first block: the second one begins on no boundary of the file."""

UNTIL_S = 100.0


class Memory:
    """A file that was passed, and may be partly in memory, or trouble."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.in_memory = True
        self.error: OSError | None = None

    def read_at_once(self, offset: int, buffer: memoryview) -> int:
        if self.error is not None:
            raise self.error
        return self._read(offset, buffer) if self.in_memory else 0

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        await asyncio.sleep(0)
        return self._read(offset, buffer)

    def _read(self, offset: int, buffer: memoryview) -> int:
        data = self.content[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)


class Opened:
    """A file of two blocks, both open here."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.counted = 0
        self.at_hand = AtHand(lambda: self.now_s, self._count)
        self.files = [Memory(DATA[:FIRST_BYTES]), Memory(DATA[FIRST_BYTES:])]
        self.replicas = [self._open(number) for number in range(2)]

    def _count(self, read_bytes: int) -> None:
        self.counted += read_bytes

    def _open(self, number: int) -> LocalReplica:
        file, start = self.files[number], number * FIRST_BYTES
        replica = LocalReplica((number, 1), "d", file, UNTIL_S)
        replica.vouch(len(file.content), chunk_checksums(file.content))
        block = LocatedBlock(number, 1, start, len(file.content), b"", (), b"")
        self.at_hand.note(block, replica, UNTIL_S)
        return replica

    def read(self, offset: int, length: int) -> bytes:
        buffer = memoryview(bytearray(length))
        return bytes(buffer[: self.at_hand.read_into(offset, buffer)])


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_any_range_is_read_as_it_is_across_blocks_too(offset: int, length: int) -> None:
    opened = Opened()
    assert opened.read(offset, length) == DATA[offset : offset + length]
    short = opened.at_hand.read(offset, min(length, 5000))
    assert short in (None, DATA[offset : offset + min(length, 5000)])


def test_short_reads_come_from_the_chunk_that_was_verified_last() -> None:
    opened = Opened()
    assert opened.at_hand.read(CHUNK_BYTES + 5, 100) == DATA[CHUNK_BYTES + 5 :][:100]
    opened.files[0].in_memory = False
    assert opened.at_hand.read(CHUNK_BYTES + 900, 100) == DATA[CHUNK_BYTES + 900 :][:100]
    assert opened.at_hand.read(5, 100) is None
    assert opened.counted == 200


def test_what_would_have_to_be_waited_for_is_not_at_hand() -> None:
    opened = Opened()
    opened.files[1].in_memory = False
    assert opened.read(FIRST_BYTES - 10, 100) == DATA[FIRST_BYTES - 10 : FIRST_BYTES]
    assert opened.at_hand.read(FIRST_BYTES, 10) is None
    opened.files[0].error = OSError(5, "broken")
    assert opened.read(0, 10) == b""


def test_a_chunk_that_fails_its_checksum_is_never_given() -> None:
    opened = Opened()
    opened.files[0].content[CHUNK_BYTES + 3] ^= 1
    assert opened.at_hand.read(CHUNK_BYTES + 100, 10) is None
    assert opened.read(0, FIRST_BYTES) == b""
    assert opened.read(5, FIRST_BYTES) == DATA[5:CHUNK_BYTES]
    assert opened.at_hand.read(CHUNK_BYTES - 10, 10) == DATA[CHUNK_BYTES - 10 : CHUNK_BYTES]


def test_a_place_is_believed_until_it_would_be_asked_for_again() -> None:
    opened = Opened()
    assert opened.at_hand.read(0, 10) == DATA[:10]
    opened.now_s = UNTIL_S
    assert opened.at_hand.read(0, 10) is None
    assert opened.read(0, 10) == b""


def test_nothing_is_read_of_what_was_given_up() -> None:
    opened = Opened()
    opened.replicas[0].give_up()
    assert opened.at_hand.read(0, 10) is None
    assert opened.read(FIRST_BYTES, 10) == DATA[FIRST_BYTES:][:10]
    opened.at_hand.forget()
    assert opened.read(FIRST_BYTES, 10) == b""


def fill(opened: Opened, length: int) -> bytearray:
    """Read the beginning of the first block as the event loop does."""
    buffer = bytearray(length)
    read = BlockRead([Part(Piece(0, 0, length), memoryview(buffer))])
    assert asyncio.run(opened.replicas[0].fill(read))
    return buffer


def test_the_event_loop_waits_for_what_is_not_in_memory_and_says_what_is_wrong() -> None:
    opened = Opened()
    opened.files[0].in_memory = False
    assert fill(opened, FIRST_BYTES - 5) == DATA[: FIRST_BYTES - 5]
    opened.files[0].content[CHUNK_BYTES] ^= 1
    with pytest.raises(ChecksumMismatch, match="chunk 1 fails"):
        fill(opened, FIRST_BYTES)
    del opened.files[0].content[100:]
    with pytest.raises(ChecksumMismatch, match="ends at 100"):
        fill(opened, 200)
    opened.files[0].error = OSError(5, "broken")
    with pytest.raises(ChecksumMismatch, match="broken"):
        fill(opened, 200)


def test_a_replica_that_is_given_up_in_the_middle_is_left_without_blame() -> None:
    opened = Opened()
    opened.replicas[0].give_up()
    read = BlockRead([Part(Piece(0, 0, 10), memoryview(bytearray(10)))])
    assert not asyncio.run(opened.replicas[0].fill(read))
    assert read.left_bytes == 10
