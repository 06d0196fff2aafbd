"""A process that asks about one file again and again, and says how long it had to wait.

It asks at fixed times whether or not the last answer has come, so that a pause of the namenode
delays every call that falls into it and is not counted once only.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.peers import Worker
from dolmen.client import Client, ClientOptions
from dolmen.runtime.real_machine import real_machine

EVERY_S = 0.004


@dataclass(frozen=True)
class Waits:
    """How long calls waited, in ms, shortest first."""

    sorted_ms: Sequence[float]

    def share_ms(self, share: float) -> float:
        """Return what this share of the calls did not exceed."""
        return self.sorted_ms[min(len(self.sorted_ms) - 1, int(share * len(self.sorted_ms)))]

    @property
    def longest_ms(self) -> float:
        return self.sorted_ms[-1]

    def notes(self) -> str:
        """Return the distribution, as `p50 1.2, p99 4.5, p99.9 9.1, max 12 ms of 10,000 calls`."""
        parts = [f"p{100 * share:g} {self.share_ms(share):.1f}" for share in (0.5, 0.99, 0.999)]
        return f"{', '.join(parts)}, max {self.longest_ms:.1f} ms; {len(self.sorted_ms):,} calls"


class Probe:
    """The process; use it as a context manager."""

    def __init__(self, namenode: str, path: str) -> None:
        self._worker = Worker(_ask_on, namenode, path)
        self._worker.answer()

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *exit_: object) -> None:
        self._worker.__exit__(*exit_)

    def waits(self) -> Waits:
        """Return how long the calls waited that were answered since it was last asked."""
        self._worker.ask("")
        count = int(self._worker.answer())
        return Waits(sorted(self._worker.answer() for _ in range(count)))


def _ask_on(pipe: Connection, namenode: str, path: str) -> None:
    asyncio.run(_ask(pipe, namenode, path))


async def _ask(pipe: Connection, namenode: str, path: str) -> None:
    waited_ms: list[float] = []

    async def ask(client: Client, due_s: float) -> None:
        await client.info(path)
        waited_ms.append((time.perf_counter() - due_s) * 1000)

    async with Client(real_machine(), ClientOptions(namenode=namenode)) as client:
        await client.info(path)
        pipe.send(0)
        due_s = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            while True:
                if pipe.poll():
                    pipe.recv()
                    _send(pipe, waited_ms)
                    waited_ms.clear()
                    due_s = time.perf_counter()
                calls.create_task(ask(client, due_s))
                due_s += EVERY_S
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))


def _send(pipe: Connection, waited_ms: Sequence[float]) -> None:
    pipe.send(len(waited_ms))
    for waited in waited_ms:
        pipe.send(waited)
