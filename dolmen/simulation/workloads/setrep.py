"""The wanted replication of a few files goes up and down, faster than replicas come and go."""

from dolmen.simulation.recorded_client import Draft, RecordedClient
from dolmen.simulation.workloads.work import Work

DIRECTORY = "/replicated"
WEIGHTS = {"replicate": 8, "read": 3, "write": 2}


class Setrep(Work):
    """Replicas are copied and trimmed all the time."""

    NAME = "setrep"
    FLAT = (DIRECTORY,)

    async def turn(self, client: RecordedClient) -> None:
        random = self.random
        path = f"{DIRECTORY}/{random.choice('rst')}"
        match self.draw(WEIGHTS):
            case "replicate":
                highest = min(5, self.post.plan.datanodes)
                await client.replicate(path, random.randint(min(self.replications), highest))
            case "read":
                await client.read(path)
            case _:
                replication = random.choice(self.replications)
                await client.write(Draft(path, random.randint(1, 400_000), replication))
