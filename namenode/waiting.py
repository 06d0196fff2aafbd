"""Requests that nothing can be decided about until something changes or their deadline comes."""

import asyncio
from collections.abc import Callable, Iterable

from dolmen.protocol.control_messages import Reply
from dolmen.protocol.errors import Overloaded, TooFewDatanodes
from namenode.core.outcome import Outcome, Waits
from namenode.core.tables import View

WAITING_LIMIT = 10_000
"""Each is a client that waits for its file to be safe; more would only time out."""

Decide = Callable[[View, int], Outcome | Waits]


class Request:
    """A decision that somebody asked for, and the future that awaits the reply.

    `deadline` is a time of the event loop; without one the request does not wait.
    """

    __slots__ = ("block_ids", "deadline", "decide", "future", "timer")

    def __init__(self, decide: Decide, deadline: float | None) -> None:
        self.decide = decide
        self.deadline = deadline
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.block_ids: tuple[int, ...] = ()
        self.timer: asyncio.TimerHandle | None = None


class WaitingRequests:
    """Requests by the blocks they wait for."""

    def __init__(self) -> None:
        self._by_block: dict[int, dict[Request, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, request: Request, waits: Waits) -> None:
        """Let `request` wait. TooFewDatanodes if it cannot wait (any longer), Overloaded."""
        loop = asyncio.get_running_loop()
        if request.deadline is None or request.deadline <= loop.time():
            raise TooFewDatanodes(waits.reason)
        if self._count >= WAITING_LIMIT:
            raise Overloaded(f"{self._count} requests wait for datanodes already")
        request.block_ids = waits.block_ids
        for block_id in request.block_ids:
            self._by_block.setdefault(block_id, {})[request] = None
        self._count += 1
        request.timer = loop.call_at(request.deadline, self._expire, request, waits.reason)

    def remove(self, request: Request) -> None:
        """`request` waits no longer, if it did."""
        if request.timer is None:
            return
        request.timer.cancel()
        request.timer = None
        self._count -= 1
        for block_id in request.block_ids:
            requests = self._by_block.get(block_id, {})
            requests.pop(request, None)
            if not requests:
                self._by_block.pop(block_id, None)

    def take(self, block_ids: Iterable[int]) -> list[Request]:
        """Remove and return the requests that wait for one of these blocks, in their order."""
        found = {
            request: None for block_id in block_ids for request in self._by_block.get(block_id, ())
        }
        for request in found:
            self.remove(request)
        return list(found)

    def take_all(self) -> list[Request]:
        """Remove and return all."""
        return self.take(list(self._by_block))

    def _expire(self, request: Request, reason: str) -> None:
        self.remove(request)
        if not request.future.done():
            request.future.set_exception(TooFewDatanodes(reason))
