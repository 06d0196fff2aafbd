"""Checkpoints: verified copies of the tables, from which they are rebuilt when they are lost.

A checkpoint is a directory with a copy of the tables and a manifest. The manifest is written last,
after the copy was synced, opened again and compared with the state it was taken from, record by
record: a checkpoint counts only with it (rule 5). The last two that count are kept, and the log
from the older of them on, so that one of them may turn out to be damaged.

A directory is named by the transaction at which its copy was begun; what the copy holds is said by
its manifest, and may be a little later.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from posixpath import dirname, join

import msgspec

from dolmen.protocol.errors import DataDamaged, DolmenError, NoSpace, WrongCluster
from dolmen.runtime.disk import Disk
from dolmen.runtime.key_value import Fingerprint, KeyValue, fingerprint_of
from dolmen.runtime.machine import Machine
from namenode.core.edit_batches import START, Position
from namenode.core.records import META_KEY, META_RECORD
from namenode.core.stamped_file import decode_stamped, encode_stamped
from namenode.core.tables import DURABLE_TABLES, META, View
from namenode.edit_log import EditLog
from namenode.free_space import reserve_bytes

log = logging.getLogger(__name__)

KEPT = 2
MAGIC = "dolmen-checkpoint"
MANIFEST_NAME = "manifest"
TABLES_NAME = "tables"

LOG_BYTES = 64 * 1024 * 1024
"""A checkpoint is due when the log has grown by so much, and by as much as there is to be copied:
it is replayed in seconds, or in about the time that the copy takes."""

RETRY_EDITS = 10_000
"""After a checkpoint that failed: its cause (mostly a full disk) is there for a while."""


class TablesLost(Exception):
    """Some of what was committed to the tables is not on the disk (rule 4)."""


class Manifest(msgspec.Struct, frozen=True):
    """What a checkpoint holds."""

    txid: int
    digest: bytes  # of the log's batch that ends with `txid`
    epoch: int
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that counts."""

    path: str
    manifest: Manifest

    @property
    def tables_path(self) -> str:
        return join(self.path, TABLES_NAME)


def read_position(view: View) -> Position:
    """Return the position of the log that a state of the tables belongs to."""
    value = view.get(META, META_KEY)
    if value is None:
        return START
    meta = META_RECORD.decode(value)
    return Position(meta.applied_txid, meta.applied_digest, meta.epoch)


class Checkpoints:
    """The checkpoints in a namenode's directory."""

    def __init__(self, machine: Machine, disk: Disk, directory: str, cluster_id: str) -> None:
        self._machine = machine
        self._disk = disk
        self._directory = directory
        self._cluster_id = cluster_id

    async def find(self) -> list[Checkpoint]:
        """Return those that count, the newest first."""
        found = []
        for name in await self._names():
            path = join(self._directory, name)
            try:
                manifest = await self._read_manifest(path)
            except DataDamaged as error:
                log.error("checkpoint %s does not count: %s", path, error)
                continue
            if manifest is not None:
                found.append(Checkpoint(path, manifest))
        return sorted(found, key=lambda checkpoint: checkpoint.manifest.txid, reverse=True)

    async def write(self, tables: KeyValue) -> Checkpoint:
        """Copy `tables` as they are now, and make sure of the copy."""
        await self._write_back(tables)
        with tables.snapshot() as view:
            begun = read_position(view)
        path = join(self._directory, f"{begun.txid:020d}")
        await self._remove(path)
        await self._disk.make_directories(path)
        try:
            copied = await self._machine.background(lambda: tables.copy(join(path, TABLES_NAME)))
            manifest = await self._machine.background(lambda: self._verify(path, copied))
            await self._disk.sync_directory(path)
            data = encode_stamped(MAGIC, self._cluster_id, manifest)
            await self._disk.write_file(join(path, MANIFEST_NAME), data)
        except (OSError, DolmenError):
            await self._remove(path)
            raise
        return Checkpoint(path, manifest)

    async def _write_back(self, tables: KeyValue) -> None:
        """Sync the tables: pages that the kernel failed to write would be read back as old ones."""
        try:
            await self._machine.background(tables.sync)
        except OSError as error:
            raise TablesLost(f"the tables could not be written: {error}") from error

    async def restore(self, checkpoint: Checkpoint, target: str) -> None:
        """Copy the tables of `checkpoint` to `target`, where nothing is. DataDamaged."""
        manifest = checkpoint.manifest
        there = tuple(manifest.fingerprint.counts)  # older software had fewer tables

        def copy() -> None:
            source = self._machine.tables.open(checkpoint.tables_path, there, read_only=True)
            try:
                if source.copy(target) != manifest.fingerprint:
                    raise DataDamaged(f"checkpoint {checkpoint.path} is not what was written")
            finally:
                source.close()

        await self._machine.background(copy)

    async def space(self) -> tuple[int, int]:
        """Return (capacity, free) of the file system that checkpoints are on."""
        return await self._disk.space(dirname(self._directory))

    async def keep(self, kept: list[Checkpoint]) -> None:
        """Make these last, and remove all others, and those that never came to count."""
        for checkpoint in kept:  # a manifest may be seen that a killed process had not synced
            await self._disk.sync_directory(checkpoint.path)
        paths = {checkpoint.path for checkpoint in kept}
        for name in await self._names():
            if join(self._directory, name) not in paths:
                await self._remove(join(self._directory, name))

    def _verify(self, path: str, copied: Fingerprint) -> Manifest:
        """Read the copy again; it must be the state that was copied."""
        tables = self._machine.tables.open(join(path, TABLES_NAME), DURABLE_TABLES, read_only=True)
        try:
            with tables.snapshot() as view:
                if fingerprint_of(view, DURABLE_TABLES) != copied:
                    raise DataDamaged(f"the copy in {path} is not what was copied")
                position = read_position(view)
        finally:
            tables.close()
        return Manifest(position.txid, position.digest, position.epoch, copied)

    async def _read_manifest(self, path: str) -> Manifest | None:
        name = join(path, MANIFEST_NAME)
        if not await self._disk.exists(name):
            return None
        data = await self._disk.read_file(name)
        cluster_id, manifest = decode_stamped(data, MAGIC, Manifest)
        if cluster_id != self._cluster_id:
            raise WrongCluster(
                f"{name} belongs to cluster {cluster_id}, this namenode to {self._cluster_id}"
            )
        return manifest

    async def _names(self) -> list[str]:
        if not await self._disk.is_directory(self._directory):
            return []
        return await self._disk.list_directory(self._directory)

    async def _remove(self, path: str) -> None:
        """The manifest goes first: what is half removed must not count."""
        manifest_path = join(path, MANIFEST_NAME)
        if await self._disk.exists(manifest_path):
            await self._disk.remove(manifest_path)
            await self._disk.sync_directory(path)
        tables_path = join(path, TABLES_NAME)
        await self._machine.background(lambda: self._machine.tables.remove(tables_path))
        await self._disk.remove_tree(path)


