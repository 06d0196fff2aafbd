"""What the quarantine of a volume holds, and what of it has to go.

An entry is a directory of its own, named by the time and the block, so that names sort by age; in
it the files keep their names, and `entry.json` says what they are. Entries go whole, the oldest
first: by age, and when together they take more space than they may. Damage must not fill a disk.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from dolmen.protocol.identifiers import format_block_id

DESCRIPTION_NAME = "entry.json"
UNKNOWN_BLOCK = "unknown"
_NAME = re.compile(r"(\d{13,})-([0-9a-f]{16}|unknown)")

VOLUME_SHARE = 20
"""The quarantine takes at most one in this many bytes of its volume (5 %)."""


class About(msgspec.Struct, frozen=True):
    """What is put into quarantine; the stamp is 0 and the length -1 if they are not known."""

    block_id: int | None
    reason: str
    stamp: int = 0
    length_bytes: int = -1


class Description(msgspec.Struct, frozen=True):
    """The file `entry.json` of an entry: people read it."""

    block_id: str
    stamp: int
    length_bytes: int
    reason: str
    quarantined_ms: int
    source: str  # the directory that the files come from, relative to the volume
    files: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """One entry."""

    name: str
    quarantined_ms: int
    size_bytes: int


@dataclass(frozen=True)
class Limits:
    """How long, and how much, a quarantine keeps."""

    age_ms: int
    space_bytes: int

    def within(self, capacity_bytes: int) -> "Limits":
        """Return the limits on a volume of this capacity."""
        return Limits(self.age_ms, min(self.space_bytes, capacity_bytes // VOLUME_SHARE))


def entry_name(block_id: int | None, quarantined_ms: int) -> str:
    """Return the name of an entry's directory."""
    block = UNKNOWN_BLOCK if block_id is None else format_block_id(block_id)
    return f"{quarantined_ms:013d}-{block}"


def parse_entry_name(name: str) -> tuple[int, str] | None:
    """Return the time and the block of an entry; None for a directory of another kind."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def overdue(entries: Iterable[Held], limits: Limits, now_ms: int) -> list[tuple[Held, str]]:
    """Return the entries that have to go, each with the reason."""
    oldest_first = sorted(entries, key=lambda held: (held.quarantined_ms, held.name))
    total_bytes = sum(held.size_bytes for held in oldest_first)
    going = []
    for held in oldest_first:
        if now_ms - held.quarantined_ms > limits.age_ms:
            going.append((held, "it is older than quarantine_age"))
        elif total_bytes > limits.space_bytes:
            going.append((held, f"the quarantine may take {limits.space_bytes} bytes only"))
        else:
            break
        total_bytes -= held.size_bytes
    return going
