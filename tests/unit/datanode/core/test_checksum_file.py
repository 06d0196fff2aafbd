"""Checksum files: what is written is read, and what is damaged is never believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datanode.core.checksum_file import (
    RECORD_BYTES,
    UNFINISHED_HEADER_BYTES,
    FinalizedContents,
    UnfinishedContents,
    decode,
    encode_finalized,
    encode_records,
    encode_unfinished_header,
    records_end,
)
from datanode.core.receiver import ChunkRecord
from dolmen.protocol.checksums import CHUNK_BYTES, block_digest, chunk_checksums
from dolmen.protocol.errors import DataDamaged, DolmenError, UnsupportedVersion, WrongCluster

CLUSTER = "0123456789abcdef" * 2
BLOCK = 0x1230
DATA = bytes(range(256)) * 1024 + b"end"
CHECKSUMS = chunk_checksums(DATA)
FINALIZED = FinalizedContents(
    CLUSTER, BLOCK, 7, len(DATA), block_digest(len(DATA), CHECKSUMS), CHECKSUMS
)
RECORDS = [ChunkRecord(index, 1 + index, bytes([index] * 8)) for index in (2, 0, 1, 1)]
UNFINISHED = encode_unfinished_header(CLUSTER, BLOCK, temporary=False) + encode_records(
    BLOCK, RECORDS
)


def test_a_finalized_file_says_everything_about_its_replica() -> None:
    assert decode(encode_finalized(FINALIZED), CLUSTER, BLOCK) == FINALIZED


@given(length=st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1]))
def test_every_length_has_its_checksums(length: int) -> None:
    checksums = chunk_checksums(bytes(length))
    digest = block_digest(length, checksums)
    contents = FinalizedContents(CLUSTER, BLOCK, 1, length, digest, checksums)
    assert decode(encode_finalized(contents), CLUSTER, BLOCK) == contents


@pytest.mark.parametrize("temporary", [False, True])
def test_an_unfinished_file_gives_its_records_in_order(temporary: bool) -> None:
    header = encode_unfinished_header(CLUSTER, BLOCK, temporary=temporary)
    found = decode(header + encode_records(BLOCK, RECORDS), CLUSTER, BLOCK)
    assert found == UnfinishedContents(CLUSTER, BLOCK, temporary, RECORDS)


@given(bit=st.integers(0, 8 * len(encode_finalized(FINALIZED)) - 1))
def test_no_bit_of_a_finalized_file_can_change_unnoticed(bit: int) -> None:
    damaged = bytearray(encode_finalized(FINALIZED))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DolmenError):
        decode(bytes(damaged), CLUSTER, BLOCK)


@given(length=st.integers(0, len(encode_finalized(FINALIZED)) - 1))
def test_a_truncated_finalized_file_is_damaged(length: int) -> None:
    with pytest.raises(DataDamaged):
        decode(encode_finalized(FINALIZED)[:length], CLUSTER, BLOCK)


@given(length=st.integers(0, len(UNFINISHED)))
def test_a_truncated_unfinished_file_keeps_its_intact_records(length: int) -> None:
    torn = UNFINISHED[:length]
    if length < UNFINISHED_HEADER_BYTES:
        with pytest.raises(DataDamaged):
            decode(torn, CLUSTER, BLOCK)
        return
    found = decode(torn, CLUSTER, BLOCK)
    assert isinstance(found, UnfinishedContents)
    whole = (length - UNFINISHED_HEADER_BYTES) // RECORD_BYTES
    assert found.records == RECORDS[:whole]


@given(length=st.integers(UNFINISHED_HEADER_BYTES, len(UNFINISHED)))
def test_a_record_that_was_torn_is_written_over_by_the_next_one(length: int) -> None:
    whole = (length - UNFINISHED_HEADER_BYTES) // RECORD_BYTES
    again = UNFINISHED[: records_end(length)] + encode_records(BLOCK, [RECORDS[0]])
    found = decode(again, CLUSTER, BLOCK)
    assert isinstance(found, UnfinishedContents)
    assert found.records == [*RECORDS[:whole], RECORDS[0]]


@given(bit=st.integers(8 * UNFINISHED_HEADER_BYTES, 8 * len(UNFINISHED) - 1))
def test_a_record_with_a_flipped_bit_is_left_out_alone(bit: int) -> None:
    damaged = bytearray(UNFINISHED)
    damaged[bit // 8] ^= 1 << bit % 8
    hit = (bit // 8 - UNFINISHED_HEADER_BYTES) // RECORD_BYTES
    found = decode(bytes(damaged), CLUSTER, BLOCK)
    assert isinstance(found, UnfinishedContents)
    assert found.records == RECORDS[:hit] + RECORDS[hit + 1 :]


@given(bit=st.integers(0, 8 * UNFINISHED_HEADER_BYTES - 1))
def test_no_bit_of_an_unfinished_header_can_change_unnoticed(bit: int) -> None:
    damaged = bytearray(UNFINISHED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DolmenError):
        decode(bytes(damaged), CLUSTER, BLOCK)


def test_records_of_another_block_are_not_believed() -> None:
    header = encode_unfinished_header(CLUSTER, BLOCK, temporary=False)
    found = decode(header + encode_records(BLOCK + 1, RECORDS), CLUSTER, BLOCK)
    assert isinstance(found, UnfinishedContents)
    assert found.records == []


@pytest.mark.parametrize("encoded", [encode_finalized(FINALIZED), UNFINISHED])
def test_a_file_of_another_cluster_block_or_format_is_refused(encoded: bytes) -> None:
    with pytest.raises(WrongCluster):
        decode(encoded, "f" * 32, BLOCK)
    with pytest.raises(DataDamaged, match="is of block"):
        decode(encoded, CLUSTER, BLOCK + 16)
    newer = encoded[:8] + (99).to_bytes(2, "big") + encoded[10:]
    with pytest.raises(UnsupportedVersion, match="format 99"):
        decode(newer, CLUSTER, BLOCK)
