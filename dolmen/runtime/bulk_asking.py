"""One bulk exchange, seen from the side that asks.

The request's body is sent by a task beside the one that waits for the reply, which may come before
its end and ends the sending. A request that fails on a pooled connection before any answer is
repeated once on a new one, if its body can be had again (rule 20): the peer may have closed it at
the very moment it was taken.
"""

import asyncio

from dolmen.protocol.block_messages import HEAD_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.runtime.bodies import SourceFailed
from dolmen.runtime.bulk_link import BulkLink, LinkLost
from dolmen.runtime.bulk_messages import ReceivedBody, receive_head, send_message
from dolmen.runtime.bulk_pool import BulkPool
from dolmen.runtime.transport import Answered, Body


class Asking:
    """One exchange with `address`, and its connection."""

    def __init__(self, pool: BulkPool, address: str, stall_s: float) -> None:
        self._pool = pool
        self._address = address
        self._stall_s = stall_s
        self._link: BulkLink | None = None
        self._sender: asyncio.Task[None] | None = None
        self._sent = False
        self._failure: Exception | None = None
        """What the pieces of the request's body raised: the caller's error, not the peer's."""
        self._body: ReceivedBody | None = None

    async def ask(self, head: bytes, body: Body | None) -> Answered:
        """Send the request and return the reply when its head is there; PeerLost if that never
        comes."""
        if len(head) > HEAD_LIMIT_BYTES:
            raise InvalidRequest(f"a head of {len(head)} bytes is over {HEAD_LIMIT_BYTES}")
        try:
            try:
                return await self._attempt(head, body)
            except _LostWhilePooled:
                if not _is_repeatable(body):
                    raise
                await self.end()
                return await self._attempt(head, body, fresh=True)
        except TimeoutError:
            raise PeerLost(f"{self._address} made no progress for {self._stall_s:g} s") from None
        except LinkLost as error:
            if self._failure is not None:
                raise self._failure from None
            raise PeerLost(f"{self._address}: {error}") from error

    async def end(self) -> None:
        """Stop sending; the connection is kept if both bodies have passed whole."""
        sender, self._sender = self._sender, None
        try:
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender])
        finally:
            link, self._link = self._link, None
            if link is not None:
                if not (self._sent and self._body is not None and self._body.complete):
                    link.close()
                self._pool.give_back(self._address, link)

    async def _attempt(self, head: bytes, body: Body | None, *, fresh: bool = False) -> Answered:
        async with asyncio.timeout(self._stall_s):
            link, was_used = await self._pool.take(self._address, fresh=fresh)
        self._link, self._sent = link, False
        try:
            if body is None:
                await send_message(link, head, None, self._stall_s)
                self._sent = True
            else:
                link.expect(self._stall_s)
                self._sender = asyncio.create_task(self._send(link, head, body))
            reply, length_bytes = await receive_head(link)
        except LinkLost as error:
            if was_used and self._failure is None:
                raise _LostWhilePooled(str(error)) from error
            raise
        if self._sender is not None:
            self._sender.cancel()
        link.rest()
        self._body = ReceivedBody(link, length_bytes, (self._address, self._stall_s))
        return Answered(reply, self._body)

    async def _send(self, link: BulkLink, head: bytes, body: Body) -> None:
        """Send the request. That the peer is gone shows in waiting for its answer, which may have
        come before."""
        try:
            await send_message(link, head, body, self._stall_s)
            self._sent = True
        except SourceFailed as failed:
            self._failure = failed.error
            link.close()
        except (LinkLost, TimeoutError):
            pass


class _LostWhilePooled(LinkLost):
    """A connection that was used before was lost before any answer."""


def _is_repeatable(body: Body | None) -> bool:
    """Whether the pieces can be had again: iterators give themselves, and only once."""
    return body is None or aiter(body.pieces) is not body.pieces
