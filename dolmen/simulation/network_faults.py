"""Faults of the network: cuts, slow ways, losses, resets and connections that are forgotten."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from dolmen.simulation import faults
from dolmen.simulation.census import victim
from dolmen.simulation.cluster import SimCluster


class NetworkFaults:
    """What can happen to the network of a cluster. A client is on a host of its own."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._network = cluster.network

    async def cut(self, fault: faults.Cut) -> bool:
        ways = [(fault.source, fault.target)]
        if not fault.one_way:
            ways.append((fault.target, fault.source))
        await self._cut(ways, fault.for_ms)
        return True

    async def isolation(self, fault: faults.Isolation) -> bool:
        if any(victim(self._cluster, host) is None for host in fault.hosts):
            return False
        others = [name for name in self._cluster.lives if name not in fault.hosts]
        ways = [(host, other) for host in fault.hosts for other in others]
        if not fault.one_way:
            ways += [(other, host) for host, other in ways]
        await self._cut(ways, fault.for_ms)
        return True

    async def _cut(self, ways: list[tuple[str, str]], for_ms: int) -> None:
        for source, target in ways:
            self._network.cut_way(source, target)
        await asyncio.sleep(for_ms / 1000)
        for source, target in ways:
            self._network.heal_way(source, target)

    async def slow_link(self, fault: faults.SlowLink) -> bool:
        ways = ((fault.source, fault.target), (fault.target, fault.source))
        links = self._network.links
        for source, target in ways:
            links.slow(source, target, fault.delay_ms / 1000, fault.bytes_per_s)
        await asyncio.sleep(fault.for_ms / 1000)
        for source, target in ways:
            links.speed_up(source, target)
        return True

    async def packet_loss(self, fault: faults.PacketLoss) -> bool:
        with self._worse(loss_chance=fault.chance):
            await asyncio.sleep(fault.for_ms / 1000)
        return True

    async def resets(self, fault: faults.Resets) -> bool:
        with self._worse(reset_chance=fault.chance):
            await asyncio.sleep(fault.for_ms / 1000)
        return True

    async def half_open(self, fault: faults.HalfOpen) -> bool:
        self._network.silence(fault.source, fault.target)
        return True

    @contextmanager
    def _worse(self, *, loss_chance: float = 0.0, reset_chance: float = 0.0) -> Generator[None]:
        conditions = self._network.conditions
        conditions.loss_chance += loss_chance
        conditions.reset_chance += reset_chance
        yield
        conditions.loss_chance -= loss_chance
        conditions.reset_chance -= reset_chance
