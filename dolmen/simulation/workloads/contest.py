"""Everybody creates the same name at the same time, exclusively: one wins, the others are told."""

import asyncio

from dolmen.simulation.history import now_s
from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.work import Work

DIRECTORY = "/contest"
NAMES = 4
ROUND_S = 5.0
"""All contestants begin at the same moments."""

DELETE_CHANCE = 0.4


class Contest(Work):
    """Concurrent creates of one name."""

    NAME = "contest"
    FLAT = (DIRECTORY,)

    async def turn(self, client: RecordedClient) -> None:
        await asyncio.sleep(ROUND_S - now_s() % ROUND_S)
        path = f"{DIRECTORY}/{int(now_s() / ROUND_S) % NAMES}"
        if self.random.random() < DELETE_CHANCE:
            await client.delete(path)
        else:
            await client.write(self.draft(path, exclusive_chance=0.9))
            await client.read(path)
