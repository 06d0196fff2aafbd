"""A write transaction, with the records that its changes touch as objects.

The changes of a batch read and write the same few records again and again: the counters, the
directory they are in, the answers of one client. On a sheet each is read and decoded once, changed
as an object, and written once, by `write_out`: that is half of what a change costs otherwise.

Only the tables below are kept so. Whatever else asks for such a table by its name (a scan, a
count, bytes) finds what was changed: it is written before. So a sheet is a transaction like any
other, and nobody need know whether he has one.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from namenode.core import tables
from namenode.core.records import (
    ANSWERS,
    ENTRY,
    INODE,
    META_RECORD,
    Answers,
    Codec,
    Entry,
    Inode,
    Meta,
    Record,
)
from namenode.core.tables import View, Writer

R = TypeVar("R", bound=Record)


class RecordTable(Generic[R]):
    """A table whose records are kept as objects."""

    def __init__(self, name: str, codec: Codec[R]) -> None:
        self.name = name
        self.codec = codec


COUNTERS: RecordTable[Meta] = RecordTable(tables.META, META_RECORD)
ENTRIES: RecordTable[Entry] = RecordTable(tables.ENTRIES, ENTRY)
INODES: RecordTable[Inode] = RecordTable(tables.INODES, INODE)
ANSWERED: RecordTable[Answers] = RecordTable(tables.ANSWERS, ANSWERS)

_RECORD_TABLES: tuple[RecordTable[Any], ...] = (COUNTERS, ENTRIES, INODES, ANSWERED)


class Sheet:
    """A transaction to read and to change; who began it ends it, after `write_out`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._known: dict[str, dict[bytes, Any]] = {table.name: {} for table in _RECORD_TABLES}
        self._changed: dict[str, dict[bytes, None]] = {table.name: {} for table in _RECORD_TABLES}

    # ------------------------------------------------------------ records

    def find(self, table: RecordTable[R], key: bytes) -> R | None:
        """Return a record as it is now, or None."""
        known: dict[bytes, R | None] = self._known[table.name]
        if key in known:
            return known[key]
        value = self._writer.get(table.name, key)
        record = known[key] = None if value is None else table.codec.recall(value)
        return record

    def set(self, table: RecordTable[R], key: bytes, record: R | None) -> None:
        """Set a record; None removes it."""
        self._known[table.name][key] = record
        self._changed[table.name][key] = None

    def write_out(self) -> None:
        """Write what was changed."""
        for table in _RECORD_TABLES:
            self._write(table)

    def _write(self, table: RecordTable[Any]) -> None:
        changed, known = self._changed[table.name], self._known[table.name]
        for key in sorted(changed):
            record = known[key]
            if record is None:
                self._writer.delete(table.name, key)
            else:
                self._writer.put(table.name, key, table.codec.encode(record))
        changed.clear()

    def _settle(self, name: str) -> None:
        """What was changed in a table is to be found in it."""
        if self._changed.get(name):
            self._write(_BY_NAME[name])

    # ------------------------------------------------------------ as any transaction

    def get(self, table: str, key: bytes) -> bytes | None:
        self._settle(table)
        return self._writer.get(table, key)

    def scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        self._settle(table)
        return self._writer.scan(table, start)

    def count(self, table: str) -> int:
        self._settle(table)
        return self._writer.count(table)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._forget(table)
        self._writer.put(table, key, value)

    def delete(self, table: str, key: bytes) -> bool:
        self._forget(table)
        return self._writer.delete(table, key)

    def _forget(self, name: str) -> None:
        """A table is changed by its bytes: its records are read anew."""
        if self._known.get(name):
            self._settle(name)
            self._known[name].clear()


_BY_NAME = {table.name: table for table in _RECORD_TABLES}


def find_record(view: View, table: RecordTable[R], key: bytes) -> R | None:
    """Return a record of a snapshot or a sheet, or None."""
    if isinstance(view, Sheet):
        return view.find(table, key)
    value = view.get(table.name, key)
    return None if value is None else table.codec.recall(value)
