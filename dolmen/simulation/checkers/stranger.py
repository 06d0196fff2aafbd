"""Property 4, put to the test: a stranger asks for files that others are writing.

Well-behaved clients never name each other's unpublished files, so that nothing they do would show
a namenode that does not look at the lease. While clients contest names, a client of its own, which
holds no lease, asks now and then for a block of each file that is just being written, and to
publish it: whatever it is answered but a refusal is a finding.
"""

import asyncio

from dolmen.client.connection import NamenodeConnection
from dolmen.client.options import ClientOptions
from dolmen.protocol.checksums import DIGEST_BYTES
from dolmen.protocol.client_messages import (
    AllocateBlock,
    AllocatedBlock,
    ClientRequest,
    CommittedBlock,
    FileInfo,
    PublishFile,
)
from dolmen.protocol.errors import DataDamaged, DolmenError
from dolmen.simulation.checkers.disks import read_stored
from dolmen.simulation.cluster import NAMENODE_ADDRESS, SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.sim_machine import SimMachine
from namenode.core.records import LEASE, Block, Lease
from namenode.core.tables import LEASES

NAME = "stranger"
PATIENCE_S = 1.0
LOOKS, LOOK_S = 40, 0.05
"""How often, and how far apart, it looks for files that are being written."""


class Stranger:
    """A client that may write nothing."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._machine = SimMachine(NAME, cluster.network, cluster.plan.seed)
        self.refused = 0
        """How often it was told to leave a file alone."""

    async def ask(self) -> None:
        """Ask for every file that is being written, as soon as there is one."""
        for _ in range(LOOKS):
            if leases := self._leases():
                break
            await asyncio.sleep(LOOK_S)
        else:
            return
        machine = self._machine.begin_life()
        options = ClientOptions.of(self._cluster.settings, NAMENODE_ADDRESS, user="eve", host=NAME)
        connection = NamenodeConnection(machine, NAMENODE_ADDRESS, "eve", options)
        try:
            for lease in leases:
                last = self._last_block(lease.inode_id)
                index = 0 if last is None else last.index + 1
                commit = None if last is None else _commit(last)
                allocate = AllocateBlock(lease.inode_id, index, commit)
                await self._ask(connection, lease, allocate, AllocatedBlock)
                publish = PublishFile(lease.inode_id, lease.path, commit, b"")
                await self._ask(connection, lease, publish, FileInfo)
        finally:
            await connection.close()
            await machine.transport.close()

    async def _ask(
        self,
        connection: NamenodeConnection,
        lease: Lease,
        request: ClientRequest,
        expected: type[AllocatedBlock] | type[FileInfo],
    ) -> None:
        try:
            await connection.call(request, expected, retry_for_s=PATIENCE_S)
        except DolmenError:
            self.refused += 1
            return
        raise CheckFailed(
            f"a stranger's {type(request).__name__} of inode {lease.inode_id}, which another"
            " writes, was answered",
            (lease.path,),
        )

    def _leases(self) -> list[Lease]:
        if not self._cluster.namenode.is_up:
            return []
        try:
            with self._cluster.open_namenode_tables(read_only=True).snapshot() as view:
                return [LEASE.decode(value) for _, value in view.scan(LEASES)]
        except DataDamaged:
            return []

    def _last_block(self, inode_id: int) -> Block | None:
        stored = read_stored(self._cluster)
        blocks = stored.blocks.values() if stored is not None else ()
        mine = [block for block in blocks if block.inode_id == inode_id]
        return max(mine, key=lambda block: block.index, default=None)


def _commit(block: Block) -> CommittedBlock:
    """Return what a writer would say of its block, and nobody else may."""
    return CommittedBlock(block.block_id, block.stamp, 1, bytes(DIGEST_BYTES))
