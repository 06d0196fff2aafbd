"""The control connection to the namenode: opened when needed, opened again when it breaks.

A call is repeated, with full jitter, until it is answered or `retry_for` is over (`attempts`). A
mutation keeps its call number over all attempts, so that it happens once however often it arrives
(rule 7).

All callers share one connection and one attempt to open it; each has its own schedule, so that they
do not return in step. Threads that wait make their first attempt over `Lines` of their own. A
namenode that never answered this client gets FIRST_CONTACT_S instead of `retry_for`: it is more
likely a wrong address than a restart.
"""

import asyncio
from random import Random
from typing import TypeVar

from dolmen import __version__
from dolmen.client.attempts import Attempts, Bearing, Earlier
from dolmen.client.core.call_numbers import CallNumbers
from dolmen.client.options import ClientOptions
from dolmen.protocol.client_messages import (
    MUTATIONS,
    AllocateBlock,
    CheckCreation,
    ClientReply,
    ClientRequest,
    Delete,
    GetInfo,
    GetInfos,
    ListDirectory,
    MakeDirectory,
    OpenFile,
    PublishFile,
    Rename,
    SetAttributes,
    StoreFile,
)
from dolmen.protocol.control_messages import (
    CLIENT_ID_BYTES,
    PROTOCOL_VERSION,
    ClientCall,
    Greet,
    Greeting,
    Reply,
    decode_reply,
    encode_call,
)
from dolmen.protocol.draft_messages import ExtendFile
from dolmen.protocol.errors import (
    InvalidRequest,
    PeerLost,
    TryAgain,
    UnsupportedVersion,
    WrongCluster,
)
from dolmen.runtime.lines import Line, Lines, loop_of_this_thread
from dolmen.runtime.machine import Machine
from dolmen.runtime.transport import Connection

R = TypeVar("R", bound=ClientReply)

SHORTEST_OPENING_S = 0.5
"""The last attempt at a first contact has at least so long: the two together stay below 5 s."""

CALLS_IN_FLIGHT = 240
"""Fewer than the 256 that a namenode takes from one connection; enough for its group commit, of
which one is logged while the next is gathered."""

CALL_PATIENCE_S = 10.0
"""A namenode that is silent for so long is given up and connected to anew. Calls that wait for
nothing are answered after at most a group commit or two."""

_WAITING = frozenset({PublishFile, AllocateBlock, ExtendFile})

_OVER_LINES = frozenset(
    {
        GetInfo,
        GetInfos,
        ListDirectory,
        OpenFile,
        CheckCreation,
        MakeDirectory,
        StoreFile,
        Rename,
        Delete,
        SetAttributes,
    }
)
"""What a thread may ask over a line: calls that are answered soon, and of which the client keeps
nothing, no lease above all, for those that come later."""

WAITING_PATIENCE_S = 20.0
"""Longer than the 10 s for which a namenode lets a call wait for blocks to be complete."""


