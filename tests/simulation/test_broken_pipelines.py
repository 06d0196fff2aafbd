"""Every way in which a pipeline breaks: who of the chain, how, and in which phase of its block.

A fault comes exactly when a request of the phase begins to be served: the first segment, one in the
middle, or the order to finalize. What is written is read back, nothing is lost, the writer waits no
longer than the fault is worth, and in the end every block has its replicas again. All of it down a
chain, and by a writer on the host of all datanodes, who sends to each by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec
import pytest

from dolmen.client import Client
from dolmen.protocol.block_messages import (
    BlockRequest,
    FinalizeReplica,
    WriteSegment,
    decode_request,
    encode_head,
)
from dolmen.simulation import virtual_time
from dolmen.simulation.cluster import DIRECTORY, INSPECTOR, SimCluster
from dolmen.simulation.lives import Lives
from dolmen.simulation.plan import Plan
from dolmen.simulation.sim_bodies import Piece
from dolmen.simulation.sim_device import SimDevice
from dolmen.simulation.sim_exchange import Request
from dolmen.simulation.trace import Trace

SEGMENT_BYTES = 64 * 1024
BLOCK_BYTES = 10 * SEGMENT_BYTES
DATA = Random(5).randbytes(2 * BLOCK_BYTES + 1000)
LONG = Random(6).randbytes(90 * SEGMENT_BYTES)
REPLICATION = 3
SLOW_WRITE_S = 10.0
"""How long writing LONG takes at least, with a slow datanode all the time."""

SLOWER = 300.0
HEALED_S = 120.0
"""A datanode that is dead, or back, is noticed and made up for within this."""

FIRST, MIDDLE, LAST = range(REPLICATION)
OPENING, MID_SEGMENT, FINALIZING = "opening", "mid-segment", "finalizing"


class Chain:
    """The cluster, and who stands where in the pipeline of the file's first block."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self.hosts: dict[int, str] = {}
        self.block_id: int | None = None
        self.fewest_replicas = REPLICATION
        self.again: list[Callable[[], Awaitable[None]]] = []
        """What makes the cluster whole again."""

    def lives_at(self, position: int) -> Lives:
        return self.cluster.lives[self.hosts[position]]

    def device_at(self, position: int) -> SimDevice:
        return self.lives_at(position).machine.storage.device_of(DIRECTORY)


Fault = Callable[[Chain, int, str], Coroutine[Any, Any, None]]


async def dies(chain: Chain, position: int, phase: str) -> None:
    lives = chain.lives_at(position)
    await lives.kill()
    chain.again.append(lives.start)


async def restarts_quickly(chain: Chain, position: int, phase: str) -> None:
    lives = chain.lives_at(position)
    await lives.kill()
    await lives.start()


async def stands_still(chain: Chain, position: int, phase: str) -> None:
    await chain.lives_at(position).pause(40)


async def disk_hangs(chain: Chain, position: int, phase: str) -> None:
    device = chain.device_at(position)
    device.hangs = True
    await asyncio.sleep(40)
    device.go_on()


async def is_slow(chain: Chain, position: int, phase: str) -> None:
    device = chain.device_at(position)
    device.slowness = SLOWER

    async def speed_up() -> None:
        device.slowness = 1

    chain.again.append(speed_up)


async def is_full(chain: Chain, position: int, phase: str) -> None:
    device = chain.device_at(position)
    device.full += 1

    async def make_room() -> None:
        device.full -= 1

    chain.again.append(make_room)


async def returns_checksum_error(chain: Chain, position: int, phase: str) -> None:
    """What arrives there is not what was sent, once."""
    host, network = chain.hosts[position], chain.cluster.network
    unspoilt = network.spoil

    def spoil(target: str, message: object) -> object:
        message = unspoilt(target, message)
        if target == host and phase != FINALIZING and isinstance(message, Piece):
            network.spoil = unspoilt
            return Piece(bytes([message.data[0] ^ 1]) + message.data[1:])
        if target == host and isinstance(message, Request):
            head = decode_request(message.head)
            if isinstance(head, FinalizeReplica):
                network.spoil = unspoilt
                wrong = msgspec.structs.replace(head, digest=bytes(len(head.digest)))
                return replace(message, head=encode_head(wrong))
        return message

    network.spoil = spoil


