"""One datanode at a time leaves, or rests, and comes back before or after it has got away."""

import asyncio
from collections.abc import Awaitable

from dolmen.client.client import Client
from dolmen.protocol.operator_messages import DatanodeReport
from dolmen.simulation.history import now_s
from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.sim_clock import EPOCH_MS
from dolmen.simulation.workloads.operator_work import OperatorWork
from dolmen.simulation.workloads.work import Post

STAY_S = (1.0, 60.0)
REST_MS = 30_000


class Leaving(OperatorWork):
    """Decommission, recommission and maintenance."""

    NAME = "leaving"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._away: str | None = None  # its id: a host whose disk was lost has a former one, too

    async def turn(self, client: RecordedClient) -> None:
        random = self.random
        if self._away is None:
            report = await self.ask(client, client.client.report())
            live = sorted(d.id for d in report.datanodes if d.state == "LIVE") if report else []
            if not live:
                return
            chosen = self._away = random.choice(live)
            if random.random() < 0.5:
                leaving = client.client.operator.set_admin_state(chosen, "DECOMMISSIONING")
            else:
                until_ms = EPOCH_MS + int(now_s() * 1000) + REST_MS if random.random() < 0.5 else 0
                leaving = client.client.operator.set_admin_state(chosen, "MAINTENANCE", until_ms)
            await self._change(client, leaving, chosen)
            await asyncio.sleep(random.uniform(*STAY_S))
        returning = client.client.operator.set_admin_state(self._away, "IN_SERVICE")
        if await self._change(client, returning, self._away):
            self._away = None

    async def _change(
        self, client: RecordedClient, changing: Awaitable[DatanodeReport], datanode: str
    ) -> bool:
        report = await self.ask(client, changing)
        if report is not None:
            self.post.history.tell(client.name, f"{datanode} is {report.admin_state}")
        return report is not None

    async def finish(self, inspector: Client) -> None:
        for datanode in (await inspector.report()).datanodes:
            await inspector.operator.set_admin_state(datanode.id, "IN_SERVICE")
