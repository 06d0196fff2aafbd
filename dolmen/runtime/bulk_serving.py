"""One bulk connection, seen from the side that answers: one exchange after the other.

While a request's body is still coming, the loss of the peer shows in receiving it; after that it
cancels the exchange, and so does anything that comes before the answer has gone out. An answer that
comes before the body's end is the last one: the rest is dropped for a moment, because a connection
that is closed before its peer has read the answer would take the answer with it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from dolmen.protocol.errors import DolmenError
from dolmen.runtime.bodies import SourceFailed, close_pieces
from dolmen.runtime.bulk_link import BulkLink, LinkLost
from dolmen.runtime.bulk_messages import SKIP_BYTES, ReceivedBody, receive_head, send_message
from dolmen.runtime.crowd import Doing
from dolmen.runtime.transport import Incoming, Service

logger = logging.getLogger(__name__)

LINGER_S = 1.0
"""How long the rest of a body is received and dropped after an early answer. The peer stops as soon
as it has the answer."""


@dataclass(frozen=True)
class BulkWatch:
    """Whom a served connection tells what it does."""

    received: Callable[[int], None]  # so many bytes are on their way, which are no request yet
    does: Callable[[Doing], None]


class BulkServing:
    """Serves one connection with `peer_host`. `stall_s`: the progress deadline of both bodies."""

    def __init__(
        self, link: BulkLink, service: Service, peer_host: str, stall_s: float, watch: BulkWatch
    ) -> None:
        self._link = link
        self._service = service
        self._peer_host = peer_host
        self._stall_s = stall_s
        self._watch = watch
        self._is_busy = False
        self._is_ending = False
        self._task: asyncio.Task[None] | None = None

    async def run(self, greeting: bytes) -> None:
        """Answer what comes, until the connection ends."""
        self._task = asyncio.current_task()
        try:
            await self._link.send(greeting)
            while not self._is_ending and await self._serve_one():
                self._watch.does(Doing.IDLE)
        except LinkLost:
            pass  # whoever asked does not wait for the answer: it is no event
        except TimeoutError:
            logger.warning("%s took nothing for %g s", self._peer_host, self._stall_s)
        except SourceFailed as failed:
            self._tell(failed.error)
        except Exception as error:  # noqa: BLE001 - of a service, whatever it is
            self._tell(error)
        finally:
            self._link.close()

    def finish(self) -> None:
        """End after the exchange under way; at once if there is none."""
        self._is_ending = True
        if not self._is_busy and self._task is not None:
            self._task.cancel()

    def reset(self) -> None:
        """End at once, as if the process had died."""
        self._link.reset()
        if self._task is not None:
            self._task.cancel()

    def _tell(self, error: Exception) -> None:
        if isinstance(error, DolmenError):
            logger.warning("exchange with %s failed: %s", self._peer_host, error)
        else:
            logger.error("exchange with %s failed", self._peer_host, exc_info=error)

    async def _serve_one(self) -> bool:
        """Answer one request; return whether another one may follow."""
        head, length_bytes = await receive_head(self._link, self._watch.received)
        self._is_busy = True
        self._watch.does(Doing.BUSY)
        body = ReceivedBody(
            self._link, length_bytes, (self._peer_host, self._stall_s), self._watch_for_end
        )
        if body.complete:
            self._watch_for_end()
        outgoing = await self._service.exchange(Incoming(head, body, self._peer_host))
        self._link.unwatch()
        try:
            await send_message(self._link, outgoing.head, outgoing.body, self._stall_s)
        finally:
            if outgoing.body is not None:
                await close_pieces(outgoing.body.pieces)
        self._link.rest()
        self._is_busy = False
        if not body.complete:
            await self._linger()
        return body.complete

    def _watch_for_end(self) -> None:
        assert self._task is not None
        self._link.watch(self._task.cancel)

    async def _linger(self) -> None:
        self._link.end_sending()
        self._link.expect(LINGER_S, asyncio.get_running_loop().time() + LINGER_S)
        dropped = memoryview(bytearray(SKIP_BYTES))
        with contextlib.suppress(TimeoutError):
            while True:
                await self._link.fill(dropped)
