"""What a restart makes of the files it finds of one block (rules 13 and 19).

Finalizing and restamping move a replica from one good state to the next through several renames and
syncs, and a crash may fall between any two, with any of the unsynced names kept or lost. The
checksum file of the highest stamp decides: in its final form it says what the data file must be,
wherever that stands (a half-done finalize is finished); in its unfinished form it needs a data file
being written. A restamp of a finalized replica that had not yet moved the data is undone. What a
half-done creation or removal leaves holds no byte of anybody's and goes. What fits nothing is set
aside, never deleted.

Damage to a replica that was finalized for good is another matter (rule 21): as long as its list of
checksums is whole, what is left of its data is served, as DAMAGED. If only the list is damaged the
data may make it anew, if the digest in the file's header agrees.
"""

from dataclasses import dataclass

from datanode.core.checksum_file import (
    Contents,
    FinalizedContents,
    FinalizedHeader,
    UnfinishedContents,
)
from datanode.core.layout import Place


@dataclass(frozen=True)
class FoundChecksums:
    """A checksum file: where it stands and what it says, None if it is damaged."""

    place: Place
    stamp: int
    contents: Contents | None
    header: FinalizedHeader | None = None  # of a damaged file of a finalized replica, if intact


@dataclass(frozen=True)
class FoundBlock:
    """All files of one block on one volume: the sizes of its data files, and its checksum files."""

    data_bytes: dict[Place, int]
    checksums: tuple[FoundChecksums, ...]


@dataclass(frozen=True)
class Serve:
    """A finalized replica; its data file stands in `data_place`, its checksums in `found.place`."""

    found: FoundChecksums
    contents: FinalizedContents
    data_place: Place


@dataclass(frozen=True)
class ServeDamaged:
    """A finalized replica whose data file has not the length it should have."""

    found: FoundChecksums
    contents: FinalizedContents
    reason: str


@dataclass(frozen=True)
class Rebuild:
    """A finalized replica whose list of checksums is to be made anew from its data."""

    found: FoundChecksums
    header: FinalizedHeader


@dataclass(frozen=True)
class Recover:
    """An unfinished replica: its records are to be compared with the bytes on disk."""

    found: FoundChecksums
    contents: UnfinishedContents


@dataclass(frozen=True)
class Discard:
    """What holds nothing: a copy that never was finished and never was promised to anybody, or
    what a creation or a removal that was cut off has left."""


@dataclass(frozen=True)
class SetAside:
    """Files that do not fit; `damaged` is what they claim to be, if that is known."""

    reason: str
    damaged: FinalizedHeader | None = None


Decision = Serve | ServeDamaged | Rebuild | Recover | Discard | SetAside


def decide(block: FoundBlock) -> Decision:
    """Return what the files of a block are worth."""
    known = [found for found in block.checksums if found.contents is not None]
    if not block.data_bytes:  # a removal begins with the data
        whole = len(known) == len(block.checksums)
        return Discard() if whole else SetAside("checksums without data")
    if not known:
        if block.data_bytes == {Place.BEING_WRITTEN: 0}:
            return Discard()
        return _rebuild(block) or SetAside("data without an intact checksum file")
    for found in sorted(known, key=_rank, reverse=True):
        if isinstance(found.contents, FinalizedContents):
            return _serve(block, found, found.contents)
        if not isinstance(found.contents, UnfinishedContents) or found.contents.temporary:
            continue
        if Place.BEING_WRITTEN in block.data_bytes:
            return Recover(found, found.contents)
    if any(_is_temporary(found) for found in known):
        return Discard()
    return SetAside("no data file fits its checksum files")


def _rank(found: FoundChecksums) -> tuple[int, bool, bool]:
    final_form = isinstance(found.contents, FinalizedContents)
    return found.stamp, final_form, found.place is Place.FINALIZED


def _serve(block: FoundBlock, found: FoundChecksums, contents: FinalizedContents) -> Decision:
    if contents.stamp != found.stamp:
        return SetAside("the checksum file's name and contents name two stamps", contents)
    for place in (Place.FINALIZED, Place.BEING_WRITTEN):
        if block.data_bytes.get(place) == contents.length_bytes:
            return Serve(found, contents, place)
    sizes = ", ".join(str(size) for size in block.data_bytes.values())
    reason = f"the data file has {sizes} bytes where {contents.length_bytes} were finalized"
    if found.place is Place.FINALIZED and set(block.data_bytes) == {Place.FINALIZED}:
        return ServeDamaged(found, contents, reason)
    return SetAside(reason, contents)


def _rebuild(block: FoundBlock) -> Rebuild | None:
    """Return what may come of a finalized replica that has one checksum file, a damaged one."""
    if set(block.data_bytes) != {Place.FINALIZED} or len(block.checksums) != 1:
        return None
    (found,) = block.checksums
    if found.header is None or (found.place, found.stamp) != (
        Place.FINALIZED,
        found.header.stamp,
    ):
        return None
    return Rebuild(found, found.header)


def _is_temporary(found: FoundChecksums) -> bool:
    return isinstance(found.contents, UnfinishedContents) and found.contents.temporary
