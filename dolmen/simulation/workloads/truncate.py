"""Everybody cuts the same few files, between blocks and within them, and writes behind the cut."""

from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import GROWN
from dolmen.simulation.workloads.growing import GrowingWork

DIRECTORY = f"{GROWN}truncate"
WEIGHTS = {"truncate": 6, "append": 6, "read": 6}


class Truncate(GrowingWork):
    """What is cut is gone, what is not cut stays."""

    NAME = "truncate"
    FLAT = (DIRECTORY,)

    async def turn(self, client: GrowingClient) -> None:
        path = f"{DIRECTORY}/{self.random.choice('ab')}"
        verb = self.draw(WEIGHTS)
        if self.is_missing(path):
            await self.begin(client, path)
        elif verb == "truncate" or self.is_long(path):
            await client.truncate(path, self._length(path))
        elif verb == "append":
            await client.append(self.growth(path))
        else:
            await self.read(client, path)

    def _length(self, path: str) -> int:
        """Draw where to cut: anywhere, at a boundary, at an end, or behind it."""
        random, block = self.random, self.post.plan.block_size_bytes
        content = self.content(path)
        length = block if content is None else content.length_bytes
        within = random.randint(0, length)
        return random.choice((within, within, within - within % block, 0, length, length + 1))
