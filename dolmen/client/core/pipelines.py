"""The datanodes that a block is written through, and who of them is left when some fail."""

from collections.abc import Collection
from dataclasses import dataclass

from dolmen.protocol.client_messages import AllocatedBlock
from dolmen.protocol.tokens import Target


@dataclass(frozen=True)
class Pipeline:
    """A block's datanodes in order, with the stamp and the token for its bytes."""

    block_id: int
    stamp: int
    targets: tuple[Target, ...]
    token: bytes
    chains: tuple[range, ...]
    """Positions: the writer sends to the first of each, which passes on to those behind it."""

    @classmethod
    def of(cls, allocated: AllocatedBlock, near: Collection[str]) -> "Pipeline":
        """Return the pipeline that the namenode has handed out.

        If all its datanodes are `near`, on the writer's own host, each is a chain: passing on would
        cost them as much as the writer, whose link there is none to spare. Else all are one.
        """
        targets = allocated.targets
        positions = range(len(targets))
        is_direct = all(target.datanode_id in near for target in targets)
        chains = tuple(range(at, at + 1) for at in positions) if is_direct else (positions,)
        return cls(allocated.block_id, allocated.stamp, targets, allocated.token, chains)

    @property
    def head(self) -> Target:
        """The datanode that the writer sends to."""
        return self.targets[0]

    @property
    def members(self) -> tuple[str, ...]:
        """The ids of its datanodes, in order."""
        return tuple(target.datanode_id for target in self.targets)

    def at(self, position: int) -> Target:
        """Return who stands at `position`; a place that does not exist is the head's invention."""
        return self.targets[position] if 0 <= position < len(self.targets) else self.head

    def survivors(self, failed: Collection[str]) -> tuple[str, ...]:
        """Return the ids of those that have not failed, in order."""
        return tuple(member for member in self.members if member not in failed)


def enough_replicas(min_replicas: int, replication: int, targets: int) -> int:
    """Return how many finalized replicas a writer waits for; repair brings the others."""
    return max(1, min(min_replicas, replication, targets))
