"""When checkpoints are written: when one is due, and when an operator asks.

One loop writes them, one after the other, so that whatever ends it ends the process. Who asks gets
the next one that is begun, which has everything in it that was answered before. It may take longer
than a call may: then the caller is told to ask again, and finds the outcome when it does.
"""

import asyncio
import errno
import logging
from typing import Protocol

from dolmen.protocol.errors import DataDamaged, DolmenError, NoSpace, Overloaded
from dolmen.protocol.operator_messages import CheckpointWritten

log = logging.getLogger(__name__)

CHECK_S = 5.0
"""How often a checkpoint may fall due: seconds of edits more or less do not matter."""

PATIENCE_S = 5.0
"""How long a call waits: below the time after which a client gives up a silent namenode."""

ASKERS_LIMIT = 100
"""Clients whose outcome is kept until they fetch it."""

Outcome = CheckpointWritten | DolmenError


class Writes(Protocol):
    """Structurally `namenode.checkpoint.Checkpointer`, as far as it is needed here."""

    async def run_asked(self) -> int: ...
    async def run_if_due(self) -> bool: ...


class CheckpointCalls:
    """The loop that writes checkpoints, and those who wait for one."""

    def __init__(self, checkpointer: Writes) -> None:
        self._checkpointer = checkpointer
        self._asked: dict[bytes, asyncio.Future[Outcome]] = {}  # by client
        self._next: asyncio.Future[Outcome] | None = None  # what is not begun yet
        self._wake = asyncio.Event()

    async def ask(self, client_id: bytes) -> CheckpointWritten:
        """Have a checkpoint written; return when it counts. NoSpace, Overloaded: ask again."""
        outcome = self._asked.get(client_id) or self._begin(client_id)
        done, _ = await asyncio.wait((outcome,), timeout=PATIENCE_S)
        if not done:
            raise Overloaded("a checkpoint is being written and not done yet")
        self._asked.pop(client_id, None)
        result = outcome.result()
        if isinstance(result, DolmenError):
            raise result
        return result

    def _begin(self, client_id: bytes) -> asyncio.Future[Outcome]:
        if len(self._asked) >= ASKERS_LIMIT:
            self._asked = {key: future for key, future in self._asked.items() if not future.done()}
        if len(self._asked) >= ASKERS_LIMIT:
            raise Overloaded(f"{ASKERS_LIMIT} clients wait for a checkpoint already")
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self._asked[client_id] = self._next
        self._wake.set()
        return self._next

    async def run(self) -> None:
        """Write checkpoints until cancelled. What it raises must end the process."""
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._wake.wait()
            except TimeoutError:
                await self._checkpointer.run_if_due()
                continue
            self._wake.clear()
            asked, self._next = self._next, None
            outcome = await self._write()
            if asked is not None:
                asked.set_result(outcome)

    async def _write(self) -> Outcome:
        try:
            return CheckpointWritten(await self._checkpointer.run_asked())
        except DolmenError as error:
            return error
        except OSError as error:
            log.error("checkpoint failed, edits are kept in the log: %s", error)
            text = f"the checkpoint could not be written, and does not count: {error}"
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return NoSpace(text) if full else DataDamaged(text)
