"""Where a reader finds a block: one rule for the order of its replicas.

Good replicas first, and of these those that are not ordered deleted, of datanodes that were heard
lately, and that stay; then the nearest. Damaged ones come last: a part of them may be good.
"""

from collections.abc import Iterable
from random import Random

from dolmen.protocol.client_messages import ReplicaLocation
from namenode.core.block_map import Holding, damaged, good
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.records import AdminState

LAST_READ = (
    AdminState.IN_SERVICE,
    AdminState.MAINTENANCE,
    AdminState.DECOMMISSIONING,
    AdminState.DECOMMISSIONED,
)
"""Those that stay are asked first: the others have enough to do, or may be gone in a moment."""


class Reader:
    """Somebody who reads, on some host; among equals chance decides."""

    def __init__(self, host: str, datanodes: Datanodes, random: Random) -> None:
        self._host = host
        self._rack = next((d.rack for d in datanodes if d.host == host), None)
        self._random = random

    def locate(self, block_id: int, held: Iterable[Holding]) -> tuple[ReplicaLocation, ...]:
        """Return the replicas that can be read, best first."""
        held = list(held)
        whole = [
            _location(datanode, datanode.liveness is not Liveness.LIVE)
            for datanode in self._nearest(block_id, good(held))
        ]
        partial = [
            _location(datanode, stale=True) for datanode in self._nearest(block_id, damaged(held))
        ]
        return (*whole, *partial)

    def _nearest(self, block_id: int, found: list[DatanodeState]) -> list[DatanodeState]:
        self._random.shuffle(found)
        return sorted(
            found,
            key=lambda datanode: (
                block_id in datanode.orders,
                datanode.liveness,
                LAST_READ.index(datanode.admin_state),
                datanode.host != self._host,
                datanode.rack != self._rack,
            ),
        )


def _location(datanode: DatanodeState, stale: bool) -> ReplicaLocation:
    return ReplicaLocation(
        datanode.datanode_id, datanode.address, datanode.host, datanode.rack, stale
    )
