"""One gate for each replica (rule 11).

Whoever writes a piece, restamps, finalizes, drops or begins a copy holds the gate of the block
while it checks stamp and state and does its work on disk. So a restamp closes the gate of the old
stamp simply by having it: the last write has returned from its thread, and the next piece of the
old stamp is refused.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Gate:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Gates:
    """The gates of the blocks that somebody works on now."""

    def __init__(self) -> None:
        self._gates: dict[int, _Gate] = {}

    def is_held(self, block_id: int) -> bool:
        """Return whether somebody works on this block, or waits to."""
        return block_id in self._gates

    @asynccontextmanager
    async def hold(self, block_id: int) -> AsyncIterator[None]:
        """Be the only one who works on this block."""
        gate = self._gates.setdefault(block_id, _Gate())
        gate.users += 1
        try:
            async with gate.lock:
                yield
        finally:
            gate.users -= 1
            if not gate.users:
                del self._gates[block_id]
