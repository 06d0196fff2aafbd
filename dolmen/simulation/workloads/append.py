"""Everybody appends to the same few files and flushes in between; now and then one starts anew,
while it is read, deleted, or written by somebody else."""

from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import GROWN
from dolmen.simulation.workloads.growing import GrowingWork

DIRECTORY = f"{GROWN}append"
WEIGHTS = {"append": 12, "read": 8, "start": 1, "delete": 1}


class Append(GrowingWork):
    """Several writers of one file: one at a time, and no byte is lost."""

    NAME = "append"
    FLAT = (DIRECTORY,)

    async def turn(self, client: GrowingClient) -> None:
        path = f"{DIRECTORY}/{self.random.choice('ab')}"
        verb = self.draw(WEIGHTS)
        if verb == "start" or self.is_missing(path) or self.is_long(path):
            await self.begin(client, path)
        elif verb == "append":
            await client.append(self.growth(path))
        elif verb == "read":
            await self.read(client, path)
        else:
            await client.delete(path)
