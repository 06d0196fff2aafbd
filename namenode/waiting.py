"""Requests, and those that nothing can be decided about until something changes or their deadline
comes."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from dolmen.protocol.control_messages import Reply
from dolmen.protocol.errors import DolmenError, Overloaded, TooFewDatanodes
from namenode.core.outcome import Outcome, Waits
from namenode.core.tables import View

WAITING_LIMIT = 10_000
"""Each is a client that waits for its file to be safe; more would only time out."""

T = TypeVar("T")

Decide = Callable[[View, int], Outcome | Waits]
Form = Callable[[Reply | DolmenError], T]


class Request(Generic[T]):
    """A decision that somebody asked for, and the future that awaits it in the form he wants.

    `deadline` is a time of the event loop; without one the request does not wait.
    """

    __slots__ = ("_form", "block_ids", "deadline", "decide", "future", "timer")

    def __init__(self, decide: Decide, deadline: float | None, form: Form[T]) -> None:
        self.decide = decide
        self.deadline = deadline
        self._form = form
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.block_ids: tuple[int, ...] = ()
        self.timer: asyncio.TimerHandle | None = None

    def give(self, result: Reply | DolmenError) -> None:
        """End it, unless its caller has given up."""
        if self.future.done():
            return
        try:
            self.future.set_result(self._form(result))
        except DolmenError as error:
            self.future.set_exception(error)


def reply_or_raise(result: Reply | DolmenError) -> Reply:
    """The form for a caller within this process."""
    if isinstance(result, DolmenError):
        raise result
    return result


AnyRequest = Request[Any]


class WaitingRequests:
    """Requests by the blocks they wait for."""

    def __init__(self) -> None:
        self._by_block: dict[int, dict[AnyRequest, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, request: AnyRequest, waits: Waits) -> None:
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
        request.future.add_done_callback(lambda _: self.remove(request))  # its caller may give up

    def remove(self, request: AnyRequest) -> None:
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

    def take(self, block_ids: Iterable[int]) -> list[AnyRequest]:
        """Remove and return the requests that wait for one of these blocks, in their order."""
        found = {
            request: None for block_id in block_ids for request in self._by_block.get(block_id, ())
        }
        for request in found:
            self.remove(request)
        return list(found)

    def take_all(self) -> list[AnyRequest]:
        """Remove and return all."""
        return self.take(list(self._by_block))

    def _expire(self, request: AnyRequest, reason: str) -> None:
        self.remove(request)
        request.give(TooFewDatanodes(reason))
