"""Tells the namenode of replicas that failed their checksums, beside the read that found them.

A hint is never worth waiting for: the datanode checks the replica itself, and its scrub finds it
anyway.
"""

import asyncio
import logging

from dolmen.client.connection import NamenodeConnection
from dolmen.protocol.client_messages import Done, ReportCorruptReplica
from dolmen.protocol.errors import DolmenError

logger = logging.getLogger(__name__)

HINTS_LIMIT = 64
"""On their way at once; a reader that meets more bad replicas meets them again."""


class Hints:
    """The hints of one client that are on their way."""

    def __init__(self, namenode: NamenodeConnection) -> None:
        self._namenode = namenode
        self._sending: dict[ReportCorruptReplica, asyncio.Task[None]] = {}

    def report(self, hint: ReportCorruptReplica) -> None:
        """Send a hint, unless the same one is on its way."""
        if hint in self._sending or len(self._sending) >= HINTS_LIMIT:
            return
        self._sending[hint] = asyncio.create_task(self._send(hint))

    async def close(self) -> None:
        """Let go of those that have not arrived."""
        sending = list(self._sending.values())
        for task in sending:
            task.cancel()
        if sending:
            await asyncio.wait(sending)

    async def _send(self, hint: ReportCorruptReplica) -> None:
        try:
            await self._namenode.call(hint, Done)
        except DolmenError as error:
            logger.info("a corrupt replica could not be reported: %s", error)
        finally:
            del self._sending[hint]
