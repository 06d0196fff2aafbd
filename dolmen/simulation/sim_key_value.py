"""Ordered tables in memory: the simulated `KeyValueStore`.

One store belongs to one simulated machine and outlives its processes. What a killed process had
committed stays. What a power loss does to an environment with commits after its last sync is the
worst that LMDB showed: it is garbage, and opening it raises DataDamaged (rule 4).

A write transaction keeps its changes beside the committed tables until it commits; a commit copies
the tables that it changes if somebody looks at them, so that a snapshot stays what it was.
"""

import errno
import os
from bisect import bisect_left, insort
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from heapq import merge

from dolmen.protocol.errors import DataDamaged
from dolmen.runtime.key_value import KEY_LIMIT_BYTES, Fingerprint, fingerprint_of

SIZE_LIMIT_BYTES = 1 << 30
"""More than a simulated namespace ever holds; small enough that a leak is noticed."""


class _Table:
    """Records, and their keys in order."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def duplicate(self) -> "_Table":
        twin = _Table()
        twin.records = dict(self.records)
        twin.keys = list(self.keys)
        return twin

    def apply(self, changes: dict[bytes, bytes | None]) -> int:
        """Make the changes; return by how many bytes the table grew."""
        grown = 0
        for key, value in changes.items():
            old = self.records.get(key)
            if old is not None:
                grown -= len(key) + len(old)
            if value is None:
                if old is not None:
                    del self.records[key]
                    del self.keys[bisect_left(self.keys, key)]
                continue
            if old is None:
                insort(self.keys, key)
            self.records[key] = value
            grown += len(key) + len(value)
        return grown


class _Environment:
    """What is in one directory."""

    def __init__(self) -> None:
        self.tables: dict[str, _Table] = {}
        self.synced = True
        self.garbage = False
        self.used_bytes = 0
        self.holder: SimKeyValue | None = None


class SimKeyValueStore:
    """The environments of one simulated machine, by path."""

    def __init__(self) -> None:
        self._environments: dict[str, _Environment] = {}
        self.syncs_to_fail = 0
        """So many of the next syncs fail."""
        self.renewals_refused = False
        """As if every environment were too large to be copied."""

    def open(self, path: str, tables: tuple[str, ...], *, read_only: bool = False) -> "SimKeyValue":
        environment = self._environments.get(path)
        if environment is None:
            if read_only:
                raise DataDamaged(f"{path} holds no tables")
            environment = self._environments[path] = _Environment()
        if environment.garbage:
            raise DataDamaged(f"the tables in {path} are damaged")
        if not read_only:
            if environment.holder is not None:
                raise RuntimeError(f"{path} is already open")
            for table in tables:
                environment.tables.setdefault(table, _Table())
        elif missing := set(tables) - environment.tables.keys():
            raise DataDamaged(f"the tables in {path} are damaged: {sorted(missing)} are missing")
        return SimKeyValue(self, path, environment, tables, read_only)

    def remove(self, path: str) -> None:
        self._environments.pop(path, None)

    def renew(self, path: str, tables: tuple[str, ...], limit_bytes: int) -> bool:
        environment = self._environments.get(path)
        if environment is None or self.renewals_refused or environment.used_bytes > limit_bytes:
            return False
        self.open(path, tables, read_only=True).close()
        return True

    def lose_power(self) -> None:
        """The machine stopped: what was not synced is garbage, and nobody has anything open."""
        for environment in self._environments.values():
            if environment.holder is not None:
                environment.holder.close()
            if not environment.synced:
                environment.garbage = True

    def damage(self, path: str) -> None:
        """The bytes of this environment have rotted."""
        self._environments[path].garbage = True

    def place_copy(self, path: str, tables: dict[str, _Table], used_bytes: int) -> None:
        """Keep a synced copy of `tables` in `path`."""
        if path in self._environments:
            raise FileExistsError(path)
        environment = self._environments[path] = _Environment()
        environment.tables = tables
        environment.used_bytes = used_bytes


class SimView:
    """A snapshot: the committed tables, by reference."""

    def __init__(self, tables: dict[str, _Table]) -> None:
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        _check_key(key)
        return self._tables[table].records.get(key)

    def scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        found = self._tables[table]
        for index in range(bisect_left(found.keys, start), len(found.keys)):
            key = found.keys[index]
            yield key, found.records[key]

    def count(self, table: str) -> int:
        return len(self._tables[table].keys)


class SimWriteTransaction:
    """The one writer: its changes stand beside the committed tables; None stands for a deletion."""

    def __init__(self, owner: "SimKeyValue", tables: dict[str, _Table]) -> None:
        self._owner = owner
        self._committed = SimView(tables)
        self._changes: dict[str, dict[bytes, bytes | None]] = {table: {} for table in tables}
        self._changed_keys: dict[str, list[bytes]] = {table: [] for table in tables}
        self._grown: dict[str, int] = dict.fromkeys(tables, 0)

    def get(self, table: str, key: bytes) -> bytes | None:
        changes = self._changes[table]
        return changes[key] if key in changes else self._committed.get(table, key)

    def scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        changes, keys = self._changes[table], self._changed_keys[table]
        changed = (keys[index] for index in range(bisect_left(keys, start), len(keys)))
        kept = (key for key, _ in self._committed.scan(table, start) if key not in changes)
        for key in merge(changed, kept):
            value = self.get(table, key)
            if value is not None:
                yield key, value

    def count(self, table: str) -> int:
        return self._committed.count(table) + self._grown[table]

    def put(self, table: str, key: bytes, value: bytes) -> None:
        _check_key(key)
        if len(key) > KEY_LIMIT_BYTES:
            raise ValueError(f"a key has 1 to {KEY_LIMIT_BYTES} bytes, not {len(key)}")
        self._grown[table] += self.get(table, key) is None
        self._change(table, key, bytes(value))

    def delete(self, table: str, key: bytes) -> bool:
        if self.get(table, key) is None:
            return False
        self._grown[table] -= 1
        self._change(table, key, None)
        return True

    def _change(self, table: str, key: bytes, value: bytes | None) -> None:
        self._owner.check_writer(self)
        if key not in self._changes[table]:
            insort(self._changed_keys[table], key)
        self._changes[table][key] = value

    def commit(self) -> None:
        self._owner.check_writer(self)
        self._owner.apply(self._changes)

    def abort(self) -> None:
        self._owner.forget_writer(self)


class SimKeyValue:
    """An open environment."""

    def __init__(
        self,
        store: SimKeyValueStore,
        path: str,
        environment: _Environment,
        tables: tuple[str, ...],
        read_only: bool,
    ) -> None:
        self.path = path
        self._store = store
        self._environment = environment
        self._tables = tables
        self._snapshots = 0
        self._writer: SimWriteTransaction | None = None
        self._closed = False
        if not read_only:
            environment.holder = self

    @contextmanager
    def snapshot(self) -> Generator[SimView]:
        self._check_open()
        self._snapshots += 1
        try:
            yield SimView(dict(self._environment.tables))
        finally:
            self._snapshots -= 1

    def begin(self) -> SimWriteTransaction:
        self._check_open()
        if self._environment.holder is not self:
            raise OSError(f"{self.path} was opened read-only")
        if self._writer is not None:
            raise RuntimeError("there is a write transaction already")
        self._writer = SimWriteTransaction(self, self._environment.tables)
        return self._writer

    def check_writer(self, transaction: SimWriteTransaction) -> None:
        """Raise unless this is the open write transaction."""
        self._check_open()
        if self._writer is not transaction:
            raise OSError("the write transaction has ended")

    def forget_writer(self, transaction: SimWriteTransaction) -> None:
        """The transaction, if it is the open one, has ended."""
        if self._writer is transaction:
            self._writer = None

    def apply(self, changes: dict[str, dict[bytes, bytes | None]]) -> None:
        """Commit the changes of the write transaction."""
        environment = self._environment
        self._writer = None
        for name, changed in changes.items():
            if not changed:
                continue
            if self._snapshots:
                environment.tables[name] = environment.tables[name].duplicate()
            environment.used_bytes += environment.tables[name].apply(changed)
            environment.synced = False

    def copy(self, path: str) -> Fingerprint:
        with self.snapshot() as view:
            fingerprint = fingerprint_of(view, self._tables)
        twins = {name: table.duplicate() for name, table in self._environment.tables.items()}
        self._store.place_copy(path, twins, self._environment.used_bytes)
        return fingerprint

    def sync(self) -> None:
        self._check_open()
        if self._store.syncs_to_fail:
            self._store.syncs_to_fail -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), self.path)
        self._environment.synced = True

    def used_fraction(self) -> float:
        return self._environment.used_bytes / SIZE_LIMIT_BYTES

    def used_bytes(self) -> int:
        return self._environment.used_bytes

    def close(self) -> None:
        self._closed = True
        self._writer = None
        if self._environment.holder is self:
            self._environment.holder = None

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(f"{self.path} is closed")


def _check_key(key: bytes) -> None:
    if not key:
        raise ValueError(f"a key has 1 to {KEY_LIMIT_BYTES} bytes, not 0")
