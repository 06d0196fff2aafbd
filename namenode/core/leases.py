"""Leases: the right to write an unpublished file, and when the namenode ends it.

Who holds a lease is durable; when the holder was last heard is not. After a start all holders count
as heard when the leases are first looked through, so that a restart is a pause for writers, not an
end. Times are kept in the order in which they were renewed, so that the ended ones stand in front.
"""

from collections.abc import Iterator

from dolmen.protocol.client_messages import LeasesRenewed, RenewLeases
from dolmen.protocol.errors import InvalidRequest, LeaseConflict
from namenode.core import tables
from namenode.core.lookup import find_inode, find_lease
from namenode.core.records import Inode
from namenode.core.tables import View

RENEWALS_LIMIT = 10_000
"""Leases that one call renews: what fits a message, and is looked up in a few milliseconds."""

LEASES_LIMIT = 1_000_000
"""Unpublished files at a time: their renewal times are in memory."""


class LeaseTable:
    """When each holder was last heard (soft state)."""

    def __init__(self) -> None:
        self._heard_ms: dict[int, int] = {}

    def load(self, view: View, now_ms: int) -> None:
        """Count the holders of all recorded leases as heard now."""
        for key, _ in view.scan(tables.LEASES):
            self.touch(tables.read_number(key), now_ms)

    def touch(self, inode_id: int, now_ms: int) -> None:
        """The holder was heard."""
        self._heard_ms.pop(inode_id, None)
        self._heard_ms[inode_id] = now_ms

    def silent_ms(self, inode_id: int, now_ms: int) -> int:
        """Return for how long the holder was not heard: 0 if that is not known yet."""
        return max(0, now_ms - self._heard_ms.get(inode_id, now_ms))

    def end(self, inode_id: int) -> None:
        """There is no such lease any more."""
        self._heard_ms.pop(inode_id, None)

    def silent_since(self, time_ms: int) -> Iterator[int]:
        """Yield the inode ids whose holders were last heard at `time_ms` or before."""
        for inode_id, heard_ms in self._heard_ms.items():
            if heard_ms > time_ms:
                return
            yield inode_id

    def __len__(self) -> int:
        return len(self._heard_ms)


def held_file(view: View, inode_id: int, client_id: bytes) -> Inode:
    """Return the unpublished file `inode_id`. LeaseConflict unless `client_id` may write it."""
    lease = find_lease(view, inode_id)
    inode = find_inode(view, inode_id)
    if lease is None or inode is None:
        raise LeaseConflict(
            f"there is no lease on inode {inode_id}: the file is published, or its writer was "
            "silent for too long or gave up; open the path again to write a new file"
        )
    if lease.client_id != client_id:
        raise LeaseConflict(
            f"another client writes inode {inode_id}; open the path again to write a file "
            "of your own",
            lease.path,
        )
    return inode


def renew(
    leases: LeaseTable, view: View, client_id: bytes, request: RenewLeases, now_ms: int
) -> LeasesRenewed:
    """Renew the leases that the client holds, and tell it which ones it does not."""
    if len(request.inode_ids) > RENEWALS_LIMIT:
        raise InvalidRequest(f"at most {RENEWALS_LIMIT} leases are renewed by one call")
    ended = []
    for inode_id in request.inode_ids:
        lease = find_lease(view, inode_id)
        if lease is not None and lease.client_id == client_id:
            leases.touch(inode_id, now_ms)
        else:
            ended.append(inode_id)
    return LeasesRenewed(tuple(ended))
