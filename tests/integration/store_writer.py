"""A process that opens a namenode's store and makes directories until it is killed.

It writes each name to standard output when it was acknowledged, not before.
"""

import asyncio
import os
import sys

from dolmen.runtime.real_machine import real_machine
from namenode.core.apply import apply_group
from namenode.journal import Journal
from namenode.store import StoreOptions, open_store
from tests.unit.namenode.store_worlds import make_directory

WORKERS = 8
EDITS_PER_CHECKPOINT = 150


async def work(directory: str, life: str) -> None:
    machine = real_machine()
    store = await open_store(machine, StoreOptions(directory))
    journal = Journal(store, apply_group, machine.wall_clock_ms, lambda effects: None)
    checkpointer = store.checkpointer(EDITS_PER_CHECKPOINT)

    async def write(worker: int) -> None:
        for number in range(1_000_000):
            name = f"{life}-{worker}-{number}"
            await journal.submit(make_directory(name))
            os.write(1, f"{name}\n".encode())

    async def write_checkpoints() -> None:
        while True:
            await checkpointer.run_if_due()
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        group.create_task(journal.run())
        group.create_task(write_checkpoints())
        for worker in range(WORKERS):
            group.create_task(write(worker))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2]))
