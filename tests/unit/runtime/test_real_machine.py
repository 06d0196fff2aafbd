"""The machine that real processes run on."""

import asyncio
import threading
import time

from dolmen.runtime.real_machine import real_machine


def test_a_machine_has_a_boot_id_a_name_a_clock_and_threads() -> None:
    async def use() -> None:
        machine = real_machine()
        assert machine.boot_id == real_machine().boot_id != ""
        assert machine.host_name
        before_ms = int(time.time() * 1000)
        assert before_ms <= machine.wall_clock_ms() <= time.time() * 1000 + 1
        assert await machine.background(threading.get_ident) != threading.get_ident()
        await machine.transport.close()

    asyncio.run(use())


def test_two_machines_draw_different_numbers() -> None:
    assert real_machine().random.getrandbits(128) != real_machine().random.getrandbits(128)
