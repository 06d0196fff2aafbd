"""A writer on the host of all datanodes sends to each by itself; any other sends down a chain."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random

import pytest

from dolmen.client import Client
from dolmen.protocol.block_messages import WriteSegment, decode_request
from dolmen.simulation import virtual_time
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.plan import Plan, client_name
from dolmen.simulation.trace import Trace

BLOCK_BYTES = 10 * 64 * 1024
DATA = Random(8).randbytes(2 * BLOCK_BYTES + 1000)
PATH = "/a"
ON_ONE_HOST = Plan(seed=1, datanodes=3, block_size_bytes=BLOCK_BYTES, one_host=True)

SLOW_BYTES_PER_S = 1e6
AHEAD_S = 0.2
"""Enough for a whole block, and not at SLOW_BYTES_PER_S."""


Watch = Callable[[SimCluster, str, WriteSegment], None]
"""Is shown each segment when it begins to arrive at a host."""


def write_on(plan: Plan, watch: Watch) -> int:
    """Write a file on a simulated cluster, and read it; return its fewest replicas."""

    async def main() -> int:
        fewest: list[int] = []
        cluster = SimCluster(plan, Trace(asyncio.get_running_loop().time))
        await cluster.start()

        def look(host: str, request: bytes) -> None:
            head = decode_request(request)
            if isinstance(head, WriteSegment):
                watch(cluster, host, head)

        async def work(client: Client) -> None:
            cluster.network.watch_exchanges(look)
            async with await client.open_writer(PATH) as writer:
                await writer.write(DATA)
            fewest.append(writer.fewest_replicas)
            assert await client.read_file(PATH) == DATA

        lives = cluster.add_client(0, work)
        await lives.start()
        assert lives.process is not None
        await lives.process.wait()
        cluster.check_invariants()
        await cluster.stop()
        assert cluster.found == []
        return fewest[0]

    return virtual_time.run(main())


class Segments:
    """The segments that arrived, and where."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, WriteSegment]] = []

    def __call__(self, cluster: SimCluster, host: str, head: WriteSegment) -> None:
        self.sent.append((host, head))


class Death:
    """One datanode of the first block soon has all of it, and dies, while it is still on its way to
    the others."""

    def __init__(self, position: int) -> None:
        self._position = position
        self._block_id = 0
        self._dying: asyncio.Task[None] | None = None

    def __call__(self, cluster: SimCluster, host: str, head: WriteSegment) -> None:
        self._block_id = self._block_id or head.block_id
        if head.block_id != self._block_id or self.has_struck:
            return
        if head.position != self._position:
            cluster.network.links.slow(client_name(0), host, 0.0, SLOW_BYTES_PER_S)
        elif head.offset_bytes + head.length_bytes == BLOCK_BYTES:
            death = self._die(cluster, host)
            self._dying = asyncio.get_running_loop().create_task(death, context=Context())

    @property
    def has_struck(self) -> bool:
        return self._dying is not None

    async def _die(self, cluster: SimCluster, host: str) -> None:
        await asyncio.sleep(AHEAD_S)
        await cluster.lives[host].kill()


@pytest.mark.parametrize("position", range(3))
def test_whoever_dies_is_left_behind_and_what_it_alone_had_is_sent_again(position: int) -> None:
    death = Death(position)
    assert write_on(ON_ONE_HOST, death) == 2
    assert death.has_struck


def test_a_writer_on_the_host_of_all_datanodes_sends_to_each_by_itself() -> None:
    segments = Segments()
    write_on(ON_ONE_HOST, segments)
    assert not any(head.passed_on for _, head in segments.sent)
    places = {(head.block_id, head.offset_bytes) for _, head in segments.sent}
    assert len(segments.sent) == 3 * len(places)
    for place in places:
        hosts = {
            (head.position, host)
            for host, head in segments.sent
            if (head.block_id, head.offset_bytes) == place
        }
        assert {position for position, _ in hosts} == {0, 1, 2}
        assert len({host for _, host in hosts}) == 3


@pytest.mark.parametrize("local_clients", [False, True])
def test_a_writer_on_the_host_of_one_datanode_or_none_sends_down_a_chain(
    local_clients: bool,
) -> None:
    segments = Segments()
    plan = Plan(seed=1, datanodes=3, block_size_bytes=BLOCK_BYTES, local_clients=local_clients)
    write_on(plan, segments)
    assert all(head.passed_on for _, head in segments.sent)
    assert {head.position for _, head in segments.sent} == {0, 1, 2}
