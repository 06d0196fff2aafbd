"""Readers that take their time, of files that are replaced and deleted under them meanwhile."""

from dolmen.simulation.recorded_client import Draft, Manner, RecordedClient
from dolmen.simulation.workloads.work import Work

DIRECTORY = "/books"
WEIGHTS = {"read": 4, "write": 3, "delete": 1}
LENGTH_BYTES = (200_000, 800_000)
RANGE_BYTES = 60_000
PAUSES_S = (0.5, 3.0, 8.0)
"""Between two ranges: the slowest reader outlasts the grace of what was deleted."""


class LongReaders(Work):
    """What was opened is read, or refused, and is never another file."""

    NAME = "long_readers"
    FLAT = (DIRECTORY,)

    async def turn(self, client: RecordedClient) -> None:
        random = self.random
        path = f"{DIRECTORY}/{random.choice('uv')}"
        match self.draw(WEIGHTS):
            case "read":
                await client.read(path, Manner(RANGE_BYTES, random.choice(PAUSES_S)))
            case "write":
                length = random.randint(*LENGTH_BYTES)
                await client.write(Draft(path, length, random.choice(self.replications)))
            case _:
                await client.delete(path)
