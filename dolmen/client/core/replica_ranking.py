"""Which replica to ask first, and which one to race against it.

First come replicas on our own host, then the others; behind them those on STALE datanodes, then
those on datanodes that lost races, last those on datanodes that failed us recently. Among equals
chance decides, once for each block, so that readers spread over the datanodes; and the pieces of a
block take turns, so that a long read has several datanodes at work.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from dolmen.protocol.client_messages import ReplicaLocation


@dataclass(frozen=True)
class Standing:
    """What is known of datanodes, as of now, by those who rank them."""

    host: str
    """Our own."""
    failed: Collection[str] = ()
    slow: Collection[str] = ()
    near: Collection[str] = ()
    """Those whose replicas we can read as files, whatever their host is called."""


def shuffle_replicas(
    replicas: Sequence[ReplicaLocation], random: Random
) -> tuple[ReplicaLocation, ...]:
    """Return the replicas in an order by chance, once for each block that a reader meets."""
    return tuple(random.sample(replicas, len(replicas)))


def rotate_replicas(replicas: Sequence[ReplicaLocation], turn: int) -> list[ReplicaLocation]:
    """Return the replicas in the order for the piece whose turn it is."""
    start = turn % len(replicas) if replicas else 0
    return [*replicas[start:], *replicas[:start]]


def rank_replicas(replicas: Sequence[ReplicaLocation], standing: Standing) -> list[ReplicaLocation]:
    """Return the replicas in the order in which to ask them; equals keep theirs."""
    return sorted(
        replicas,
        key=lambda replica: (
            replica.datanode_id in standing.failed,
            replica.datanode_id in standing.slow,
            replica.stale,
            replica.datanode_id not in standing.near,
            replica.host != standing.host,
        ),
    )


def rival_among(replicas: Sequence[ReplicaLocation], standing: Standing) -> ReplicaLocation | None:
    """Return whom to race against one that is late: nobody who failed us, it would be a waste."""
    ranked = rank_replicas(replicas, standing)
    return ranked[0] if ranked and ranked[0].datanode_id not in standing.failed else None
