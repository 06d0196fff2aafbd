"""The port to ordered tables: snapshots for readers, one write transaction at a time.

Keys and values are bytes; keys of a table are ordered bytewise. Everything is synchronous: an operation
takes microseconds, and a write transaction begins, changes and ends on one thread (rule 3). Commits are
atomic but not durable (the edit log is); a crash of the machine leaves garbage. The real implementation
is `lmdb_key_value`, the simulated one `dolmen.simulation.sim_key_value`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


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


class KeyValue(Protocol):
    """An environment of named tables."""

    def snapshot(self) -> AbstractContextManager[View]:
        """A consistent read view; hold it across no await."""

    def begin(self) -> WriteTransaction:
        """Begin the write transaction; there may be only one."""

    def copy(self, path: str) -> None:
        """Write a compacted copy to the directory `path`, of one consistent state; may take long,
        may run in another thread, does not hold up the writer."""

    def sync(self) -> None:
        """Make what is committed last (before a clean mark is set)."""

    def used_fraction(self) -> float:
        """Return how full the environment's size limit is, 0.0 to 1.0."""

    def close(self) -> None:
        """Close; an open write transaction is dropped."""


class KeyValueStore(Protocol):
    """Opens environments."""

    def open(self, path: str, tables: tuple[str, ...], *, read_only: bool = False) -> KeyValue:
        """Open, or make, the environment in the directory `path`. DataDamaged if it is not sound."""

    def remove(self, path: str) -> None:
        """Delete the environment in `path`, unopened; fine if there is none."""
