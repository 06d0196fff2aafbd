"""What an operator asks of a cluster and has done to it: `client.operator`."""

from collections.abc import AsyncIterator

from dolmen.client.connection import NamenodeConnection
from dolmen.protocol.errors import NoSpace
from dolmen.protocol.operator_messages import (
    Balance,
    BalanceProgress,
    ChangeSafeMode,
    CheckpointWritten,
    DatanodeReport,
    DatanodeReported,
    Inspection,
    InspectTree,
    ReloadTopology,
    SafeModeAction,
    SafeModeState,
    SetAdminState,
    TopologyReloaded,
    Verification,
    VerifyBlocks,
    WriteCheckpoint,
)


class Operator:
    """The calls of an operator, on the connection of a client."""

    def __init__(self, namenode: NamenodeConnection) -> None:
        self._namenode = namenode

    async def inspect(self, path: str = "/") -> AsyncIterator[Inspection]:
        """Yield, page by page, how `path` and what is below it fares; NoSuchPath."""
        after, more = "", True
        while more:
            page = await self._namenode.call(InspectTree(path, after), Inspection)
            yield page
            after, more = page.after, page.more

    async def verify(self, path: str = "/") -> AsyncIterator[Verification]:
        """Have every replica of the files at and below `path` read and checked; yield how far that
        is. A page that is not done comes again, with less `pending`; NoSuchPath."""
        after, more = "", True
        while more:
            page = await self._namenode.call(VerifyBlocks(path, after), Verification)
            yield page
            if not page.pending:
                after, more = page.after, page.more

    async def set_admin_state(
        self, datanode: str, admin_state: str, until_ms: int = 0
    ) -> DatanodeReport:
        """Have a datanode leave, rest or serve again; see SetAdminState."""
        request = SetAdminState(datanode, admin_state, until_ms)
        return (await self._namenode.call(request, DatanodeReported)).datanode

    async def safe_mode(self, action: SafeModeAction = SafeModeAction.GET) -> SafeModeState:
        """Ask about safe mode, enter it or leave it."""
        return await self._namenode.call(ChangeSafeMode(action), SafeModeState)

    async def write_checkpoint(self) -> CheckpointWritten:
        """Have the namenode write a checkpoint now; return when it counts."""
        request = WriteCheckpoint()
        return await self._namenode.call(request, CheckpointWritten, final=(NoSpace,))

    async def balance(
        self, threshold_percent: float = 10.0, *, stop: bool = False
    ) -> BalanceProgress:
        """Begin balancing, or keep it going: see Balance. Call it every second or two."""
        return await self._namenode.call(Balance(threshold_percent, stop), BalanceProgress)

    async def reload_topology(self) -> TopologyReloaded:
        """Have the namenode read its topology file again; InvalidRequest if it has an error."""
        return await self._namenode.call(ReloadTopology(), TopologyReloaded)
