"""Safe mode is entered by hand under load, and left again soon: writers wait."""

import asyncio

from dolmen.client.client import Client
from dolmen.protocol.operator_messages import SafeModeAction
from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.operator_work import OperatorWork

STAY_S = 8.0
BETWEEN_S = (10.0, 120.0)


class SafeMode(OperatorWork):
    """Enters and leaves safe mode."""

    NAME = "safe_mode"

    async def turn(self, client: RecordedClient) -> None:
        operator = client.client.operator
        await self.ask(client, operator.safe_mode(SafeModeAction.ENTER))
        await asyncio.sleep(self.random.uniform(0, STAY_S))
        await self.ask(client, operator.safe_mode(SafeModeAction.LEAVE))
        await asyncio.sleep(self.random.uniform(*BETWEEN_S))

    async def finish(self, inspector: Client) -> None:
        await inspector.operator.safe_mode(SafeModeAction.LEAVE)
