"""All replicas are read and checked while they come and go, and the tree is inspected."""

from collections.abc import AsyncIterator
from typing import TypeVar

from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.operator_work import OperatorWork

T = TypeVar("T")

PAGES = 30


class Fsck(OperatorWork):
    """What `dolmen fsck` and `dolmen fsck --verify` ask."""

    NAME = "fsck"

    async def turn(self, client: RecordedClient) -> None:
        operator = client.client.operator
        if self.random.random() < 0.5:
            await self.ask(client, _pages(operator.inspect("/")))
        else:
            await self.ask(client, _pages(operator.verify("/")))


async def _pages(pages: AsyncIterator[T]) -> int:
    """Go through the first pages."""
    count = 0
    async for _ in pages:
        count += 1
        if count == PAGES:
            break
    return count
