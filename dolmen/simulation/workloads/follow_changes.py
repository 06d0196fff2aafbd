"""Each follows a file while it is appended to, cut, joined, replaced and deleted."""

from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.growing_model import GROWN
from dolmen.simulation.workloads.growing import GrowingWork

DIRECTORY = f"{GROWN}changes"
WEIGHTS = {"append": 6, "cut": 4, "join": 2, "be_joined": 1, "replace": 1, "delete": 1}
STEPS = (1, 4)


class FollowChanges(GrowingWork):
    """Who follows is given what the file was, or is told that it is none any more."""

    NAME = "follow_changes"
    FLAT = (DIRECTORY,)

    async def turn(self, client: GrowingClient) -> None:
        random = self.random
        path, other = (f"{DIRECTORY}/{self.post.index}-{name}" for name in "ab")
        for each in (path, other):
            if self.content(each) is None:  # an answer was lost
                await client.read_content(each)
            if self.is_missing(each) or self.is_long(each):
                await client.start(self.growth(each), random.choice(self.replications))
        known = self.content(path)
        offset = random.randint(0, known.length_bytes) if known and random.random() < 0.3 else 0
        await client.follow_changes(path, offset, self._change(client, path, other))

    async def _change(self, client: GrowingClient, path: str, other: str) -> list[bytes] | None:
        """Change the file in some steps; return what it was between them, if that is certain."""
        contents = []
        for step in range(self.random.randint(*STEPS) + 1):
            if step:
                await self._step(client, path, other)
            content = self.content(path)
            if content is None:
                return None
            contents.append(content.data)
        return contents

    async def _step(self, client: GrowingClient, path: str, other: str) -> None:
        random, content = self.random, self.content(path)
        match self.draw(WEIGHTS):
            case "cut" if content is not None:
                await client.truncate(path, random.randint(0, content.length_bytes))
            case "join":
                await client.concat(path, (other,))
            case "be_joined":
                await client.concat(other, (path,))
            case "replace":
                await client.start(self.growth(path), random.choice(self.replications))
            case "delete":
                await client.delete(path)
            case _:
                await client.append(self.growth(path))
