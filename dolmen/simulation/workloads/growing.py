"""What the kinds of work have in common whose files grow: names of their own, not too long."""

from dolmen.simulation.growing_client import GrowingClient, Growth
from dolmen.simulation.growing_model import Content
from dolmen.simulation.namespace_model import State
from dolmen.simulation.recorded_client import READABLE_S
from dolmen.simulation.workloads.work import Work

LENGTHS_BYTES = ((1, 1), (17, 1_000), (1_000, 9_000), (60_000, 70_000), (65_536, 65_536))
STORED_BYTES = ((1, 1), (17, 1_000), (1_000, 9_000))
STORED_CHANCE = 0.6
PIECES_MAX = 3
PAUSE_S = 3.0
LATE_CHANCE = 0.3
LATE_S = 0.7 * READABLE_S
LONG_BLOCKS = 3
"""A file of so many blocks is long enough."""


class GrowingWork(Work):
    """Work with files below a directory that begins with `GROWN`."""

    GROWS = True

    async def read(self, client: GrowingClient, path: str) -> None:
        """Read a file, at once or as late as what was opened can still be read for sure."""
        late = self.random.random() < LATE_CHANCE
        await client.read_content(path, self.random.uniform(0, LATE_S) if late else 0)

    async def begin(self, client: GrowingClient, path: str) -> None:
        """Make a file anew: one that is seen while it is written, or one that may be inline."""
        random = self.random
        if self.edges and random.random() < STORED_CHANCE:
            length_bytes = random.randint(*random.choice((*STORED_BYTES, *self.edges)))
            await client.store(path, length_bytes, random.choice(self.replications))
        else:
            await client.start(self.growth(path), random.choice(self.replications))

    def growth(self, path: str, pieces_max: int = PIECES_MAX) -> Growth:
        """Draw what to put behind the end of a file."""
        random, block = self.random, self.post.plan.block_size_bytes
        lengths = (*LENGTHS_BYTES, *self.edges, (block - 1, block + 1), (block, 2 * block))
        pieces = random.randint(1, pieces_max)
        drawn = [random.randint(*random.choice(lengths)) for _ in range(pieces)]
        return Growth(path, drawn, random.choice((0.0, PAUSE_S)))

    def content(self, path: str) -> Content | None:
        """Return what a file contains, if that is certain; nothing if it is not there."""
        return _content_in(self.post.history.namespace.realm_of(path).certain_state(), path)

    def is_missing(self, path: str) -> bool:
        """Return whether there was no file when that was last heard."""
        state = self.post.history.namespace.realm_of(path).last_state()
        return state is not None and path not in state

    def is_long(self, path: str) -> bool:
        """Return whether a file was long enough when that was last heard."""
        content = _content_in(self.post.history.namespace.realm_of(path).last_state(), path)
        long_bytes = LONG_BLOCKS * self.post.plan.block_size_bytes
        return content is not None and content.length_bytes > long_bytes


def _content_in(state: State | None, path: str) -> Content | None:
    if state is None:
        return None
    content = state[path].version if path in state else Content()
    return content if isinstance(content, Content) else None
