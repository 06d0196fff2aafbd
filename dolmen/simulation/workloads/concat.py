"""Each joins files of its own, of any lengths, and reads what became of them."""

from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import GROWN
from dolmen.simulation.workloads.growing import GrowingWork
from dolmen.simulation.workloads.work import Post

DIRECTORY = f"{GROWN}concat"
WEIGHTS = {"concat": 5, "append": 4, "read": 6}


class Concat(GrowingWork):
    """Sources vanish in the step in which their bytes are behind the target's."""

    NAME = "concat"
    FLAT = (DIRECTORY,)

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self._paths = [f"{DIRECTORY}/{post.index}-{name}" for name in "abc"]

    async def turn(self, client: GrowingClient) -> None:
        random = self.random
        path, *others = random.sample(self._paths, random.randint(2, 3))
        verb = self.draw(WEIGHTS)
        if self.is_missing(path) or self.is_long(path):
            await self.begin(client, path)
        elif verb == "concat":
            await client.concat(path, tuple(others))
        elif verb == "append":
            await client.append(self.growth(path))
        else:
            await self.read(client, path)
