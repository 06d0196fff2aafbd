"""Readers that read the same files again and again: whoever is slow meanwhile is raced."""

from dolmen.simulation.hurried_reads import Hurry
from dolmen.simulation.recorded_client import Draft, RecordedClient
from dolmen.simulation.workloads.work import Work

DIRECTORY = "/models"
WEIGHTS = {"read": 8, "write": 1}
LENGTH_BYTES = (200_000, 900_000)
RANGE_BYTES = (70_000, 200_000, 200_000)
"""With whole chunks, which go straight into the reader's memory."""
AT_ONCE = (1, 2, 4)
ROUNDS = 10
PAUSES_S = (0.05, 0.3, 1.0)


class HurriedReaders(Work):
    """What is read is right, soon, and comes once."""

    NAME = "hurried_readers"
    FLAT = (DIRECTORY,)

    async def turn(self, client: RecordedClient) -> None:
        random = self.random
        path = f"{DIRECTORY}/{random.choice('rs')}"
        if self.draw(WEIGHTS) == "write":
            length = random.randint(*LENGTH_BYTES)
            await client.write(Draft(path, length, random.choice(self.replications)))
            return
        hurry = Hurry(
            random.choice(RANGE_BYTES), random.choice(AT_ONCE), ROUNDS, random.choice(PAUSES_S)
        )
        await client.read(path, hurry)
