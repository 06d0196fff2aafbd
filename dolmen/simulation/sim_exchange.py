"""Bulk exchanges on the simulated network: one connection each."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from dolmen.protocol.errors import DolmenError, PeerLost
from dolmen.runtime.bodies import SourceFailed, close_pieces
from dolmen.runtime.transport import Answered, Body, Incoming, Service
from dolmen.simulation.sim_bodies import Piece, ReceivingBody, SendingBody, Taken, TimeoutProgress
from dolmen.simulation.sim_network import End


@dataclass(frozen=True)
class Request:
    """→ the head of a request; its body follows in pieces."""

    head: bytes
    length_bytes: int


@dataclass(frozen=True)
class Reply:
    """← the head of the reply; its body follows in pieces."""

    head: bytes
    length_bytes: int


class Asking:
    """One bulk exchange, seen from the side that asks."""

    def __init__(self, end: End, address: str, stall_s: float) -> None:
        self._end = end
        self._address = address
        self._stall_s = stall_s
        self._sending = SendingBody(end)
        self._sender: asyncio.Task[None] | None = None
        self._replied: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        self._body = ReceivingBody(end, 0, address, stall_s)
        end.on_message = self._take
        end.on_lost = self._lose
        if not end.open:
            self._lose()

    async def ask(self, head: bytes, body: Body | None) -> Answered:
        """Send the request and return the reply's head, as soon as it is there."""
        self._end.send(Request(head, body.length_bytes if body else 0), len(head))
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                progress = TimeoutProgress(self._stall_s, deadline)
                try:
                    if body is not None:
                        self._sender = asyncio.create_task(self._sending.send(body, progress))
                        await self._reply_or_failure(self._sender)
                    reply = await self._replied
                finally:
                    progress.forget()
        except TimeoutError:
            raise PeerLost(f"{self._address} made no progress for {self._stall_s:g} s") from None
        if reply is None:
            raise PeerLost(f"{self._address} broke off before it answered")
        return Answered(reply.head, self._body)

    async def _reply_or_failure(self, sender: asyncio.Task[None]) -> None:
        """Wait until the reply is there or the body is sent; raise what the pieces raised."""
        either: list[asyncio.Future[Any]] = [sender, self._replied]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if sender.done() and not self._replied.done():
            try:
                sender.result()
            except SourceFailed as failed:
                raise failed.error from None

    async def close(self) -> None:
        """Stop sending and end the connection."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
            if not self._sender.cancelled():
                self._sender.exception()  # told by `ask`, or of no interest after the reply
        self._end.close()

    def _take(self, message: object) -> None:
        if isinstance(message, Reply):
            peer = self._address
            self._body = ReceivingBody(self._end, message.length_bytes, peer, self._stall_s)
            if not self._replied.done():
                self._replied.set_result(message)
        elif isinstance(message, Piece):
            self._body.arrive(message.data)
        elif isinstance(message, Taken):
            self._sending.taken(message.length_bytes)

    def _lose(self) -> None:
        if not self._replied.done():
            self._replied.set_result(None)
        self._body.lost()
        self._sending.lost()


class Serving:
    """One bulk exchange, seen from the side that answers."""

    def __init__(self, end: End, request: Request, stall_s: float) -> None:
        self._end = end
        self._head = request.head
        self._stall_s = stall_s
        self._body = ReceivingBody(end, request.length_bytes, end.peer.process, stall_s)
        self._sending = SendingBody(end)
        self._task: asyncio.Task[None] | None = None
        end.on_message = self._take
        end.on_lost = self._lose

    async def serve(self, service: Service) -> None:
        """Answer; the connection ends with it."""
        self._task = asyncio.current_task()
        try:
            with contextlib.suppress(DolmenError):  # the connection's end tells the peer
                if self._end.open:
                    await self._answer(service)
        finally:
            self._end.close()

    async def _answer(self, service: Service) -> None:
        incoming = Incoming(self._head, self._body, self._end.peer.process)
        watching = self._end.network.exchange_begins(self._end.process, self._head)
        outgoing = await service.exchange(incoming)
        body = outgoing.body
        head = bytes(outgoing.head)
        for answered in watching:
            answered(head)
        self._end.send(Reply(head, body.length_bytes if body else 0), len(head))
        if body is None:
            return
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                await self._sending.send(body, TimeoutProgress(self._stall_s, deadline))
        except TimeoutError:
            raise PeerLost(f"{self._end.peer.process} took nothing") from None
        except SourceFailed as failed:
            raise failed.error from None
        finally:
            await close_pieces(body.pieces)

    def _take(self, message: object) -> None:
        if isinstance(message, Piece):
            self._body.arrive(message.data)
        elif isinstance(message, Taken):
            self._sending.taken(message.length_bytes)

    def _lose(self) -> None:
        """Loss in mid-body shows in reading it; after that, nobody waits for the answer."""
        self._body.lost()
        self._sending.lost()
        if self._body.complete and self._task is not None:
            self._task.cancel()
