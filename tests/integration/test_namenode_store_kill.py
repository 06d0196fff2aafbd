"""A real process keeps a store, is killed with SIGKILL at random instants, and nothing is lost."""

import asyncio
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from random import Random

from dolmen.runtime.key_value import fingerprint_of
from dolmen.runtime.real_machine import real_machine
from namenode.core.tables import DURABLE_TABLES
from namenode.recovery import Recovery
from namenode.store import StoreOptions, open_store
from tests.unit.namenode.store_worlds import stored_names

ROOT = Path(__file__).parents[2]
LIVES = 6


def live_and_die(directory: Path, life: int, acknowledged_before_the_end: int) -> list[str]:
    """Run the writer until it has acknowledged so many; kill it; return all it acknowledged."""
    command = [sys.executable, "-m", "tests.integration.store_writer", str(directory), str(life)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        giving_up = threading.Timer(300, process.kill)
        giving_up.start()
        assert process.stdout is not None
        names: list[str] = []
        for line in process.stdout:
            if len(names) == acknowledged_before_the_end:
                process.kill()
            if line.endswith("\n"):
                names.append(line.strip())
        giving_up.cancel()
    assert len(names) >= acknowledged_before_the_end
    return names


def greatest(names: list[str]) -> dict[str, int]:
    """Return the last number of each worker; every one before it must be there."""
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for name in names:
        worker, _, number = name.rpartition("-")
        numbers[worker].append(int(number))
    for worker, found in numbers.items():
        assert sorted(found) == list(range(len(found))), worker
    return {worker: len(found) for worker, found in numbers.items()}


def test_whatever_was_acknowledged_before_a_kill_is_there_and_nothing_half_done(
    tmp_path: Path,
) -> None:
    random = Random(2024)
    directory = tmp_path / "namenode"
    acknowledged: dict[str, int] = {}

    async def look(life: int) -> dict[str, int]:
        store = await open_store(real_machine(), StoreOptions(str(directory)))
        assert store.epoch >= life
        names = stored_names(store)
        store.kill()
        return greatest(names)

    for life in range(LIVES):
        acknowledged |= greatest(live_and_die(directory, life, random.randrange(1, 900)))
        found = asyncio.run(look(life))
        assert found.keys() >= acknowledged.keys()
        for worker, count in acknowledged.items():
            assert count <= found[worker] <= count + 1, worker  # one each was under way
        acknowledged = found  # what was shown stays


def test_tables_rebuilt_from_checkpoint_and_log_are_those_that_resumed(tmp_path: Path) -> None:
    directory = tmp_path / "namenode"
    live_and_die(directory, 0, 700)

    async def check() -> None:
        machine = real_machine()
        store = await open_store(machine, StoreOptions(str(directory)))
        assert await store.checkpoints.find()
        recovery = Recovery(machine, str(tmp_path / "rebuilt"), store.log, store.checkpoints)
        rebuilt = await recovery.rebuild()
        with store.tables.snapshot() as resumed, rebuilt.snapshot() as anew:
            assert fingerprint_of(resumed, DURABLE_TABLES) == fingerprint_of(anew, DURABLE_TABLES)
        rebuilt.close()
        store.kill()

    asyncio.run(check())
