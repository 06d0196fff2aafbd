"""Everybody writes, reads and at times deletes the same few files: the last close wins whole."""

from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.work import Work

WEIGHTS = {"write": 8, "read": 12, "delete": 1}
DIRECTORY = "/shared"


class Shared(Work):
    """Many writers and readers of one name."""

    NAME = "shared"
    FLAT = (DIRECTORY,)

    async def turn(self, client: RecordedClient) -> None:
        path = f"{DIRECTORY}/{self.random.choice('xyz')}"
        match self.draw(WEIGHTS):
            case "write":
                await client.write(self.draft(path))
            case "read":
                await client.read(path, self.manner())
            case _:
                await client.delete(path)
