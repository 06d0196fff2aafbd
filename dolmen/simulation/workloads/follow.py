"""Each writes a log, and somebody follows it meanwhile."""

import asyncio

from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import GROWN
from dolmen.simulation.workloads.growing import GrowingWork

DIRECTORY = f"{GROWN}follow"
PIECES_MAX = 8
FOLLOWED_S = (5.0, 40.0)
LOG_BYTES_MAX = 1_500_000


class Follow(GrowingWork):
    """Who follows is given every byte in order, once. Nothing is cut, replaced or deleted."""

    NAME = "follow"
    FLAT = (DIRECTORY,)

    async def turn(self, client: GrowingClient) -> None:
        random, plan = self.random, self.post.plan
        own = f"{DIRECTORY}/{self.post.index}"
        followed = random.choice((own, f"{DIRECTORY}/{random.randrange(plan.clients)}"))
        known = self.content(followed)
        offset = random.randint(0, known.length_bytes) if known and random.random() < 0.5 else 0
        async with asyncio.TaskGroup() as group:
            group.create_task(client.follow(followed, offset, random.uniform(*FOLLOWED_S)))
            group.create_task(self._write(client, own))

    async def _write(self, client: GrowingClient, path: str) -> None:
        growth = self.growth(path, PIECES_MAX)
        content = self.content(path)
        if self.is_missing(path):
            await client.start(growth, self.random.choice(self.replications))
        elif content is None or content.length_bytes < LOG_BYTES_MAX:
            await client.append(growth)
