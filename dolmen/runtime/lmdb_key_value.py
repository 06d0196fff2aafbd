"""Ordered tables in LMDB.

Commits are not synced (the edit log is the truth), and the map is far larger than any namespace: it
takes address space alone, so that it never has to grow under an open transaction.

LMDB trusts its file: a page that is missing or wrong ends the process (SIGBUS, abort) instead of
raising. So (1) the file is kept longer than its last used page, in steps, although LMDB itself
often leaves its last pages unwritten (after one commit of seven), and a file that is shorter was
cut; (2) a copy, and an environment closed after a sync, carries the digest of its file, which is
checked before the file is mapped; (3) `renew` has a process of its own read what a killed process
left, and goes on with a sound copy. Bytes that rot in a live environment are found by the records'
own checksums.

`copy` reads a snapshot in slices and writes a new environment, rather than call LMDB's own copy,
which does not fsync, cannot be stopped, and crashes the process if the environment is closed under
it.
"""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any

import lmdb

from dolmen.protocol.errors import DataDamaged
from dolmen.runtime.key_value import SCAN_RECORDS, Fingerprint, Fingerprinter
from dolmen.runtime.lmdb_files import DATA_NAME, check_digest, seal, sync_paths
from dolmen.runtime.lmdb_renewal import renew

MAP_SIZE_BYTES = 256 << 30
"""Over 10⁹ files. Opening costs the same at 1 GiB and 1 TiB, and the file only grows as it fills.
"""

GROWTH_BYTES = 16 << 20
"""The file's end is moved ahead of its last used page by this much: a hole takes no space."""

READERS_LIMIT = 126
"""LMDB's own default; all our readers are in this process, one or two at a time."""

_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.NotFoundError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)


