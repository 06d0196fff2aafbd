"""A directory is filled with small files, and deleted as a whole: many blocks go at once."""

import asyncio

from dolmen.simulation.recorded_client import Draft, RecordedClient
from dolmen.simulation.workloads.work import Post, Work

FILES = 20
LENGTHS_BYTES = (0, 1, 3_000, 40_000)
KEPT_S = 20.0
"""How long the files stay, at most: some go while they are still being copied."""


class MassDelete(Work):
    """Many files of one client come and go together."""

    NAME = "mass_delete"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._path = f"/mass-{post.index}"

    async def turn(self, client: RecordedClient) -> None:
        random = self.random
        for number in range(random.randint(1, FILES)):
            length = random.choice(LENGTHS_BYTES)
            draft = Draft(f"{self._path}/{number}", length, random.choice(self.replications))
            if not await client.write(draft):
                break
        await asyncio.sleep(random.uniform(0, KEPT_S))
        await client.list_tree(self._path)
        await client.delete(self._path)
        await client.list_tree(self._path)
        await asyncio.sleep(random.uniform(0, KEPT_S))
