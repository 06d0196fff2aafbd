"""All that a namenode keeps: the edit log, the tables that index it, and the marks around them.

`open_store` leaves every start, after whatever end the last one had, in the same state: the
directory is locked, this namenode's epoch is in the log (rule 23), and the tables are at the log's
end. While the tables are being opened, the mark `rebuild` stands: should that end the process, the
next start builds them anew.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass

from dolmen.protocol.errors import DataDamaged, DolmenError, StartRefused, UnsupportedVersion
from dolmen.runtime.disk import Disk
from dolmen.runtime.key_value import KeyValue
from dolmen.runtime.machine import Machine
from namenode.checkpoint import Checkpointer, Checkpoints
from namenode.core.edit_batches import make_batch
from namenode.core.edits import EpochRaised, encode_group
from namenode.core.tables import SOFT_TABLES
from namenode.edit_log import EditLog
from namenode.file_edit_log import open_file_edit_log
from namenode.recovery import Recovery
from namenode.store_directory import (
    CHECKPOINTS,
    EDITS,
    NAMESPACE,
    REPLICAS,
    Identity,
    StoreDirectory,
    check_secret,
)

log = logging.getLogger(__name__)

OPENING = "the last opening of the tables did not come to its end"


@dataclass(frozen=True)
class StoreOptions:
    """Where the store is. `secret_file` names the secret of a new cluster, or the one expected."""

    directory: str
    secret_file: str | None = None


@dataclass
class Store:
    """An open store. `epoch` is that of this start."""

    identity: Identity
    epoch: int
    secret: bytes
    disk: Disk
    tables: KeyValue
    soft: KeyValue
    log: EditLog
    checkpoints: Checkpoints
    damage: str | None
    _place: StoreDirectory
    _held: ExitStack

    @property
    def cluster_id(self) -> str:
        return self.identity.cluster_id

    @property
    def directory(self) -> str:
        return self._place.path

    def checkpointer(self, every_edits: int) -> Checkpointer:
        """Return what writes this store's checkpoints."""
        return Checkpointer(self.checkpoints, self.tables, self.log, every_edits, self.mark_damaged)

    def report_damage(self, reason: str) -> None:
        """A record of the tables is not whole: the journal ends, the next start rebuilds."""
        self.damage = self.damage or reason

    async def mark_damaged(self, reason: str) -> None:
        """Make the next start rebuild the tables."""
        self.report_damage(reason)
        await self._place.mark_rebuild(self.identity, reason)

    async def close_clean(self) -> None:
        """Make everything last and close, so that the next start trusts the tables."""
        try:
            if self.damage is None:
                await self._sync_tables()
                await self._place.mark_stopped()
            else:
                await self.mark_damaged(self.damage)
            await self.log.close()
        finally:
            self._held.close()

    async def _sync_tables(self) -> None:
        try:
            self.tables.sync()
        except OSError as error:  # what was committed is gone from memory, and not on the disk
            await self.mark_damaged(f"the tables could not be written: {error}")
            raise

    def kill(self) -> None:
        """Let go of everything at once, as the end of the process does."""
        self._held.close()


async def open_store(machine: Machine, options: StoreOptions) -> Store:
    """Open the store in a directory; an empty or missing one is initialised. StartRefused."""
    with ExitStack() as held:
        try:
            return await _open(machine, options, held)
        except StartRefused:
            raise
        except DolmenError as error:
            raise StartRefused(error.message) from error
        except OSError as error:
            raise StartRefused(f"cannot use {options.directory}: {error}") from error


async def _open(machine: Machine, options: StoreOptions, held: ExitStack) -> Store:
    disk = machine.open_disk()
    held.callback(disk.close)
    secret = await _read_secret(disk, options.secret_file)
    place = StoreDirectory(machine, disk, options.directory)
    held.callback((await place.claim()).release)
    identity, secret = await place.open(secret)
    edit_log = await open_file_edit_log(disk, place.join(EDITS), identity.cluster_id)
    if edit_log.position.txid == 0:
        raise DataDamaged(f"{place.join(EDITS)} has no edits: put it back from a backup")
    checkpoints = Checkpoints(machine, disk, place.join(CHECKPOINTS), identity.cluster_id)
    recovery = Recovery(machine, place.join(NAMESPACE), edit_log, checkpoints)
    tables = await _recover(place, identity, recovery)
    held.callback(tables.close)
    epoch = await _raise_epoch(machine, edit_log)
    await recovery.replay(tables)
    await place.clear_rebuild()
    machine.tables.remove(place.join(REPLICAS))
    soft = machine.tables.open(place.join(REPLICAS), SOFT_TABLES)
    held.callback(soft.close)
    return Store(
        identity=identity,
        epoch=epoch,
        secret=secret,
        disk=disk,
        tables=tables,
        soft=soft,
        log=edit_log,
        checkpoints=checkpoints,
        damage=None,
        _place=place,
        _held=held.pop_all(),
    )


async def _read_secret(disk: Disk, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = await disk.read_file(path)
    except OSError as error:
        raise StartRefused(f"cannot read the cluster secret {path}: {error.strerror}") from None
    return check_secret(content, path)


async def _recover(place: StoreDirectory, identity: Identity, recovery: Recovery) -> KeyValue:
    """Return the tables at the end of the log; the mark `rebuild` stands meanwhile."""
    reason = await place.reason_to_rebuild()
    was_running = await place.was_running()
    await place.mark_rebuild(identity, reason or OPENING)
    await place.mark_running(identity)
    if reason is None:
        try:
            renewed = was_running and await recovery.renew()
            await place.mark_running(identity, trusting=was_running and not renewed)
            return await recovery.recover(check=renewed)
        except DataDamaged as error:
            reason = error.message
        except (StartRefused, UnsupportedVersion):
            await place.clear_rebuild()  # a refusal must not lead to a rebuild by the next start
            raise
    log.warning("rebuilding the tables from checkpoint and log: %s", reason)
    return await recovery.rebuild()


async def _raise_epoch(machine: Machine, edit_log: EditLog) -> int:
    """Log this start's epoch; whatever an older namenode still says is void (rule 23)."""
    epoch = edit_log.position.epoch + 1
    group = encode_group((EpochRaised(epoch, machine.wall_clock_ms()),))
    await edit_log.append(make_batch(edit_log.position, epoch, [group]))
    return epoch
