"""The file that blocks are written for, and on how many datanodes they are.

A write goes on while `min_replicas` datanodes are left, and the namenode makes the missing replicas
later. Whoever writes is told once for each that is missing: by the log, and by the writer.
"""

import logging
from dataclasses import dataclass, field

from dolmen.protocol.client_messages import AllocatedBlock

logger = logging.getLogger(__name__)


@dataclass
class WrittenFile:
    """An inode that is written."""

    inode_id: int
    path: str
    replication: int
    first_block: AllocatedBlock | None = None
    """Came with the inode; whoever writes the block takes it."""
    fewest_replicas: int = field(init=False)
    """Of any block so far, when it was written: as many as wanted, if nothing happened."""

    def __post_init__(self) -> None:
        self.fewest_replicas = self.replication

    def take_first_block(self) -> AllocatedBlock | None:
        """Return the block that came with the inode, once."""
        block, self.first_block = self.first_block, None
        return block

    def goes_on_with(self, replicas: int, what_failed: str) -> None:
        """A block is written to so many datanodes, after these failures if there were any."""
        if replicas >= self.fewest_replicas:
            return
        self.fewest_replicas = replicas
        level = logging.WARNING if what_failed else logging.INFO  # it is a small cluster
        logger.log(
            level,
            "%s goes on with %d of %d replicas, and no other datanode can take over%s;"
            " the namenode makes the others as soon as it can",
            self.path,
            replicas,
            self.replication,
            f" ({what_failed})" if what_failed else "",
        )