class NamenodeConnection:
    """Calls to one namenode, each done once."""

    def __init__(self, machine: Machine, address: str, user: str, options: ClientOptions) -> None:
        self.address = address
        self.user = user
        self._machine = machine
        self._retry_for_s = options.retry_for_ms / 1000
        self._connect_timeout_s = options.connect_timeout_ms / 1000
        self._client_id = machine.random.randbytes(CLIENT_ID_BYTES)
        self._numbers = CallNumbers()
        self._was_answered = asyncio.Event()
        self._greeting: Greeting | None = None
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(CALLS_IN_FLIGHT)
        self._lines = Lines(self._open_line)
        self._first_contact_by_s = 0.0
        self._closed = False

    @property
    def greeting(self) -> Greeting:
        """What the namenode said when it was reached; InvalidRequest before that."""
        if self._greeting is None:
            raise InvalidRequest("the client is not connected yet: `await client.connect()` first")
        return self._greeting

    @property
    def was_reached(self) -> bool:
        """Whether the namenode ever answered this client."""
        return self._greeting is not None

    def expect_first_contact(self, by_s: float) -> None:
        """Somebody waits until then, not longer, for a namenode that never answered yet."""
        self._first_contact_by_s = by_s

    @property
    def random(self) -> Random:
        """Chance, for the schedule of attempts."""
        return self._machine.random

    @property
    def retry_for_s(self) -> float:
        """How long a lost namenode, or a refusal that may pass, is borne."""
        return self._retry_for_s

    async def connect(self) -> None:
        """Reach the namenode, or raise NamenodeUnreachable in time."""
        await Attempts(self, None, Bearing()).until_done(self._open_once)

    async def call(
        self,
        request: ClientRequest,
        expected: type[R],
        *,
        retry_for_s: float | None = None,
        final: tuple[type[TryAgain], ...] = (),
    ) -> R:
        """Return the reply to `request`; repeat it until then, for at most `retry_for_s`.

        Refusals that are `final` are raised at once: the caller knows something better to do.
        """
        bearing = Bearing(retry_for_s, final)
        loop = loop_of_this_thread()
        if loop is not None:
            return self._call_and_wait(loop, request, expected, bearing)
        if type(request) not in MUTATIONS:
            return await self._ask(self._sign(0, request), expected, bearing)
        while self._numbers.are_too_far_ahead:
            self._was_answered.clear()
            await self._was_answered.wait()
        number = self._numbers.draw()
        try:
            return await self._ask(self._sign(number, request), expected, bearing)
        finally:
            self._numbers.answered(number)
            self._was_answered.set()

    def _call_and_wait(
        self,
        loop: asyncio.AbstractEventLoop,
        request: ClientRequest,
        expected: type[R],
        bearing: Bearing,
    ) -> R:
        """Do the same in a thread that is not the loop's: over a line, else in the loop."""
        line = self._lines.take(loop) if type(request) in _OVER_LINES else None
        if line is None:
            later = self.call(
                request, expected, retry_for_s=bearing.retry_for_s, final=bearing.final
            )
            return asyncio.run_coroutine_threadsafe(later, loop).result()
        begun_s = loop.time()
        call = line.sign(self.user, request)
        try:
            return self._expect(expected, call, self._lines.ask(line, call, CALL_PATIENCE_S))
        except (TryAgain, PeerLost) as error:
            if isinstance(error, bearing.final):
                raise
            earlier = Earlier(begun_s, error)
        again = self._ask(call, expected, bearing, earlier)
        return asyncio.run_coroutine_threadsafe(again, loop).result()

    def _sign(self, number: int, request: ClientRequest) -> ClientCall:
        return ClientCall(self._client_id, number, self.user, request)

    async def _ask(
        self,
        call: ClientCall,
        expected: type[R],
        bearing: Bearing,
        earlier: Earlier | None = None,
    ) -> R:
        """Have a call answered."""
        payload = encode_call(call)
        patience_s = WAITING_PATIENCE_S if type(call.request) in _WAITING else CALL_PATIENCE_S
        attempts = Attempts(self, call.request, bearing, earlier)
        attempts.left_us = earlier is not None and call.number > 0

        async def attempt() -> Reply:
            async with self._turns:
                connection = await self._open_once()
                attempts.left_us = call.number > 0
                return await self._answered(connection, payload, patience_s)

        return self._expect(expected, call, await attempts.until_done(attempt))

    def _expect(self, expected: type[R], call: ClientCall, reply: Reply) -> R:
        if not isinstance(reply, expected):
            asked = type(call.request).__name__
            raise InvalidRequest(f"{self.address} answered {asked} with {type(reply).__name__}")
        return reply

    async def close(self) -> None:
        """Close; calls under way and later ones fail."""
        self._closed = True
        self._lines.close()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._drop(self._connection)
        if self._watching is not None:
            await asyncio.wait([self._watching])  # it may have been cancelled with its loop

    # ------------------------------------------------------------ one attempt

    async def _answered(self, connection: Connection, payload: bytes, patience_s: float) -> Reply:
        try:
            return decode_reply(await connection.call(payload, patience_s))
        except PeerLost:
            await self._drop(connection)
            raise

    async def _drop(self, connection: Connection | None) -> None:
        """Forget a connection: it broke, or its peer is silent."""
        if connection is None:
            return
        if self._connection is connection:
            self._connection = None
        await connection.close()

    async def _open_once(self) -> Connection:
        """Return the connection; of all who need one, one opens it."""
        if self._closed:
            raise InvalidRequest("the client is closed")
        if self._connection is not None:
            return self._connection
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: "asyncio.Task[Connection]") -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._connection = opening.result()
            self._watching = asyncio.create_task(self._forget_when_closed(self._connection))

    async def _forget_when_closed(self, connection: Connection) -> None:
        """Notice the end of a connection before a call is given to it that then may be lost."""
        await connection.wait_closed()
        await self._drop(connection)

    async def _open(self) -> Connection:
        limit_s = self._opening_limit_s()
        try:
            async with asyncio.timeout(limit_s):
                return await self._connect_and_greet(limit_s)
        except TimeoutError:
            raise PeerLost(f"{self.address} did not greet us within {limit_s:g} s") from None

    def _opening_limit_s(self) -> float:
        if self.was_reached:
            return self._connect_timeout_s
        left_s = self._first_contact_by_s - asyncio.get_running_loop().time()
        return min(self._connect_timeout_s, max(SHORTEST_OPENING_S, left_s))

    async def _connect_and_greet(self, limit_s: float) -> Connection:
        connection = await self._machine.transport.connect(self.address, limit_s)
        try:
            self._greeting = self._greeted(await connection.call(self._greet(), limit_s))
        except BaseException:
            await connection.close()
            raise
        return connection

    def _open_line(self) -> Line:
        """Open one more connection, for a thread that waits for it to be open."""
        limit_s = self._connect_timeout_s
        connection = self._machine.connect_blocking(self.address, limit_s)
        try:
            self._greeted(connection.call(self._greet(), limit_s))
        except BaseException:
            connection.close()
            raise
        return Line(connection, self._machine.random.randbytes(CLIENT_ID_BYTES))

    def _greet(self) -> bytes:
        known = self._greeting.cluster_id if self._greeting else ""
        return encode_call(Greet(PROTOCOL_VERSION, "client", known, b""))

    def _greeted(self, reply: bytes) -> Greeting:
        """Return what a namenode answered that is the one we mean."""
        greeting = decode_reply(reply)
        if not isinstance(greeting, Greeting):
            raise InvalidRequest(f"{self.address} answered a greeting with something else")
        known = self._greeting.cluster_id if self._greeting else ""
        if known and greeting.cluster_id != known:
            raise WrongCluster(
                f"the namenode at {self.address} now belongs to cluster {greeting.cluster_id};"
                f" this client was using {known}: open a new client"
            )
        if greeting.protocol_version != PROTOCOL_VERSION:
            raise UnsupportedVersion(
                f"the namenode at {self.address} (Dolmen {greeting.software_version}) speaks"
                f" protocol {greeting.protocol_version}, this client (Dolmen {__version__})"
                f" {PROTOCOL_VERSION}: bring both to one version"
            )
        return greeting