class Checkpointer:
    """Writes a checkpoint when one is due, and trims the log behind it."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        tables: KeyValue,
        edit_log: EditLog,
        every_edits: int,
        mark_damaged: Callable[[str], Awaitable[None]],
    ) -> None:
        self._checkpoints = checkpoints
        self._tables = tables
        self._log = edit_log
        self._every_edits = every_edits
        self._mark_damaged = mark_damaged
        self._last_txid: int | None = None
        self._last_bytes = 0
        self._not_before_txid = 0

    @property
    def last_txid(self) -> int | None:
        """Where the last checkpoint ends; None if nobody has looked yet."""
        return self._last_txid

    async def run_if_due(self) -> bool:
        """Write a checkpoint if one is due; a failure is logged, and costs only disk and time.

        TablesLost: the process must end, and the next start builds the tables anew.
        """
        if not await self._is_due():
            return False
        try:
            await self.run()
        except TablesLost as error:
            await self._mark_damaged(str(error))
            raise
        except (OSError, DolmenError) as error:
            log.error("checkpoint failed, edits are kept in the log: %s", error)
            self._not_before_txid = self._log.position.txid + RETRY_EDITS
            return False
        return True

    async def run_asked(self) -> int:
        """Write a checkpoint although none is due; return where it ends. One that has everything
        in it already is not written again. TablesLost as in `run_if_due`."""
        try:
            found = await self._checkpoints.find()
            if found and found[0].manifest.txid == self._log.position.txid:
                return found[0].manifest.txid
            return (await self.run()).manifest.txid
        except TablesLost as error:
            await self._mark_damaged(str(error))
            raise

    async def run(self) -> Checkpoint:
        """Write a checkpoint now."""
        await self._check_space()
        appended_bytes = self._log.appended_bytes
        written = await self._checkpoints.write(self._tables)
        kept = (await self._checkpoints.find())[:KEPT]
        await self._checkpoints.keep(kept)
        if len(kept) == KEPT:
            await self._log.trim(kept[-1].manifest.txid + 1)
        self._last_txid = written.manifest.txid
        self._last_bytes = appended_bytes
        log.info("checkpoint at transaction %d in %s", written.manifest.txid, written.path)
        return written

    async def _is_due(self) -> bool:
        if self._last_txid is None:
            found = await self._checkpoints.find()
            self._last_txid = found[0].manifest.txid if found else 0
        txid = self._log.position.txid
        if txid < self._not_before_txid or txid == self._last_txid:
            return False
        grown_bytes = self._log.appended_bytes - self._last_bytes
        due_bytes = max(LOG_BYTES, self._tables.used_bytes())
        return txid - self._last_txid >= self._every_edits or grown_bytes >= due_bytes

    async def _check_space(self) -> None:
        """A checkpoint must not fill the disk that the log needs."""
        capacity, free = await self._checkpoints.space()
        needed = self._tables.used_bytes() + reserve_bytes(capacity)
        if free < needed:
            raise NoSpace(f"a checkpoint needs {needed} bytes of free space, there are {free}")
