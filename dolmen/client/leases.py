"""Keeps the leases of the files being written, for all writers of a client at once.

One task runs while there is anything to keep. A namenode that cannot be reached ends no lease here:
it counts its own time, and says so when it is back. A writer asks its lease before each operation.
"""

import asyncio
import logging

from dolmen.client.connection import NamenodeConnection
from dolmen.protocol.client_messages import LeasesRenewed, RenewLeases
from dolmen.protocol.errors import DolmenError, LeaseConflict

logger = logging.getLogger(__name__)

RENEWALS_PER_SOFT_LIMIT = 3
"""Two renewals may be lost and the lease still holds."""

LEASES_PER_CALL = 10_000
"""As many inode ids as fit well into a control message of 1 MiB."""


class Lease:
    """The right to write one unpublished file."""

    def __init__(self, inode_id: int) -> None:
        self.inode_id = inode_id
        self.ended = False

    def check(self, path: str) -> None:
        """Raise LeaseConflict if the namenode has ended this lease."""
        if self.ended:
            raise LeaseConflict(
                f"the lease on {path} has ended: the namenode did not hear from this writer in"
                " time; its bytes are dropped, write the file again",
                path,
            )


class LeaseKeeper:
    """All leases of one client."""

    def __init__(self, namenode: NamenodeConnection) -> None:
        self._namenode = namenode
        self._leases: dict[int, Lease] = {}
        self._renewing: asyncio.Task[None] | None = None

    def keep(self, inode_id: int) -> Lease:
        """Keep the lease of a file just created, until `release`."""
        lease = self._leases[inode_id] = Lease(inode_id)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_while_any())
        return lease

    def release(self, lease: Lease) -> None:
        """Keep it no longer. Idempotent."""
        self._leases.pop(lease.inode_id, None)
        if not self._leases and self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None

    async def close(self) -> None:
        """Keep nothing any more: the writers fail."""
        renewing = self._renewing
        for lease in list(self._leases.values()):
            lease.ended = True
            self.release(lease)
        if renewing is not None:
            await asyncio.wait([renewing])

    async def _renew_while_any(self) -> None:
        interval_s = self._namenode.greeting.lease_soft_limit_ms / 1000 / RENEWALS_PER_SOFT_LIMIT
        while True:
            await asyncio.sleep(interval_s)
            inode_ids = tuple(self._leases)
            for start in range(0, len(inode_ids), LEASES_PER_CALL):
                await self._renew(inode_ids[start : start + LEASES_PER_CALL], interval_s)

    async def _renew(self, inode_ids: tuple[int, ...], interval_s: float) -> None:
        request = RenewLeases(inode_ids)
        try:
            renewed = await self._namenode.call(request, LeasesRenewed, retry_for_s=interval_s)
        except DolmenError as error:
            logger.info("leases not renewed, trying again in %g s: %s", interval_s, error)
            return
        for inode_id in renewed.ended:
            if lease := self._leases.get(inode_id):
                lease.ended = True
