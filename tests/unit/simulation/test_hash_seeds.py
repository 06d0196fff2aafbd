"""A run is a function of its seed: the order of sets, which PYTHONHASHSEED changes, is no part."""

import os
import subprocess
import sys

PROGRAM = """
import asyncio
from random import Random

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.transport import Outgoing, body_of
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_network import Conditions, SimNetwork
from dolmen.simulation.sim_storage import SimStorage
from dolmen.simulation.sim_transport import SimTransport
from dolmen.simulation.trace import Trace


class Store:
    def __init__(self, disk, trace):
        self.disk, self.trace = disk, trace

    def open_session(self, peer_host):
        return self

    def closed(self):
        self.trace.record("server", "closed")

    async def answer(self, payload):
        await asyncio.sleep(0.001)
        return payload

    async def exchange(self, incoming):
        data = bytearray(incoming.body.length_bytes)
        await incoming.body.read_into(memoryview(data))
        await self.disk.write_file("/" + incoming.head.decode(), bytes(data))
        return Outgoing(b"stored")


async def main():
    random = Random(7)
    trace = Trace(asyncio.get_running_loop().time)
    network = SimNetwork(random, Conditions(reset_chance=0.02), trace)
    storage = SimStorage()
    hosts = [f"client-{number}" for number in range(10)]

    async def work(host):
        transport = SimTransport(network, host)
        for number in range(10):
            try:
                body = body_of(bytes(300_000))
                async with transport.exchange("server:1", f"{host}-{number}".encode(), body) as it:
                    trace.record(host, it.head.decode())
                connection = await transport.connect("server:1", 1)
                await asyncio.gather(*(connection.call(b"x", 1) for _ in range(5)))
                await connection.close()
            except PeerLost as error:
                trace.record(host, error.message)

    for life in range(5):
        disk = SimDisk(storage, f"server {life}")
        server = SimTransport(network, "server")
        await server.listen(Store(disk, trace), "server", 1)
        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(work(host))
            await asyncio.sleep(random.uniform(0.001, 0.02))
            server.abort()
            disk.kill()
            storage.crash(random)
            disk = SimDisk(storage, "look")
            trace.record("disk", " ".join(await disk.list_directory("/")))
    return trace.digest()


print(virtual_time.run(main()))
"""


def test_equal_seeds_give_equal_traces_under_different_hash_seeds() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "random")
    }
    assert len(digests) == 1
