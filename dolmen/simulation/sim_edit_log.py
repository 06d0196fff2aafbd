"""An edit log in memory that several simulated namenodes share, fenced by epoch.

It stands for a log kept by others (ZooKeeper): what was appended survives every crash of a
namenode, and once a batch of a higher epoch is in, one of a lower epoch is refused.
"""

import asyncio
from collections.abc import AsyncIterator

from dolmen.protocol.errors import DataDamaged, StandbyNamenode
from namenode.core.edit_batches import START, Batch, Position, decode_batch, encode_batch

APPEND_S = 0.0005
"""What an append takes in virtual time: about a sync of a fast disk."""


class SharedEditLog:
    """What is kept, whoever appends."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.position = START
        self.first_txid = 1


class SimEditLog:
    """One namenode's way to it."""

    def __init__(self, shared: SharedEditLog, append_s: float = APPEND_S) -> None:
        self._shared = shared
        self._append_s = append_s
        self._position = shared.position
        self._appended_bytes = 0
        self._closed = False

    @property
    def position(self) -> Position:
        return self._position

    @property
    def first_txid(self) -> int:
        return self._shared.first_txid

    @property
    def appended_bytes(self) -> int:
        return self._appended_bytes

    async def append(self, batch: Batch) -> None:
        if self._closed:
            raise OSError("the edit log is closed")
        if batch.epoch < self._shared.position.epoch:
            raise StandbyNamenode(
                f"epoch {batch.epoch} is over: another namenode appends in epoch"
                f" {self._shared.position.epoch}"
            )
        position = self._shared.position.follow(batch)
        data = encode_batch(batch)
        self._shared.batches.append(data)
        self._shared.position = position
        await asyncio.sleep(self._append_s)
        self._position = position
        self._appended_bytes += len(data)

    async def read(self, from_txid: int) -> AsyncIterator[Batch]:
        if from_txid < self._shared.first_txid:
            raise DataDamaged(
                f"the edit log begins at transaction {self._shared.first_txid},"
                f" but {from_txid} is needed"
            )
        for data in list(self._shared.batches):
            batch = _decoded(data)
            if batch.last_txid >= from_txid:
                yield batch

    async def trim(self, before_txid: int) -> None:
        kept = [data for data in self._shared.batches if _decoded(data).last_txid >= before_txid]
        self._shared.batches = kept
        self._shared.first_txid = (
            _decoded(kept[0]).first_txid if kept else self._shared.position.txid + 1
        )

    async def close(self) -> None:
        self._closed = True


def _decoded(data: bytes) -> Batch:
    batch = decode_batch(data)
    assert batch is not None
    return batch
