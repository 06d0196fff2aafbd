"""What the namenode must find again, on any damage: the log's longest intact prefix, and of small
files all or nothing."""

from random import Random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from dolmen.protocol.errors import DataDamaged, DolmenError, UnsupportedVersion
from dolmen.runtime.key_value import Fingerprint
from namenode.checkpoint import MAGIC, Manifest
from namenode.core.edit_batches import (
    SEGMENT_HEADER_BYTES,
    START,
    Batch,
    Position,
    decode_segment_header,
    encode_batch,
    encode_segment_header,
    is_torn_tail,
    make_batch,
    walk_segment,
)
from namenode.core.stamped_file import decode_stamped, encode_stamped

CLUSTER = "0123456789abcdef" * 2
MANIFEST = Manifest(77, b"d" * 16, 3, Fingerprint({"entries": 4, "inodes": 5}, b"f" * 16))
STAMPED = encode_stamped(MAGIC, CLUSTER, MANIFEST)


class Newer(Manifest, frozen=True):
    """A manifest of software that is not written yet."""

    added: str


GROUPS = st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=3), min_size=1, max_size=4)
LOGS = st.lists(GROUPS, min_size=1, max_size=4)


class Log:
    """A log of several segments, as its files."""

    def __init__(self, segments: list[list[list[bytes]]]) -> None:
        self.files: list[bytes] = []
        self.batches: list[Batch] = []
        self.ends: list[list[int]] = []
        position = START
        for segment in segments:
            data, ends = encode_segment_header(CLUSTER, position, 1), []
            for groups in segment:
                batch = make_batch(position, 1, groups)
                position = position.follow(batch)
                self.batches.append(batch)
                data += encode_batch(batch)
                ends.append(len(data))
            self.files.append(data)
            self.ends.append(ends)


def believe(files: list[bytes]) -> tuple[list[Batch], bool]:
    """Follow the chain as a start does: the batches up to the first that is not intact, and whether
    that can be the last one, whose append was cut short."""
    found: list[Batch] = []
    position: Position = START
    for number, data in enumerate(files):
        _, begins = decode_segment_header(data)
        if (begins.txid, begins.digest) != (position.txid, position.digest):
            raise DataDamaged("edits are missing before this segment")
        end = SEGMENT_HEADER_BYTES
        for end, batch in walk_segment(data, position):  # noqa: B007
            position = position.follow(batch)
            found.append(batch)
        if end < len(data):
            return found, number == len(files) - 1 and is_torn_tail(data, end)
    return found, True


@given(LOGS)
def test_a_log_of_several_segments_is_one_chain(segments: list[list[list[bytes]]]) -> None:
    log = Log(segments)
    assert believe(log.files) == (log.batches, True)


@given(LOGS, st.data())
def test_of_a_log_cut_anywhere_in_its_last_segment_every_whole_batch_is_kept(
    segments: list[list[list[bytes]]], data: st.DataObject
) -> None:
    log = Log(segments)
    last = log.files[-1]
    length = data.draw(st.integers(SEGMENT_HEADER_BYTES, len(last)))
    found, torn = believe([*log.files[:-1], last[:length]])
    whole = sum(end <= length for end in log.ends[-1])
    assert found == log.batches[: len(log.batches) - len(log.ends[-1]) + whole]
    assert torn


@given(LOGS, st.data())
def test_a_log_with_a_flipped_bit_gives_nothing_that_was_not_appended(
    segments: list[list[list[bytes]]], data: st.DataObject
) -> None:
    log = Log(segments)
    number = data.draw(st.integers(0, len(log.files) - 1))
    place = data.draw(st.integers(0, len(log.files[number]) - 1))
    flipped = bytearray(log.files[number])
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    files = [*log.files[:number], bytes(flipped), *log.files[number + 1 :]]
    try:
        found, torn = believe(files)
    except (DataDamaged, UnsupportedVersion):
        return
    assert found == log.batches[: len(found)]
    assert len(found) < len(log.batches)
    in_last_batch = number == len(files) - 1 and len(found) == len(log.batches) - 1
    assert torn == in_last_batch, "only what may be an unfinished append is left out"


@given(LOGS, st.data())
def test_a_log_with_a_segment_left_out_or_swapped_is_refused(
    segments: list[list[list[bytes]]], data: st.DataObject
) -> None:
    files = Log(segments).files
    if len(files) < 2:
        return
    out = data.draw(st.integers(0, len(files) - 2))
    swapped = files.copy()
    swapped[out], swapped[out + 1] = swapped[out + 1], swapped[out]
    for broken in (files[:out] + files[out + 1 :], swapped):
        with pytest.raises(DataDamaged):
            believe(broken)


@given(st.lists(st.binary(max_size=30), min_size=3, max_size=3, unique=True))
def test_a_batch_of_another_history_does_not_follow_though_its_number_fits(
    groups: list[bytes],
) -> None:
    begun, other, later = groups
    mine, foreign = make_batch(START, 1, [begun]), make_batch(START, 1, [other])
    next_one = make_batch(START.follow(foreign), 1, [later])
    data = encode_segment_header(CLUSTER, START, 1) + encode_batch(mine) + encode_batch(next_one)
    with pytest.raises(DataDamaged):
        believe([data])


@given(st.integers(0, len(STAMPED) - 1))
def test_a_manifest_that_was_cut_does_not_count(length: int) -> None:
    if length == len(STAMPED) - 1:  # all but the end of the line: nothing is missing
        assert decode_stamped(STAMPED[:length], MAGIC, Manifest) == (CLUSTER, MANIFEST)
        return
    with pytest.raises(DolmenError):
        decode_stamped(STAMPED[:length], MAGIC, Manifest)


@given(st.integers(0, 8 * len(STAMPED) - 1))
def test_a_manifest_with_a_flipped_bit_does_not_count(bit: int) -> None:
    damaged = bytearray(STAMPED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DolmenError):
        decode_stamped(bytes(damaged), MAGIC, Manifest)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 1 << 32))
def test_bytes_of_a_stranger_are_no_log_and_no_manifest(data: bytes, seed: int) -> None:
    with pytest.raises(DolmenError):
        decode_stamped(data, MAGIC, Manifest)
    with pytest.raises(DolmenError):
        decode_segment_header(data)
    head = encode_segment_header(CLUSTER, START, 1)
    assert list(walk_segment(head + Random(seed).randbytes(200) + data, START)) == []


def test_what_a_newer_version_adds_to_a_manifest_is_ignored() -> None:
    newer = Newer(**msgspec.structs.asdict(MANIFEST), added="more")
    data = encode_stamped(MAGIC, CLUSTER, newer)
    assert decode_stamped(data, MAGIC, Manifest) == (CLUSTER, MANIFEST)
