"""The control connection to the namenode: opened when needed, opened again when it breaks.

A call is repeated, with full jitter, until it is answered or `retry_for` is over. A mutation keeps
its call number over all attempts, so that it happens once however often it arrives (rule 7). What
is raised in the end says what is known: a refusal is raised as it came; NamenodeUnreachable means
that nothing was done; OutcomeUnknown that a mutation left us and no answer came back.

All callers share one connection and one attempt to open it; each has its own schedule, so that they
do not return in step. A namenode that never answered this client gets FIRST_CONTACT_S instead of
`retry_for`: it is more likely a wrong address than a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple, TypeVar

from dolmen import __version__
from dolmen.client.core.call_numbers import CallNumbers
from dolmen.client.options import ClientOptions
from dolmen.client.patience import Patience
from dolmen.protocol.client_messages import (
    MUTATIONS,
    AllocateBlock,
    ClientReply,
    ClientRequest,
    PublishFile,
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
    DolmenError,
    InvalidRequest,
    NamenodeUnreachable,
    OutcomeUnknown,
    PeerLost,
    TryAgain,
    UnsupportedVersion,
    WrongCluster,
)
from dolmen.runtime.machine import Machine
from dolmen.runtime.transport import Connection

R = TypeVar("R", bound=ClientReply)
T = TypeVar("T")

FIRST_CONTACT_S = 3.0
"""An error about a wrong address comes within 5 s, also from a command that a busy machine takes a
second or more to load; and a namenode just starting is still found."""

SHORTEST_OPENING_S = 0.5
"""The last attempt at a first contact has at least so long: the two together stay below 5 s."""

CALLS_IN_FLIGHT = 240
"""Fewer than the 256 that a namenode takes from one connection; enough for its group commit, of
which one is logged while the next is gathered."""

CALL_PATIENCE_S = 10.0
"""A namenode that is silent for so long is given up and connected to anew. Calls that wait for
nothing are answered after at most a group commit or two."""

_WAITING = frozenset({PublishFile, AllocateBlock, ExtendFile})

WAITING_PATIENCE_S = 20.0
"""Longer than the 10 s for which a namenode lets a call wait for blocks to be complete."""


class _Bearing(NamedTuple):
    """What a caller bears: how long (None: as long as set for the client), and what not at all."""

    retry_for_s: float | None = None
    final: tuple[type[TryAgain], ...] = ()


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
        await _Attempts(self, None, _Bearing()).until_done(self._open_once)

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
        bearing = _Bearing(retry_for_s, final)
        if type(request) not in MUTATIONS:
            return await self._ask(request, 0, expected, bearing)
        while self._numbers.are_too_far_ahead:
            self._was_answered.clear()
            await self._was_answered.wait()
        number = self._numbers.draw()
        try:
            return await self._ask(request, number, expected, bearing)
        finally:
            self._numbers.answered(number)
            self._was_answered.set()

    async def _ask(
        self, request: ClientRequest, number: int, expected: type[R], bearing: _Bearing
    ) -> R:
        payload = encode_call(ClientCall(self._client_id, number, self.user, request))
        patience_s = WAITING_PATIENCE_S if type(request) in _WAITING else CALL_PATIENCE_S
        attempts = _Attempts(self, request, bearing)

        async def attempt() -> Reply:
            async with self._turns:
                connection = await self._open_once()
                attempts.left_us = number > 0
                return await self._answered(connection, payload, patience_s)

        reply = await attempts.until_done(attempt)
        if not isinstance(reply, expected):
            raise InvalidRequest(
                f"{self.address} answered {type(request).__name__} with {type(reply).__name__}"
            )
        return reply

    async def close(self) -> None:
        """Close; calls under way and later ones fail."""
        self._closed = True
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
            known = self._greeting.cluster_id if self._greeting else ""
            payload = encode_call(Greet(PROTOCOL_VERSION, "client", known, b""))
            greeting = decode_reply(await connection.call(payload, limit_s))
            if not isinstance(greeting, Greeting):
                raise InvalidRequest(f"{self.address} answered a greeting with something else")
            self._check(greeting, known)
        except BaseException:
            await connection.close()
            raise
        self._greeting = greeting
        return connection

    def _check(self, greeting: Greeting, known: str) -> None:
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


class _Attempts:
    """The attempts at one call, and what is known when they end in vain."""

    def __init__(
        self,
        connection: NamenodeConnection,
        request: ClientRequest | None,
        bearing: _Bearing,
    ) -> None:
        self._connection = connection
        self._what = "connect" if request is None else type(request).__name__
        own_s = bearing.retry_for_s
        self._retry_for_s = connection.retry_for_s if own_s is None else own_s
        self._final = bearing.final
        self.left_us = False
        """A mutation has been sent, and whether it was done is not known."""

    async def until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what an attempt returns; raise what the last one means."""
        begun_s = asyncio.get_running_loop().time()
        patience: Patience | None = None  # the first attempt is nearly always the only one
        if not self._connection.was_reached:
            self._connection.expect_first_contact(begun_s + FIRST_CONTACT_S)
        while True:
            try:
                return await attempt()
            except (TryAgain, PeerLost) as error:
                if isinstance(error, self._final):
                    raise
                if patience is None:
                    patience = Patience(self._connection.random, self._retry_for_s, begun_s)
                patience.for_s = self._patience_s()
                if not patience.left_s:
                    raise self._conclude(error) from error
            await patience.pause()

    def _patience_s(self) -> float:
        if self._connection.was_reached:
            return self._retry_for_s
        return min(self._retry_for_s, FIRST_CONTACT_S)

    def _conclude(self, error: TryAgain | PeerLost) -> DolmenError:
        if isinstance(error, TryAgain):
            return error
        address = self._connection.address
        if self.left_us:
            return OutcomeUnknown(
                f"the namenode at {address} was lost after {self._what} was sent, and did not"
                f" return within {self._retry_for_s:g} s: whether it was done is unknown"
            )
        if self._connection.was_reached:
            return NamenodeUnreachable(
                f"the namenode at {address} was lost and did not return within"
                f" {self._retry_for_s:g} s; {self._what} was not done: {error.message}"
            )
        reason = error.message.removeprefix(f"cannot connect to {address}: ")
        return NamenodeUnreachable(
            f"no namenode answers at {address} ({reason}): name the right address (URL, --at,"
            " DOLMEN_URL), or start one (`dolmen up` does on this machine)"
        )
