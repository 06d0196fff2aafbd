"""Which replica to ask first.

A replica that failed us recently comes last, one on a STALE datanode after the others, one on our
own host before the others; among equals chance decides, so that readers spread over the datanodes.
"""

from collections.abc import Collection, Sequence
from random import Random

from dolmen.protocol.client_messages import ReplicaLocation


def shuffle_replicas(
    replicas: Sequence[ReplicaLocation], random: Random
) -> tuple[ReplicaLocation, ...]:
    """Return the replicas in an order by chance, once for each block that a reader meets."""
    return tuple(random.sample(replicas, len(replicas)))


def rank_replicas(
    replicas: Sequence[ReplicaLocation], host: str, failed: Collection[str]
) -> list[ReplicaLocation]:
    """Return the replicas in the order in which to ask them; equals keep theirs."""
    return sorted(
        replicas,
        key=lambda replica: (replica.datanode_id in failed, replica.stale, replica.host != host),
    )
