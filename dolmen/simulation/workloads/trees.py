"""Everybody moves the same directories about, while files are written, read and deleted in them."""

from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.work import Work

DIRECTORIES = ("/trees/a", "/trees/b", "/trees/a/in", "/trees/c/in")
WEIGHTS = {"write": 6, "read": 4, "rename": 6, "list": 2, "delete": 1, "move file": 2}


class Trees(Work):
    """Renames of trees under whoever works in them."""

    NAME = "trees"

    async def turn(self, client: RecordedClient) -> None:
        one, other = (self.random.choice(DIRECTORIES) for _ in range(2))
        match self.draw(WEIGHTS):
            case "write":
                await client.write(self.draft(f"{one}/f"))
            case "read":
                await client.read(f"{one}/f", self.manner())
            case "rename":
                await client.rename(one, other)
            case "move file":
                await client.rename(f"{one}/f", f"{other}/f")
            case "list":
                await client.list_tree("/trees")
            case _:
                await client.delete(one)
