"""Reading as an engine does: many ranges beside each other, again and again, into the same memory.

A read that is late is asked of a second replica (`dolmen/client/hedging`), so two of them answer
what one asked. Whoever comes second must not write any more: the memory is the reader's again, who
puts something else into it. So what was read is wiped, and must still be wiped when it is used
again.
"""

import asyncio
from dataclasses import dataclass
from random import Random

from dolmen.client.reader import Reader
from dolmen.simulation.checkers.true_reads import TrueReads


@dataclass(frozen=True)
class Hurry:
    """How a file is read: rounds of so many ranges at once, with pauses between."""

    range_bytes: int
    at_once: int
    rounds: int
    pause_s: float


class HurriedReads:
    """The reads of one open file."""

    def __init__(self, reader: Reader, hurry: Hurry, random: Random, reads: TrueReads) -> None:
        self._reader = reader
        self._hurry = hurry
        self._random = random
        self._true_reads = reads
        self._memories = [bytearray(hurry.range_bytes) for _ in range(hurry.at_once)]

    async def run(self) -> None:
        """Read all ranges; raise what the first of them failed with."""
        for _ in range(self._hurry.rounds):
            reads = map(self._read_a_range, self._memories)
            for outcome in await asyncio.gather(*reads, return_exceptions=True):
                if outcome is not None:
                    raise outcome
            await asyncio.sleep(self._random.expovariate(1 / self._hurry.pause_s))
            for memory in self._memories:
                self._true_reads.check_untouched(self._reader.info, memory)

    async def _read_a_range(self, memory: bytearray) -> None:
        reader, room = self._reader, len(memory)
        offset = self._random.randrange(max(1, reader.length_bytes))
        count = await reader.read_into(offset, memoryview(memory))
        self._true_reads.check_length(reader.info, offset, room, count)
        self._true_reads.check(reader.info, offset, memory[:count])
        memory[:] = bytes(room)
