"""What operators ask of the namenode: answered from soft state and a snapshot of what is durable.

What changes the namespace's records goes through the one door like any other mutation.
"""

import asyncio
from dataclasses import dataclass

from dolmen.protocol.control_messages import ClientCall, Reply
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.operator_messages import (
    Balance,
    ChangeSafeMode,
    GetReport,
    InspectTree,
    ReloadTopology,
    TopologyReloaded,
    VerifyBlocks,
    WriteCheckpoint,
)
from namenode.checkpoint_calls import CheckpointCalls
from namenode.datanode_calls import Membership
from namenode.inspection_calls import InspectionCalls
from namenode.safe_mode_calls import SafeModeCalls
from namenode.topology_file import TopologyFile


@dataclass(frozen=True)
class OperatorCalls:
    """Answers the calls of operators."""

    membership: Membership
    topology: TopologyFile
    checkpoints: CheckpointCalls

    async def answer(self, call: ClientCall) -> Reply:
        """Answer one call. Raises the DolmenError that refuses it."""
        match call.request:
            case GetReport():
                with self.membership.journal.snapshot() as view:
                    return self.membership.cluster.report(view)
            case InspectTree() as request:
                return await InspectionCalls(self.membership).inspect(request)
            case VerifyBlocks() as request:
                return await InspectionCalls(self.membership).verify(request, call.client_id)
            case Balance() as balance:
                now_ms = int(asyncio.get_running_loop().time() * 1000)
                return self.membership.cluster.balancer.ask(balance, _asker(call), now_ms)
            case ReloadTopology():
                return await self._reload_topology()
            case ChangeSafeMode() as change:
                return await SafeModeCalls(self.membership).answer(change, call)
            case WriteCheckpoint():
                return await self.checkpoints.ask(call.client_id)
            case unknown:
                raise InvalidRequest(f"{type(unknown).__name__} is not known here")

    async def _reload_topology(self) -> TopologyReloaded:
        topology = await self.topology.read()
        changed = self.membership.cluster.take_topology(topology)
        return TopologyReloaded(changed, len(set(topology.racks.values())))


def _asker(call: ClientCall) -> str:
    """Return who asks: a client, which may be one of several of its user."""
    return f"{call.user}'s client {call.client_id.hex()[:8]}"
