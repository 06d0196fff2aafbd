"""The port to ordered tables: snapshots for readers, one write transaction at a time.

Keys and values are bytes; keys of a table are ordered bytewise. Everything is synchronous: an
operation takes microseconds, and a write transaction begins, changes and ends on one thread (rule
3). Commits are atomic but not durable (the edit log is); a crash of the machine leaves garbage. The
real implementation is `lmdb_key_value`, the simulated one `dolmen.simulation.sim_key_value`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Protocol

import msgspec
import xxhash

KEY_LIMIT_BYTES = 511
"""The longest key that LMDB takes; the shortest has one byte."""

SCAN_RECORDS = 500
"""Records handled in one go by whatever walks whole tables beside the event loop: a fraction of a
millisecond, so that the loop gets its turn."""


class View(Protocol):
    """A consistent state to read."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""

    def scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in ascending order from the first key ≥ `start`.

        The table may not be changed while the iterator is in use.
        """

    def count(self, table: str) -> int:
        """Return the number of records in a table, in constant time."""


class WriteTransaction(View, Protocol):
    """The one writer; its reads see its own changes."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""

    def delete(self, table: str, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""

    def commit(self) -> None:
        """Make the changes visible to snapshots begun from now on."""

    def abort(self) -> None:
        """Drop the changes. Harmless after commit or abort."""


class Fingerprint(msgspec.Struct, frozen=True, array_like=True):
    """What one consistent state holds: two states with the same fingerprint are the same."""

    counts: dict[str, int]
    digest: bytes


class Fingerprinter:
    """Takes the records of one state, table by table in the order given, each in key order."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._hash = xxhash.xxh3_128()

    def add(self, table: str, records: list[tuple[bytes, bytes]]) -> None:
        """Take the next records of a table."""
        self._counts[table] = self._counts.get(table, 0) + len(records)
        self._hash.update(b"".join(map(msgspec.msgpack.encode, records)))

    def fingerprint(self) -> Fingerprint:
        """Return what was taken so far."""
        counts = msgspec.msgpack.encode(sorted(self._counts.items()))
        return Fingerprint(self._counts, xxhash.xxh3_128_digest(self._hash.digest() + counts))


def fingerprint_of(view: View, tables: tuple[str, ...]) -> Fingerprint:
    """Return the fingerprint of all records in `view`."""
    taken = Fingerprinter()
    for table in tables:
        records = view.scan(table)
        taken.add(table, [])
        while found := list(islice(records, SCAN_RECORDS)):
            taken.add(table, found)
    return taken.fingerprint()


class KeyValue(Protocol):
    """An environment of named tables."""

    def snapshot(self) -> AbstractContextManager[View]:
        """A consistent read view; hold it across no await."""

    def begin(self) -> WriteTransaction:
        """Begin the write transaction; there may be only one."""

    def copy(self, path: str) -> Fingerprint:
        """Write a compacted copy of one consistent state to the directory `path`, and make it last.

        Returns the fingerprint of the state that was copied. May take long, may run in another
        thread, does not hold up the writer; ends with DataDamaged if the environment is closed
        meanwhile. Whatever happens to the bytes of the copy later is found when it is opened.
        """

    def sync(self) -> None:
        """Make what is committed last (before a clean mark is set). May run in another thread.

        OSError: some of what was committed may be lost, and the environment is not to be trusted.
        """

    def used_fraction(self) -> float:
        """Return how full the environment's size limit is, 0.0 to 1.0."""

    def used_bytes(self) -> int:
        """Return how much of a disk the environment takes."""

    def close(self) -> None:
        """Close; an open write transaction is dropped."""


class KeyValueStore(Protocol):
    """Opens environments."""

    def open(self, path: str, tables: tuple[str, ...], *, read_only: bool = False) -> KeyValue:
        """Open, or make, the environment in the directory `path`. DataDamaged: it is not sound."""

    def remove(self, path: str) -> None:
        """Delete the environment in `path`, unopened; fine if there is none."""

    def renew(self, path: str, tables: tuple[str, ...], limit_bytes: int) -> bool:
        """Replace the environment in `path`, which nobody has open, by a copy of its records.

        For what a killed process left: damage that could end the process that meets it, when it is
        read or much later when a free page is used, ends only the one that makes the copy. Blocks.
        Returns False, and changes nothing, if there is none, it takes more than `limit_bytes`, or
        the disk has no room for a copy. DataDamaged: it is not sound.
        """
