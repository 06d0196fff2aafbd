"""Bringing the tables to the end of the log at a start.

Tables that can be trusted only lack what the log has more: at most a batch after a kill. All others
are deleted unopened and built anew from the newest checkpoint that proves good and the log after
it. Tables that the log does not lead to (ahead of its end, or of another history) are a riddle that
no program may solve by forgetting one of the two: the namenode stops with a message (rule 6).
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from dolmen.protocol.errors import DataDamaged, StartRefused, UnsupportedVersion
from dolmen.runtime.key_value import KeyValue
from dolmen.runtime.machine import Machine
from namenode.checkpoint import Checkpoint, Checkpoints, read_position
from namenode.core import tables
from namenode.core.apply import apply_group, seal
from namenode.core.edit_batches import Batch, Position
from namenode.core.edits import decode_group
from namenode.core.sheet import Sheet
from namenode.core.soundness import check_records
from namenode.edit_log import EditLog

log = logging.getLogger(__name__)

RENEW_LIMIT_BYTES = 64 * 1024 * 1024
"""Tables up to this size are copied and read whole after a kill: about a second. A kill alone never
damages them (rule 4), so larger ones are trusted, but only once: `RunningMark`."""

REPLAY_GROUPS = 2000
"""Groups applied in one transaction: some tens of milliseconds."""


@dataclass(frozen=True)
class Recovery:
    """What it takes to recover the tables in `path`."""

    machine: Machine
    path: str
    log: EditLog
    checkpoints: Checkpoints

    async def renew(self) -> bool:
        """Replace what a killed namenode left by a sound copy, if it is small enough. DataDamaged.

        Of a copy, only the records are left to be checked.
        """
        return await self.machine.background(
            lambda: self.machine.tables.renew(self.path, tables.DURABLE_TABLES, RENEW_LIMIT_BYTES)
        )

    async def recover(self, *, check: bool) -> KeyValue:
        """Return the tables that are there, brought to the end of the log. DataDamaged.

        `check`: read every record first.
        """
        opened = self.machine.tables.open(self.path, tables.DURABLE_TABLES)
        try:
            if check:
                await self.machine.background(lambda: _check(opened))
            await self.replay(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    async def rebuild(self) -> KeyValue:
        """Delete the tables unopened, and return new ones. DataDamaged: there is no way."""
        problems = []
        for checkpoint in await self.checkpoints.find():
            try:
                return await self._rebuild_from(checkpoint)
            except DataDamaged as error:
                log.error("cannot rebuild from checkpoint %s: %s", checkpoint.path, error)
                problems.append(error.message)
        if self.log.first_txid == 1:
            self.machine.tables.remove(self.path)
            return await self.recover(check=False)
        problems.append(f"the edit log begins at transaction {self.log.first_txid}")
        raise DataDamaged(
            f"{self.path} cannot be rebuilt: {'; '.join(problems)};"
            " put the directory of the namenode back from a backup"
        )

    async def _rebuild_from(self, checkpoint: Checkpoint) -> KeyValue:
        self.machine.tables.remove(self.path)
        await self.checkpoints.restore(checkpoint, self.path)
        return await self.recover(check=False)

    async def replay(self, opened: KeyValue) -> None:
        """Apply what the log has more. StartRefused if the log does not lead to these tables."""
        with opened.snapshot() as view:
            position = read_position(view)
        self._check_not_ahead(position)
        begun = position
        async for batches in _grouped(self.log.read(position.txid + 1)):
            self._check_history(position, batches[0])
            transaction = opened.begin()
            sheet = Sheet(transaction)
            try:
                for batch in batches:
                    position = position.follow(batch)
                    for txid, group in batch.groups():
                        apply_group(_decoded(group, txid), sheet, txid)
                seal(sheet, position.txid, position.digest)
                transaction.commit()
            finally:
                transaction.abort()
        if position.txid > begun.txid:
            log.info("replayed transactions %d to %d", begun.txid + 1, position.txid)

    def _check_not_ahead(self, position: Position) -> None:
        end = self.log.position
        if position.txid > end.txid:
            raise StartRefused(
                f"the tables in {self.path} are at transaction {position.txid}, but the edit log"
                f" ends at {end.txid}: edits were lost. {self._way_out()}"
            )
        if position.txid == end.txid and position.digest != end.digest:
            raise self._other_history(position)

    def _check_history(self, position: Position, batch: Batch) -> None:
        follows = batch.first_txid == position.txid + 1
        if position.txid and follows and batch.previous_digest != position.digest:
            raise self._other_history(position)

    def _other_history(self, position: Position) -> StartRefused:
        return StartRefused(
            f"the tables in {self.path}, at transaction {position.txid}, and the edit log have"
            f" different histories. {self._way_out()}"
        )

    def _way_out(self) -> str:
        return (
            "Put the newest copy of the namenode's directory in place; or move"
            f" {self.path} away to go on with what the edit log has, without what came after it"
        )


def _check(opened: KeyValue) -> None:
    with opened.snapshot() as view:
        check_records(view)


async def _grouped(batches: AsyncIterator[Batch]) -> AsyncIterator[list[Batch]]:
    """Collect batches for one transaction each: none is open while the log is read (rule 3)."""
    waiting: list[Batch] = []
    async for batch in batches:
        waiting.append(batch)
        if sum(batch.count for batch in waiting) >= REPLAY_GROUPS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _decoded(group: bytes, txid: int) -> Any:
    try:
        return decode_group(group)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnsupportedVersion(
            f"transaction {txid} has an edit that this software does not know"
            f" ({error}): start a newer one"
        ) from None
