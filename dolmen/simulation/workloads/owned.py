"""A client alone in a directory of its own: few names, so that it meets the same file again."""

from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.work import Post, Work

WEIGHTS = {"write": 9, "read": 8, "delete": 2, "rename": 4, "list": 2}
DIRECTORIES = ("p", "q")
NAMES = ("a", "b", "c", "d", "p/x", "p/y", "q/x")
RENAME_FILE_CHANCE = 0.7


class Owned(Work):
    """Whatever is there, one task has done."""

    NAME = "owned"

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._path = f"/own-{post.index}"

    async def turn(self, client: RecordedClient) -> None:
        random = self.random
        path = f"{self._path}/{random.choice(NAMES)}"
        match self.draw(WEIGHTS):
            case "write":
                await client.write(self.draft(path, exclusive_chance=0.2))
            case "read":
                await client.read(path, self.manner())
            case "list":
                await client.list_tree(self._path)
            case "delete":
                await client.delete(random.choice((path, path, f"{self._path}/p")))
            case _:
                among = NAMES if random.random() < RENAME_FILE_CHANCE else DIRECTORIES
                source, target = random.choice(among), random.choice(among)
                await client.rename(f"{self._path}/{source}", f"{self._path}/{target}")
