"""Writers have their lease taken away, and come back after others have written."""

from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import GROWN
from dolmen.simulation.workloads.growing import GrowingWork

DIRECTORY = f"{GROWN}recover"
WEIGHTS = {"fence": 6, "append": 4, "read": 6, "protect": 3}


class RecoverLease(GrowingWork):
    """A fenced writer has changed nothing, and while he is heard nobody takes his lease."""

    NAME = "recover_lease"
    FLAT = (DIRECTORY,)

    async def turn(self, client: GrowingClient) -> None:
        verb = self.draw(WEIGHTS)
        name = f"own-{self.post.index}" if verb == "protect" else self.random.choice("ab")
        path = f"{DIRECTORY}/{name}"
        if self.is_missing(path) or self.is_long(path):
            await self.begin(client, path)
        elif verb == "fence":
            await client.be_fenced(self.growth(path), self.growth(path))
        elif verb == "protect":
            await client.be_protected(path)
        elif verb == "append":
            await client.append(self.growth(path))
        else:
            await self.read(client, path)