async def dies_or_stands_still(chain: Chain, position: int, phase: str) -> None:
    """Who would copy the prefix to the one that takes over is not there either."""
    await (dies if position == LAST else stands_still)(chain, position, phase)


COSTS_S: dict[Fault, float] = {
    dies: 1.0,
    restarts_quickly: 1.0,
    stands_still: 3.0,
    disk_hangs: 13.0,
    is_slow: 3.0,
    is_full: 1.0,
    returns_checksum_error: 1.0,
}
"""How much longer a write may take than without the fault."""


def begins(phase: str, head: BlockRequest) -> bool:
    """Whether serving this request is the phase."""
    if phase == FINALIZING:
        return isinstance(head, FinalizeReplica)
    offset = 0 if phase == OPENING else 5 * SEGMENT_BYTES
    return isinstance(head, WriteSegment) and head.offset_bytes == offset


@dataclass
class Striker:
    """Watches the first block's requests, and strikes all positions, when the last of them is in
    the phase."""

    chain: Chain
    fault: Fault
    positions: set[int]
    phase: str
    striking: list[asyncio.Task[None]] = field(default_factory=list)

    def __call__(self, host: str, request: bytes) -> None:
        head, chain = decode_request(request), self.chain
        if chain.block_id is None:
            chain.block_id = head.block_id
        if isinstance(head, WriteSegment) and head.block_id == chain.block_id:
            chain.hosts.setdefault(head.position, host)
        if head.block_id != chain.block_id or not self.positions:
            return
        if chain.hosts.get(max(self.positions)) == host and begins(self._strikes_at, head):
            self._strike()

    @property
    def _strikes_at(self) -> str:
        """An order that is to be spoilt has still to come."""
        is_too_late = self.fault is returns_checksum_error and self.phase == FINALIZING
        return MID_SEGMENT if is_too_late else self.phase

    def _strike(self) -> None:
        for position in sorted(self.positions):
            strike = self.fault(self.chain, position, self.phase)
            loop = asyncio.get_running_loop()
            self.striking.append(loop.create_task(strike, context=Context()))
        self.positions.clear()


async def until_healed(cluster: SimCluster) -> None:
    async with asyncio.timeout(HEALED_S):
        while True:
            report = cluster.report()
            if report is not None and not (
                report.under_replicated_blocks or report.missing_blocks or report.pending_transfers
            ):
                return
            await asyncio.sleep(0.5)


async def write_through(
    plan: Plan, fault: Fault, positions: Iterable[int], phase: str
) -> tuple[float, Chain]:
    """Write a file while the fault strikes; return how long that took."""
    cluster = SimCluster(plan, Trace(asyncio.get_running_loop().time))
    chain = Chain(cluster)
    await cluster.start()
    async with cluster.inspector() as client:
        striker = Striker(chain, fault, set(positions), phase)
        cluster.network.watch_exchanges(striker)
        took_s = await timed(client, chain)
        assert not striker.positions, "the phase never came"
        assert await client.read_file("/a") == DATA
        await asyncio.gather(*striker.striking)
        for make_whole in chain.again:
            await make_whole()
        await until_healed(cluster)
        assert await client.read_file("/a") == DATA
    cluster.check_invariants()
    await cluster.stop()
    assert cluster.found == []
    assert cluster.network.failures == []
    return took_s, chain


def plan_of(datanodes: int, *, one_host: bool) -> Plan:
    return Plan(seed=3, datanodes=datanodes, block_size_bytes=BLOCK_BYTES, one_host=one_host)


async def timed(client: Client, chain: Chain) -> float:
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with await client.open_writer("/a") as writer:
        await writer.write(DATA)
    chain.fewest_replicas = writer.fewest_replicas
    return loop.time() - begun_s