class LmdbStore:
    """Opens LMDB environments, each in a directory of its own."""

    def __init__(self, map_size_bytes: int = MAP_SIZE_BYTES) -> None:
        self._map_size_bytes = map_size_bytes

    def open(
        self, path: str, tables: tuple[str, ...], *, read_only: bool = False
    ) -> "LmdbKeyValue":
        """Open, or make, the environment in `path`. DataDamaged if it is not sound."""
        if not read_only:
            os.makedirs(path, exist_ok=True)
        elif not os.path.exists(os.path.join(path, DATA_NAME)):
            raise DataDamaged(f"{path} holds no tables")
        check_digest(path, forget=not read_only)
        with _translated(path):
            environment = lmdb.open(
                path,
                map_size=self._map_size_bytes,
                max_dbs=len(tables),
                max_readers=READERS_LIMIT,
                mode=0o644,
                create=not read_only,
                readonly=read_only,
                lock=not read_only,
                readahead=False,
                sync=False,
                metasync=False,
            )
        try:
            with _translated(path):
                return LmdbKeyValue(self, environment, tables, read_only)
        except BaseException:
            environment.close()
            raise

    def remove(self, path: str) -> None:
        """Delete the environment in `path`, unopened; fine if there is none."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def renew(self, path: str, tables: tuple[str, ...], limit_bytes: int) -> bool:
        """Replace an environment by a copy of its records; `KeyValueStore` says when and why."""
        return renew(path, tables, limit_bytes)


class LmdbView:
    """A snapshot, or what the write transaction sees."""

    def __init__(self, environment: "LmdbKeyValue", transaction: Any) -> None:
        self._transaction = transaction
        self._handles = environment.handles
        self._path = environment.path

    def get(self, table: str, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._transaction.get(key, db=self._handles[table])
        except lmdb.Error as error:
            raise _translate(error, self._path) from error
        return value

    def scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        try:
            cursor = self._transaction.cursor(self._handles[table])
            if cursor.set_range(start) if start else cursor.first():
                yield from cursor.iternext(keys=True, values=True)
        except lmdb.Error as error:
            raise _translate(error, self._path) from error

    def count(self, table: str) -> int:
        with _translated(self._path):
            count: int = self._transaction.stat(self._handles[table])["entries"]
        return count


class LmdbWriteTransaction(LmdbView):
    """The one writer. Begin, change and end it on one thread."""

    def __init__(self, environment: "LmdbKeyValue", transaction: Any) -> None:
        super().__init__(environment, transaction)
        self._environment = environment

    def put(self, table: str, key: bytes, value: bytes) -> None:
        try:
            self._transaction.put(key, value, db=self._handles[table])
        except lmdb.Error as error:
            raise _translate(error, self._path) from error

    def delete(self, table: str, key: bytes) -> bool:
        try:
            deleted: bool = self._transaction.delete(key, db=self._handles[table])
        except lmdb.Error as error:
            raise _translate(error, self._path) from error
        return deleted

    def commit(self) -> None:
        with _translated(self._path):
            self._transaction.commit()
        self._environment.keep_ahead()

    def abort(self) -> None:
        self._transaction.abort()


class LmdbKeyValue:
    """An open environment."""

    def __init__(
        self,
        store: LmdbStore,
        environment: lmdb.Environment,
        tables: tuple[str, ...],
        read_only: bool,
    ) -> None:
        self.path: str = environment.path()
        self._store = store
        self._environment = environment
        self._tables = tables
        self._page_bytes: int = environment.stat()["psize"]
        self._closing = threading.Lock()
        self._closed = False
        self._synced = False  # since the last transaction that could change anything
        self._length_bytes = os.stat(os.path.join(self.path, DATA_NAME)).st_size
        if self._length_bytes < self.used_bytes():
            raise DataDamaged(
                f"{self.path} uses {self.used_bytes()} bytes,"
                f" but has only {self._length_bytes}: it was cut"
            )
        self.handles = self._open_tables(read_only)
        if not read_only:
            environment.reader_check()
            self.keep_ahead()

    def _open_tables(self, read_only: bool) -> dict[str, Any]:
        if read_only:
            return {
                table: self._environment.open_db(table.encode(), create=False)
                for table in self._tables
            }
        with self._environment.begin(write=True) as transaction:
            return {
                table: self._environment.open_db(table.encode(), txn=transaction)
                for table in self._tables
            }

    @contextlib.contextmanager
    def snapshot(self) -> Generator[LmdbView]:
        with _translated(self.path):
            transaction = self._environment.begin()
        try:
            yield LmdbView(self, transaction)
        finally:
            transaction.abort()

    def begin(self) -> LmdbWriteTransaction:
        self._synced = False
        with _translated(self.path):
            return LmdbWriteTransaction(self, self._environment.begin(write=True))

    def keep_ahead(self) -> None:
        """Move the file's end ahead of the last used page."""
        if self.used_bytes() > self._length_bytes - GROWTH_BYTES // 2:
            self._length_bytes = self.used_bytes() + GROWTH_BYTES
            os.truncate(os.path.join(self.path, DATA_NAME), self._length_bytes)

    def copy(self, path: str) -> Fingerprint:
        """Copy into `path`, which must not exist, and sync it."""
        os.mkdir(path)
        target = self._store.open(path, self._tables)
        try:
            fingerprint = self._copy_records(target)
            length_bytes = target.used_bytes()
        finally:
            target.close()
        os.truncate(os.path.join(path, DATA_NAME), length_bytes)
        seal(path)
        return fingerprint

    def _copy_records(self, target: "LmdbKeyValue") -> Fingerprint:
        """Copy slice by slice; between two slices this environment may be closed."""
        taken = Fingerprinter()
        with self._slice():
            source = self._environment.begin()
        try:
            for table in self._tables:
                taken.add(table, [])
                with self._slice():
                    records = LmdbView(self, source).scan(table)
                while True:
                    with self._slice():
                        found = list(islice(records, SCAN_RECORDS))
                    if not found:
                        break
                    taken.add(table, found)
                    target.append(table, found)
        finally:
            with self._closing:
                source.abort()
        return taken.fingerprint()

    @contextlib.contextmanager
    def _slice(self) -> Generator[None]:
        with self._closing:
            if self._closed:
                raise DataDamaged(f"{self.path} was closed while it was copied")
            yield

    def append(self, table: str, records: list[tuple[bytes, bytes]]) -> None:
        """Add records behind the last one of a table, in a transaction of their own."""
        with (
            _translated(self.path),
            self._environment.begin(write=True) as transaction,
            transaction.cursor(self.handles[table]) as cursor,
        ):
            cursor.putmulti(records, append=True)

    def sync(self) -> None:
        """Sync file and names, past LMDB: so it may run in a thread and be closed meanwhile."""
        sync_paths(os.path.join(self.path, DATA_NAME), self.path, os.path.dirname(self.path))
        self._synced = True

    def used_fraction(self) -> float:
        fraction: float = self.used_bytes() / self._environment.info()["map_size"]
        return fraction

    def used_bytes(self) -> int:
        used: int = (self._environment.info()["last_pgno"] + 1) * self._page_bytes
        return used

    def close(self) -> None:
        """Close; open transactions are dropped. Harmless if it is closed.

        After a sync the digest of the file is left beside it: keys have no checksums of their own,
        and a key that rots unnoticed is a block that is believed deleted.
        """
        with self._closing:
            sealed, self._closed = self._synced and not self._closed, True
            self._environment.close()
        if sealed:
            with contextlib.suppress(OSError):  # without a digest the file is believed
                seal(self.path)


@contextlib.contextmanager
def _translated(path: str) -> Generator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise _translate(error, path) from error


def _translate(error: lmdb.Error, path: str) -> Exception:
    """What LMDB's error is to us: damage, a full disk, a bad key, else an I/O error."""
    if isinstance(error, _DAMAGE):
        return DataDamaged(f"the tables in {path} are damaged: {error}")
    if isinstance(error, lmdb.BadValsizeError):
        return ValueError(f"a key has 1 to 511 bytes: {error}")
    full = isinstance(error, lmdb.MapFullError | lmdb.DiskError)
    return OSError(errno.ENOSPC if full else errno.EIO, f"the tables in {path} failed: {error}")
