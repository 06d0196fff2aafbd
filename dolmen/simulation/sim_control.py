"""Control connections on the simulated network."""

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass

from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost
from dolmen.runtime.transport import Session
from dolmen.simulation.sim_network import End

CALLS_LIMIT = 256
CALL_BYTES_LIMIT = 8 * 1024 * 1024
"""In flight on one connection, as in the real transport (rule 26)."""


@dataclass(frozen=True)
class Frame:
    """A call, or the reply to it, with the call's number."""

    number: int
    payload: bytes


class SimConnection:
    """The client's side of one control connection."""

    def __init__(self, end: End, address: str) -> None:
        self._end = end
        self._address = address
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._closed = asyncio.Event()
        end.on_message = self._take_reply
        end.on_lost = self._lose
        if not end.open:
            self._lose()

    async def call(self, payload: bytes, timeout_s: float) -> bytes:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise InvalidRequest(
                f"a message of {len(payload)} bytes is over the limit of {MESSAGE_LIMIT_BYTES}"
            )
        if not self._end.open:
            raise PeerLost(f"the connection to {self._address} is closed")
        number = next(self._numbers)
        waiting: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._end.send(Frame(number, bytes(payload)), len(payload))
        try:
            async with asyncio.timeout(timeout_s):
                reply = await waiting
        except TimeoutError:
            raise PeerLost(f"{self._address} did not answer within {timeout_s:g} s") from None
        finally:
            del self._waiting[number]
        if reply is None:
            raise PeerLost(f"the connection to {self._address} broke")
        return reply

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def close(self) -> None:
        self._end.close()
        self._lose()

    def _take_reply(self, message: object) -> None:
        assert isinstance(message, Frame)
        reply = self._waiting.get(message.number)
        if reply is not None and not reply.done():
            reply.set_result(message.payload)

    def _lose(self) -> None:
        self._closed.set()
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_result(None)


class ControlServing:
    """One control connection that is served: its calls that are being answered and that wait."""

    def __init__(self, end: End, session: Session) -> None:
        self._ended = asyncio.Event()
        self._end = end
        self._session = session
        self._queue: deque[Frame] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._bytes = 0
        end.on_message = self._take
        end.on_lost = self._ended.set

    async def serve(self) -> None:
        """Serve until the connection ends, or until this task is cancelled."""
        try:
            await self._ended.wait()
        finally:
            self._end.close()
            try:
                await self._stop()
            finally:
                self._session.closed()

    def _take(self, message: object) -> None:
        assert isinstance(message, Frame)
        self._queue.append(message)
        self._start_what_fits()

    def _start_what_fits(self) -> None:
        while self._queue and len(self._running) < CALLS_LIMIT and self._bytes < CALL_BYTES_LIMIT:
            frame = self._queue.popleft()
            task = asyncio.create_task(self._answer(frame))
            self._running.add(task)
            self._bytes += len(frame.payload)

    async def _answer(self, frame: Frame) -> None:
        try:
            answer = self._session.answer(frame.payload)
            reply = answer if isinstance(answer, bytes) else await answer
            if len(reply) > MESSAGE_LIMIT_BYTES:
                raise ValueError(f"a reply of {len(reply)} bytes is over {MESSAGE_LIMIT_BYTES}")
            self._end.send(Frame(frame.number, bytes(reply)), len(reply))
        except Exception as error:  # noqa: BLE001 - the task's top level: noted as a finding
            if self._end.open:  # what a process raises that has just been killed concerns nobody
                self._end.network.failures.append(error)
            self._ended.set()
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._running.discard(task)
            self._bytes -= len(frame.payload)
            self._start_what_fits()

    async def _stop(self) -> None:
        """Cancel what still runs, and wait for it."""
        self._queue.clear()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
