"""The port to the edit log: batches of edits, made durable one after the other.

The log is the truth of the namespace; the tables are its index. An append that failed is final:
nobody knows what of it is on the disk, so the log takes no other one and the process ends (rule 2).
The real implementation for one machine is `file_edit_log`, the simulated one, shared between
namenodes, `dolmen.simulation.sim_edit_log`.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from namenode.core.edit_batches import Batch, Position


class EditLog(Protocol):
    """A chain of batches."""

    @property
    def position(self) -> Position:
        """Where the log ends: the batch to append next follows it."""

    @property
    def first_txid(self) -> int:
        """The first transaction that is still kept; what comes before was trimmed."""

    @property
    def appended_bytes(self) -> int:
        """How many bytes were appended since the log was opened."""

    async def append(self, batch: Batch) -> None:
        """Make `batch` durable.

        DataDamaged if it does not follow `position`, StandbyNamenode if its epoch is over: then
        nothing was written. Any other error is final.
        """

    def read(self, from_txid: int) -> AsyncIterator[Batch]:
        """Yield the batches from the one that holds `from_txid` on; none if it lies ahead.

        DataDamaged if `from_txid` was trimmed, or a batch cannot be read as it was appended.
        """

    async def trim(self, before_txid: int) -> None:
        """Forget transactions before `before_txid`; some of them may be kept."""

    async def close(self) -> None:
        """Close. What was appended stays."""
