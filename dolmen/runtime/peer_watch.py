"""A peer that stands still is left within seconds, one that is only slow is waited for.

A killed process resets its connections and is noticed at once. One that was stopped, or whose
machine lost its power or its network, leaves them open, and looks like a busy disk: nothing moves.
So while an answer is awaited, the peer is asked for a sign of life on a connection of its own. Any
answer is one, also a refusal: the process runs, and the progress deadline of the exchange is for
the rest. Silence is not, and ends the exchange.

Invariant: who gave a sign of life within SILENCE_S is never given up here.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.transport import Transport

T = TypeVar("T")

LOOK_AFTER_S = 0.5
"""Between two looks, and before the first one: an exchange is rarely so long on its way."""

SILENCE_S = 2.0
"""A process that gives no sign of life for so long stands still: longer than a busy machine leaves
a process waiting for its turn, and than a lost packet costs."""

OVERSLEPT_S = 0.5
"""A look that took so much longer than it may says that we ourselves stood still."""


@dataclass
class _Look:
    task: "asyncio.Task[bool]"
    watchers: int = 0


class PeerWatch:
    """Watches the peers of one process, each once however many exchanges there are with it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._looks: dict[str, _Look] = {}

    async def over(self, address: str, exchange: Coroutine[Any, Any, T]) -> T:
        """Return what an exchange with `address` returns; PeerLost if its process stands still."""
        asking = asyncio.create_task(exchange)
        try:
            while True:
                await asyncio.wait([asking], timeout=LOOK_AFTER_S)
                if not asking.done() and await self._stands_still_during(asking, address):
                    raise PeerLost(f"{address} stands still: no sign of life for {SILENCE_S:g} s")
                if asking.done():
                    return asking.result()
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            if not asking.cancelled():
                asking.exception()  # heard, or of no interest any more

    async def _stands_still_during(self, asking: "asyncio.Task[T]", address: str) -> bool:
        """Look until it is known, or the answer is there; a look that nobody waits for ends."""
        look = self._looks.get(address)
        if look is None:
            look = self._looks[address] = _Look(asyncio.create_task(self._stands_still(address)))
        look.watchers += 1
        try:
            await asyncio.wait([asking, look.task], return_when=asyncio.FIRST_COMPLETED)
            return not asking.done() and look.task.result()
        finally:
            look.watchers -= 1
            if not look.watchers:
                del self._looks[address]
                look.task.cancel()
                await asyncio.wait([look.task])

    async def _stands_still(self, address: str) -> bool:
        clock = asyncio.get_running_loop().time
        while True:
            begun_s = clock()
            if await self._gives_a_sign(address):
                return False
            if clock() - begun_s < SILENCE_S + OVERSLEPT_S:
                return True

    async def _gives_a_sign(self, address: str) -> bool:
        """Return as soon as there is any, or after SILENCE_S without."""
        try:
            async with asyncio.timeout(SILENCE_S):
                connection = await self._transport.connect(address, 2 * SILENCE_S)
                try:
                    await connection.call(b"", 2 * SILENCE_S)
                finally:
                    await connection.close()
        except PeerLost:
            return True  # nobody is there, or he breaks off: the exchange sees that too
        except TimeoutError:
            return False
        return True
