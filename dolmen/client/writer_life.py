"""What all writers share: their calls take turns, what fails spoils them, and they end once.

Whoever is spoiled can only be abandoned, which a `close` does that fails. Being abandoned, or
collected as garbage, is the same to the namenode as the writer's death.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Protocol, Self

from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.errors import DolmenError, InvalidRequest, OutcomeUnknown

_ABANDONED = "it was abandoned"


class Writing(Protocol):
    """What a writer does with the bytes: structurally `Cutting`, or `NewFile`."""

    @property
    def fewest_replicas(self) -> int:
        """On how many datanodes a block is that met with failures."""

    def check(self) -> None:
        """Raise what broke it, if anything did."""

    def release(self) -> None:
        """Nothing more will be put. Idempotent."""

    async def drop(self, reason: DolmenError) -> None:
        """Stop everything, whoever waits being told why."""


class WriterLife(ABC):
    """A writer from its opening to its end.

    `async with` closes on success, and abandons on an exception.
    """

    def __init__(self, path: str, writing: Writing) -> None:
        self.path = path
        self._writing = writing
        self._turn = asyncio.Lock()
        self._spoiled: str | None = None
        self._info: FileInfo | None = None

    @property
    def fewest_replicas(self) -> int:
        """The replicas of the block that has fewest: below `replication`, if datanodes failed and
        others could not take over, until the namenode has made the rest."""
        return self._writing.fewest_replicas

    @property
    def info(self) -> FileInfo:
        """The file as `close` left it."""
        if self._info is None:
            raise InvalidRequest(f"{self.path} has not been closed", self.path)
        return self._info

    async def close(self, *, modified_ms: int = 0) -> FileInfo:
        """End the file as its kind of writer promises, and return what it is; the same when called
        again. `modified_ms` is the file's time, if not now.

        TooFewDatanodes after `retry_for` if its blocks are not durable enough. After an error
        nothing was done, unless it is OutcomeUnknown.
        """
        async with self._turn:
            if self._info is not None:
                return self._info
            try:
                self._check_open()
                self._spoiled = "its close failed or was cancelled"
                self._info = await self._finish(modified_ms)
            except OutcomeUnknown:
                self._writing.release()
                raise
            except DolmenError:
                await self._drop()
                raise
            self._writing.release()
            return self._info

    async def abandon(self) -> None:
        """Let go of all that is not in the file yet. Idempotent; never raises."""
        if self._info is None:
            await self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            await self.abandon()
            return
        try:
            await self.close()
        except asyncio.CancelledError:
            await self.abandon()
            raise

    # ------------------------------------------------------------ for the kinds of writers

    @abstractmethod
    async def _finish(self, modified_ms: int) -> FileInfo:
        """Bring what was written into the file, for the last time."""

    def _check(self) -> None:
        """Raise what broke the writing, if anything did."""
        self._writing.check()

    @asynccontextmanager
    async def _alone(self, spoiled: str) -> AsyncIterator[None]:
        """Do something in turn, on an open writer; unless it succeeds, that has `spoiled` it."""
        async with self._turn:
            self._check_open()
            self._spoiled = spoiled
            yield
            self._spoiled = None

    def _check_open(self) -> None:
        if self._spoiled is not None:
            raise InvalidRequest(f"{self.path} cannot be written: {self._spoiled}", self.path)
        if self._info is not None:
            raise InvalidRequest(f"{self.path} is closed", self.path)
        self._check()

    async def _drop(self) -> None:
        if self._spoiled != _ABANDONED:
            self._spoiled = _ABANDONED
            reason = InvalidRequest(f"{self.path} cannot be written: {_ABANDONED}", self.path)
            await self._writing.drop(reason)
