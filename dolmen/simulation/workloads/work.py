"""What every kind of work is: prepared, done turn by turn by each client, brought to an end.

A turn is one operation or a few that belong together. A client may die in any of them; in its next
life it goes on with the next turn. What answers mean is the history's to say, so that a kind of
work has nothing to do but to be busy where things may go wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from dolmen.client.client import Client
from dolmen.simulation.growing_client import GrowingClient
from dolmen.simulation.history import History
from dolmen.simulation.plan import Plan
from dolmen.simulation.recorded_client import Draft, Manner

SHORT_BYTES = ((0, 0), (1, 1), (17, 1000), (60_000, 70_000), (65_536, 65_536))
"""Around the lengths of chunks and segments."""

LONG_BLOCKS = (300_000 / (256 * 1024), 700_000 / (256 * 1024))
"""Files of two and three blocks."""

SLOW_STEP_BYTES = 50_000
"""A slow writer of a large file takes longer than most processes live between two deaths."""

READ_WHOLE_CHANCE = 0.6


def edges_of(inline_limit_bytes: int) -> tuple[tuple[int, int], ...]:
    """Return the lengths around the longest of those files that the namenode keeps, if any."""
    return ((inline_limit_bytes - 1, inline_limit_bytes + 1),) if inline_limit_bytes else ()


@dataclass(frozen=True)
class Post:
    """Where one client does one kind of work."""

    plan: Plan
    history: History
    index: int


class Work:
    """One client's part in one kind of work."""

    NAME = ""
    FLAT: tuple[str, ...] = ()
    """Directories that are made before anything begins, and stay, with files only."""
    FOR_ONE = False
    """Whether only one client does it."""
    GROWS = False
    """Whether its files are appended to, cut or joined."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.random = Random(f"{post.plan.seed} {self.NAME} {post.index}")
        plan = post.plan
        self.replications = [n for n in plan.work.replications if n <= plan.datanodes]
        block = plan.block_size_bytes
        long = (int(block * LONG_BLOCKS[0]), int(block * LONG_BLOCKS[1]))
        self.edges = edges_of(plan.inline_limit_bytes)
        self._lengths = (*SHORT_BYTES, *self.edges, (block - 1, block + 1), long)

    async def turn(self, client: GrowingClient) -> None:
        """Do the next thing."""
        raise NotImplementedError

    async def finish(self, inspector: Client) -> None:
        """Undo what would keep the cluster from healing; all clients are gone by now."""

    def draft(self, path: str, exclusive_chance: float = 0.0) -> Draft:
        """Draw a file to be written."""
        random = self.random
        return Draft(
            path,
            random.randint(*random.choice(self._lengths)),
            random.choice(self.replications),
            random.random() < exclusive_chance,
            random.choice((0, SLOW_STEP_BYTES)),
        )

    def manner(self) -> Manner | None:
        """Draw how to read a file."""
        if self.random.random() < READ_WHOLE_CHANCE:
            return None
        return Manner(self.random.randint(50_000, 400_000))

    def draw(self, weights: dict[str, int]) -> str:
        """Draw one of some names."""
        names: Sequence[str] = tuple(weights)
        return self.random.choices(names, tuple(weights.values()))[0]
