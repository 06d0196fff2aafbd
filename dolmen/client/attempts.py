"""The attempts at one call, and what is known when they end in vain.

What is raised in the end says what is known: a refusal is raised as it came; NamenodeUnreachable
means that nothing was done; OutcomeUnknown that a mutation left us and no answer came back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from dolmen.client.patience import Patience
from dolmen.protocol.client_messages import ClientRequest
from dolmen.protocol.errors import (
    DolmenError,
    NamenodeUnreachable,
    OutcomeUnknown,
    PeerLost,
    TryAgain,
)

if TYPE_CHECKING:
    from dolmen.client.connection import NamenodeConnection

T = TypeVar("T")

FIRST_CONTACT_S = 3.0
"""An error about a wrong address comes within 5 s, also from a command that a busy machine takes a
second or more to load; and a namenode just starting is still found."""


class Bearing(NamedTuple):
    """What a caller bears: how long (None: as long as set for the client), and what not at all."""

    retry_for_s: float | None = None
    final: tuple[type[TryAgain], ...] = ()


class Earlier(NamedTuple):
    """An attempt that was made elsewhere, in vain."""

    begun_s: float
    error: TryAgain | PeerLost


class Attempts:
    """The attempts at one call, and what is known when they end in vain."""

    def __init__(
        self,
        connection: "NamenodeConnection",
        request: ClientRequest | None,
        bearing: Bearing,
        earlier: Earlier | None = None,
    ) -> None:
        self._connection = connection
        self._earlier = earlier
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
        if self._earlier is not None:
            begun_s = self._earlier.begun_s
            patience = Patience(self._connection.random, self._patience_s(), begun_s)
            if not patience.left_s:
                raise self._conclude(self._earlier.error) from self._earlier.error
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
