"""Faults of processes, of their machines' power, and of their clocks."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from dolmen.simulation import faults
from dolmen.simulation.census import victim
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.lives import Death, Lives


class Witness(Protocol):
    """Looks at a datanode just before its power goes, and compares before it starts again."""

    def power_goes(self, lives: Lives) -> Callable[[], None]: ...


class ProcessFaults:
    """What can happen to the processes of a cluster."""

    def __init__(self, cluster: SimCluster, witness: Witness) -> None:
        self._cluster = cluster
        self._witness = witness

    async def kill(self, fault: faults.Kill) -> bool:
        lives = victim(self._cluster, fault.process)
        if lives is None:
            return False
        await lives.die(Death(turn=fault.turn))
        await self._start_after(lives, fault.down_ms)
        return True

    async def power_loss(self, fault: faults.PowerLoss) -> bool:
        lives = victim(self._cluster, fault.process)
        if lives is None:
            return False
        await self._lose_power(lives, fault)
        await self._start_after(lives, fault.down_ms)
        return True

    async def blackout(self, fault: faults.Blackout) -> bool:
        cluster = self._cluster
        victims = [lives for lives in (cluster.namenode, *cluster.datanodes) if lives.is_running]
        for lives in victims:
            await self._lose_power(lives, fault)
        async with asyncio.TaskGroup() as group:
            for lives in victims:
                await asyncio.sleep(fault.down_ms / 1000)
                group.create_task(self._start_after(lives, 0))
        return True

    async def rolling_restart(self, fault: faults.RollingRestart) -> bool:
        for lives in (*self._cluster.datanodes, self._cluster.namenode):
            if victim(self._cluster, lives.machine.name) is None:
                continue
            if fault.killed:
                await lives.die(Death())
            else:
                await lives.stop()
            await self._start_after(lives, fault.down_ms)
            await asyncio.sleep(fault.between_ms / 1000)
        return True

    async def pause(self, fault: faults.Pause) -> bool:
        lives = victim(self._cluster, fault.process)
        if lives is None:
            return False
        await lives.pause(fault.for_ms / 1000)
        return True

    async def clock_jump(self, fault: faults.ClockJump) -> bool:
        self._cluster.lives[fault.process].machine.clock.set(fault.ahead_ms)
        return True

    async def clock_drift(self, fault: faults.ClockDrift) -> bool:
        clock = self._cluster.lives[fault.process].machine.clock
        clock.drift(fault.parts_per_million)
        await asyncio.sleep(fault.for_ms / 1000)
        clock.drift(0)
        return True

    # ------------------------------------------------------------ inside

    async def _lose_power(self, lives: Lives, fault: faults.PowerLoss | faults.Blackout) -> None:
        compare: list[Callable[[], None]] = []
        turn = fault.turn if isinstance(fault, faults.PowerLoss) else 0
        death = Death(
            power_loss=True,
            keeps=fault.keeps,
            turn=turn,
            witness=lambda: compare.append(self._witness.power_goes(lives)),
        )
        await lives.die(death)
        for check in compare:
            check()

    async def _start_after(self, lives: Lives, down_ms: int) -> None:
        await asyncio.sleep(down_ms / 1000)
        if not lives.is_running:
            await lives.start()
