"""What the cluster's upkeep counts, for whoever watches over it; the report has the rest."""

import msgspec

from namenode.core.assessment import Assessor
from namenode.core.datanodes import Datanodes
from namenode.core.redundancy import Redundancy
from namenode.core.upkeep import Upkeep


class ClusterFigures(msgspec.Struct, frozen=True):
    """Work that waits, and work that was done since the start."""

    waiting: dict[str, int]  # blocks by what is wrong with them
    orders: int  # replicas that datanodes were told to do away with, and have not yet
    checks: int  # replicas that datanodes are to look at
    walks: int  # through blocks, under way
    copied_blocks: int
    copied_bytes: int
    failed_copies: int


def gather(
    datanodes: Datanodes, assessor: Assessor, redundancy: Redundancy, upkeep: Upkeep
) -> ClusterFigures:
    """Return the figures of now."""
    return ClusterFigures(
        waiting=assessor.conditions.counts(),
        orders=sum(len(datanode.orders) for datanode in datanodes),
        checks=sum(len(datanode.checks) for datanode in datanodes),
        walks=upkeep.walk_count,
        copied_blocks=redundancy.copied_blocks,
        copied_bytes=redundancy.copied_bytes,
        failed_copies=redundancy.failed_copies,
    )
