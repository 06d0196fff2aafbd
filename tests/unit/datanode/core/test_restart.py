"""What the files of a block are worth after a crash, as a table."""

import pytest

from datanode.core.checksum_file import (
    Contents,
    FinalizedContents,
    FinalizedHeader,
    UnfinishedContents,
)
from datanode.core.layout import Place
from datanode.core.restart import (
    Discard,
    FoundBlock,
    FoundChecksums,
    Rebuild,
    Recover,
    Serve,
    ServeDamaged,
    SetAside,
    decide,
)

WRITTEN, FINAL = Place.BEING_WRITTEN, Place.FINALIZED


def final(place: Place, stamp: int = 1, inner_stamp: int | None = None) -> FoundChecksums:
    contents = FinalizedContents("c", 16, inner_stamp or stamp, 100, b"", b"")
    return FoundChecksums(place, stamp, contents)


def records(stamp: int = 1, *, temporary: bool = False) -> FoundChecksums:
    return FoundChecksums(WRITTEN, stamp, UnfinishedContents("c", 16, temporary, []))


def damaged(place: Place = FINAL, stamp: int = 1) -> FoundChecksums:
    nothing: Contents | None = None
    return FoundChecksums(place, stamp, nothing)


def header_left(
    place: Place = FINAL, stamp: int = 1, inner_stamp: int | None = None
) -> FoundChecksums:
    header = FinalizedHeader("c", 16, inner_stamp or stamp, 100, b"")
    return FoundChecksums(place, stamp, None, header)


@pytest.mark.parametrize(
    ("data", "checksums", "outcome", "stamp"),
    [
        ({FINAL: 100}, [final(FINAL)], Serve, 1),
        ({WRITTEN: 100}, [final(WRITTEN)], Serve, 1),
        ({FINAL: 100}, [final(WRITTEN)], Serve, 1),
        ({WRITTEN: 100}, [final(FINAL)], Serve, 1),
        ({WRITTEN: 100, FINAL: 100}, [final(FINAL), final(WRITTEN)], Serve, 1),
        ({WRITTEN: 50}, [records()], Recover, 1),
        ({WRITTEN: 50}, [records(1), records(2)], Recover, 2),
        # a restamp of a finalized replica: before the data moved, and after
        ({FINAL: 100}, [final(FINAL), records(2)], Serve, 1),
        ({WRITTEN: 100}, [final(FINAL), records(2)], Recover, 2),
        ({WRITTEN: 100}, [damaged(), records(2)], Recover, 2),
        ({WRITTEN: 50}, [records(temporary=True)], Discard, None),
        ({FINAL: 100, WRITTEN: 5}, [final(FINAL), records(2, temporary=True)], Serve, 1),
        # a removal that was cut off, and a creation
        ({}, [final(FINAL)], Discard, None),
        ({}, [records()], Discard, None),
        ({WRITTEN: 0}, [], Discard, None),
        ({WRITTEN: 0}, [damaged(WRITTEN)], Discard, None),
        ({}, [damaged()], SetAside, None),
        ({}, [final(FINAL), damaged(WRITTEN, 2)], SetAside, None),
        ({WRITTEN: 1}, [], SetAside, None),
        ({FINAL: 0}, [], SetAside, None),
        ({FINAL: 100}, [], SetAside, None),
        ({FINAL: 100}, [damaged()], SetAside, None),
        ({FINAL: 99}, [final(FINAL)], ServeDamaged, 1),
        ({FINAL: 101}, [final(FINAL)], ServeDamaged, 1),
        ({FINAL: 99}, [final(WRITTEN)], SetAside, None),
        ({WRITTEN: 99}, [final(FINAL)], SetAside, None),
        # a list of checksums that can be made anew, if the data fits the digest in the header
        ({FINAL: 100}, [header_left()], Rebuild, 1),
        ({WRITTEN: 100}, [header_left()], SetAside, None),
        ({FINAL: 100}, [header_left(FINAL, 2, inner_stamp=1)], SetAside, None),
        ({FINAL: 100}, [header_left(), records(2)], SetAside, None),
        ({FINAL: 100}, [records()], SetAside, None),
        ({FINAL: 100}, [final(FINAL, 2, inner_stamp=1)], SetAside, None),
    ],
)
def test_files_found_after_a_crash_have_one_outcome(
    data: dict[Place, int],
    checksums: list[FoundChecksums],
    outcome: type,
    stamp: int | None,
) -> None:
    decision = decide(FoundBlock(data, tuple(checksums)))
    assert isinstance(decision, outcome)
    if isinstance(decision, Serve | ServeDamaged | Rebuild | Recover):
        assert decision.found.stamp == stamp


def test_a_data_file_of_the_wrong_length_is_damage_that_can_be_named() -> None:
    decision = decide(FoundBlock({WRITTEN: 99}, (final(FINAL),)))
    assert isinstance(decision, SetAside)
    assert decision.damaged is not None
    assert decision.damaged.length_bytes == 100
