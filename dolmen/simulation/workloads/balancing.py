"""Replicas are moved for the sake of space while they are read, deleted and repaired."""

import asyncio

from dolmen.client.client import Client
from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.operator_work import OperatorWork

THRESHOLD_PERCENT = 0.1
STEP_S = 2.0
STEPS = (1, 15)


class Balancing(OperatorWork):
    """Balancing that goes on for a while, and is broken off."""

    NAME = "balancing"

    async def turn(self, client: RecordedClient) -> None:
        operator = client.client.operator
        for _ in range(self.random.randint(*STEPS)):
            progress = await self.ask(client, operator.balance(THRESHOLD_PERCENT))
            if progress is None or progress.ended:
                break
            await asyncio.sleep(STEP_S)
        if self.random.random() < 0.5:
            await self.ask(client, operator.balance(THRESHOLD_PERCENT, stop=True))

    async def finish(self, inspector: Client) -> None:
        await asyncio.sleep(15.0)  # longer than a balancing lasts for which nobody asks
