"""Property 4, put to the test: a stranger asks for files that others are writing.

Well-behaved clients never name each other's unpublished files, so that nothing they do would show
a namenode that does not look at the lease. While clients contest names or write files that grow, a
client of its own, which holds no lease, asks now and then for a block of each file that is just
being written, to publish it, and of a draft to extend its target and to join that with itself:
whatever it is answered but a refusal, for the right reason, is a finding.
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
    GetInfo,
    PublishFile,
)
from dolmen.protocol.draft_messages import ConcatFiles, ExtendFile
from dolmen.protocol.errors import DataDamaged, DolmenError, InvalidRequest
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
                await self._ask_for_all(connection, lease)
        finally:
            await connection.close()
            await machine.transport.close()

    async def _ask_for_all(self, connection: NamenodeConnection, lease: Lease) -> None:
        last = self._last_block(lease.inode_id)
        index = 0 if last is None else last.index + 1
        commit = None if last is None else _commit(last)
        allocate = AllocateBlock(lease.inode_id, index, commit)
        await self._ask(connection, lease, allocate, AllocatedBlock)
        publish = PublishFile(lease.inode_id, lease.path, commit, b"")
        await self._ask(connection, lease, publish, FileInfo)
        if lease.target_id:
            extend = ExtendFile(lease.inode_id, 0, 0, commit)
            await self._ask(connection, lease, extend, FileInfo)
            await self._ask_to_join(connection, lease)

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
        raise _not_refused(request, lease)

    async def _ask_to_join(self, connection: NamenodeConnection, lease: Lease) -> None:
        """Ask for what is refused in any case, and first of all because somebody writes."""
        join = ConcatFiles(lease.path, (lease.path,))
        try:
            await connection.call(join, FileInfo, retry_for_s=PATIENCE_S)
        except InvalidRequest:
            if await self._is_written(connection, lease):
                raise _not_refused(join, lease) from None
        except DolmenError:
            self.refused += 1

    async def _is_written(self, connection: NamenodeConnection, lease: Lease) -> bool:
        """Return whether the file of a draft is still at its path, and the draft is still one."""
        try:
            info = await connection.call(GetInfo(lease.path), FileInfo, retry_for_s=PATIENCE_S)
        except DolmenError:
            return False
        return info.inode_id == lease.target_id and lease in self._leases()

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


def _not_refused(request: ClientRequest, lease: Lease) -> CheckFailed:
    return CheckFailed(
        f"a stranger's {type(request).__name__} of inode {lease.inode_id}, which another writes,"
        " was not refused for that",
        (lease.path,),
    )


def _commit(block: Block) -> CommittedBlock:
    """Return what a writer would say of its block, and nobody else may."""
    return CommittedBlock(block.block_id, block.stamp, 1, bytes(DIGEST_BYTES))