@pytest.mark.parametrize("one_host", [False, True])
@pytest.mark.parametrize("datanodes", [REPLICATION, REPLICATION + 2])
@pytest.mark.parametrize("phase", [OPENING, MID_SEGMENT, FINALIZING])
@pytest.mark.parametrize("position", [FIRST, MIDDLE, LAST])
@pytest.mark.parametrize("fault", list(COSTS_S))
def test_one_datanode_of_a_pipeline_costs_time_and_nothing_else(
    fault: Fault, position: int, phase: str, datanodes: int, one_host: bool
) -> None:
    plan = plan_of(datanodes, one_host=one_host)
    took_s, chain = virtual_time.run(write_through(plan, fault, [position], phase))
    assert took_s < COSTS_S[fault]
    is_left = fault is not is_slow
    nobody_takes_over = datanodes == REPLICATION or phase == FINALIZING
    assert chain.fewest_replicas == REPLICATION - (is_left and nobody_takes_over)


@pytest.mark.parametrize("one_host", [False, True])
@pytest.mark.parametrize("phase", [OPENING, MID_SEGMENT, FINALIZING])
@pytest.mark.parametrize("positions", [(FIRST, LAST), (MIDDLE, LAST)])
@pytest.mark.parametrize(
    "fault", [dies, stands_still, dies_or_stands_still, is_full, restarts_quickly]
)
def test_two_datanodes_at_once_cost_the_time_of_both(
    fault: Fault, positions: tuple[int, int], phase: str, one_host: bool
) -> None:
    plan = plan_of(2 * REPLICATION - 1, one_host=one_host)
    took_s, _ = virtual_time.run(write_through(plan, fault, positions, phase))
    assert took_s < 2 * COSTS_S.get(fault, COSTS_S[stands_still])


async def is_very_slow(chain: Chain, position: int, phase: str) -> None:
    chain.device_at(position).slowness = 5 * SLOWER


async def has_a_slow_network(chain: Chain, position: int, phase: str) -> None:
    """It is slow to whoever sends to it."""
    for other in (*chain.cluster.lives, INSPECTOR):
        chain.cluster.network.links.slow(other, chain.hosts[position], 0.0, 6e4)


@dataclass
class LongWrites:
    """Long files, written one after the other, and who took part in each."""

    fault: Fault
    position: int
    datanodes: int
    took_s: list[float] = field(default_factory=list)
    took_part: list[set[str]] = field(default_factory=list)
    slow: str = ""

    async def run(self, files: int) -> None:
        plan = Plan(seed=3, datanodes=self.datanodes, block_size_bytes=len(LONG))
        cluster = SimCluster(plan, Trace(asyncio.get_running_loop().time))
        chain = Chain(cluster)
        await cluster.start()
        async with cluster.inspector() as client:
            striker = Striker(chain, self.fault, {self.position}, OPENING)
            cluster.network.watch_exchanges(striker)
            cluster.network.watch_exchanges(self._watch)
            for number in range(files):
                await self._write(client, f"/{number}")
            self.slow = chain.hosts[self.position]
            assert await client.read_file("/0") == LONG
        await cluster.stop()
        assert cluster.found == []

    async def _write(self, client: Client, path: str) -> None:
        self.took_part.append(set())
        begun_s = asyncio.get_running_loop().time()
        await client.write_file(path, LONG)
        self.took_s.append(asyncio.get_running_loop().time() - begun_s)

    def _watch(self, host: str, request: bytes) -> None:
        if isinstance(decode_request(request), WriteSegment):
            self.took_part[-1].add(host)


@pytest.mark.parametrize(
    ("fault", "position"),
    [
        (is_very_slow, FIRST),
        (is_very_slow, LAST),
        (has_a_slow_network, MIDDLE),
        (has_a_slow_network, LAST),
    ],
)
def test_a_slow_datanode_is_replaced_in_mid_block_and_left_out_of_the_next(
    fault: Fault, position: int
) -> None:
    writes = LongWrites(fault, position, REPLICATION + 2)
    virtual_time.run(writes.run(2))
    assert writes.took_s[0] < SLOW_WRITE_S / 1.5, "it does not hold up a long write"
    assert writes.took_s[1] < 0.1
    assert writes.slow in writes.took_part[0]
    assert writes.slow not in writes.took_part[1]


@pytest.mark.parametrize("fault", [is_very_slow, has_a_slow_network])
def test_a_slow_datanode_is_better_than_none(fault: Fault) -> None:
    writes = LongWrites(fault, LAST, REPLICATION)
    virtual_time.run(writes.run(2))
    assert writes.took_s[0] > SLOW_WRITE_S
    assert all(writes.slow in hosts for hosts in writes.took_part)
