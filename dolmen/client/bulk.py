"""Bulk exchanges with datanodes, and what the client remembers of those that failed it.

Deadlines are about progress, not length: a dead process resets its connections and is noticed at
once, a stopped one keeps them open: a writer notices that it gives no sign of life, a reader that
nothing moves for so long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from dolmen.client.core.recent_failures import RecentFailures
from dolmen.client.core.slow_datanodes import SlowDatanodes
from dolmen.client.options import ClientOptions
from dolmen.protocol.block_messages import (
    BlockReply,
    BlockRequest,
    decode_block_reply,
    encode_head,
)
from dolmen.protocol.errors import InvalidRequest
from dolmen.runtime.machine import Machine
from dolmen.runtime.peer_watch import PeerWatch
from dolmen.runtime.transport import Body, IncomingBody

R = TypeVar("R", bound=BlockReply)

READ_STALL_S = 5.0
"""Another replica is a moment away, so a silent datanode is left soon; but a disk that other
readers keep busy, or has to spin up, brings a byte within this."""

WRITE_STALL_CONNECTS = 4
"""In connect timeouts, as the datanodes count: each hop of a pipeline waits a share less than the
one before it, so that the one next to the silent one speaks first (rule 20)."""

STEP_STALL_S = 30.0
"""Finalizing syncs a whole block, copying moves one: nothing comes back until that is done."""

AVOID_READING_S = 30.0
"""Long enough that a file is not read through a failing datanode block by block."""

AVOID_WRITING_S = 60.0
"""Longer: a failure costs a writer more, and there are always other datanodes to write to."""


class Datanodes:
    """How a client talks to datanodes."""

    def __init__(self, machine: Machine, options: ClientOptions) -> None:
        self._transport = machine.transport
        self._watch = PeerWatch(machine.transport)
        self.write_stall_s = options.connect_timeout_ms / 1000 * WRITE_STALL_CONNECTS
        self.read_failures = RecentFailures(AVOID_READING_S)
        self.write_failures = RecentFailures(AVOID_WRITING_S)
        self.slow = SlowDatanodes()
        self.streams = asyncio.Semaphore(options.streams)
        """Turns for bulk reads."""
        self.batches = asyncio.Semaphore(options.streams)
        """Turns for requests with many ranges, which have memory of their own."""

    async def ask(
        self,
        address: str,
        head: BlockRequest,
        expected: type[R],
        *,
        body: Body | None = None,
        stall_s: float = STEP_STALL_S,
    ) -> R:
        """Return the reply to one exchange whose answer is its head alone; PeerLost soon if the
        datanode stands still."""

        async def exchange() -> R:
            asking = self.asking(address, head, expected, body=body, stall_s=stall_s)
            async with asking as (reply, _):
                return reply

        return await self._watch.over(address, exchange())

    @asynccontextmanager
    async def asking(
        self,
        address: str,
        head: BlockRequest,
        expected: type[R],
        *,
        body: Body | None = None,
        stall_s: float = READ_STALL_S,
    ) -> AsyncIterator[tuple[R, IncomingBody]]:
        """Give the reply to one exchange, and the body that follows it."""
        exchange = self._transport.exchange(address, encode_head(head), body, stall_s=stall_s)
        async with exchange as answered:
            reply = decode_block_reply(answered.head)
            if not isinstance(reply, expected):
                raise InvalidRequest(
                    f"{address} answered {type(head).__name__} with {type(reply).__name__}"
                )
            yield reply, answered.body
