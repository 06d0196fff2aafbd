"""Datanodes that leave and rest while real processes read and write, and safe mode by hand."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest

from dolmen.client import Client
from dolmen.protocol.errors import SafeMode
from dolmen.protocol.operator_messages import ClusterReport, DatanodeReport, SafeModeAction
from tests.integration.real_cluster import (
    IMPATIENT_S,
    RealCluster,
    Server,
    content,
    eventually,
    is_whole,
)

LENGTH_BYTES = 700_000
FILES = 12
ROUNDS_AT_LEAST = 3
"""Written while a datanode leaves, and after it has: both sides of that moment are seen."""


def report_of(report: ClusterReport, server: Server) -> DatanodeReport:
    return next(d for d in report.datanodes if d.address == server.address)


class Load:
    """Writes files and reads them back, until told to end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.written: dict[str, bytes] = {}
        self.reads = 0

    async def write(self, name: str) -> None:
        data = content(len(self.written), LENGTH_BYTES)
        await self._client.write_file(name, data)
        self.written[name] = data

    async def keep_writing(self) -> None:
        number = 0
        while True:
            await self.write(f"/under-load/{number}")
            number += 1

    async def keep_reading(self) -> None:
        while True:
            for name in list(self.written):
                await self.check(name)

    async def check(self, name: str) -> None:
        assert await self._client.read_file(name) == self.written[name], name
        self.reads += 1

    async def more(self, count: int) -> None:
        """Wait until so many more were written and read."""
        files, reads = len(self.written) + count, self.reads + count

        async def done() -> bool:
            return len(self.written) >= files and self.reads >= reads

        await eventually(done)


async def _end(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        assert not task.done() or task.exception() is None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_a_datanode_leaves_under_load_and_every_byte_is_read_without_it(tmp_path: Path) -> None:
    async def scenario(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            load = Load(client)
            for number in range(FILES):
                await load.write(f"/before/{number}")
            tasks = [
                asyncio.create_task(load.keep_writing()),
                asyncio.create_task(load.keep_reading()),
            ]
            leaving = cluster.datanodes[0]
            await client.operator.set_admin_state(leaving.address, "DECOMMISSIONING")
            await load.more(ROUNDS_AT_LEAST)
            await cluster.until(
                client, lambda now: report_of(now, leaving).admin_state == "DECOMMISSIONED", 60
            )
            await load.more(ROUNDS_AT_LEAST)
            leaving.kill()
            await load.more(ROUNDS_AT_LEAST)
            await _end(tasks)
            await cluster.until(client, lambda now: is_whole(now) and not now.dead_datanodes)
            for name in load.written:
                await load.check(name)
        fsck = json.loads(cluster.shell.output("fsck", "--json").splitlines()[-1])
        assert fsck["verdict"] == "HEALTHY"

    with RealCluster(tmp_path, datanodes=4) as cluster:
        asyncio.run(scenario(cluster))


def test_a_restart_in_maintenance_copies_nothing(tmp_path: Path) -> None:
    async def scenario(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            load = Load(client)
            for number in range(FILES):
                await load.write(f"/f{number}")
            await cluster.until_healed(client)
            resting = cluster.datanodes[1]
            done = cluster.shell.output("admin", "maintenance", "--wait", resting.address)
            assert done == f"{resting.address} is MAINTENANCE: no block needs it\n"
            resting.stop()
            report = await cluster.until(
                client, lambda now: report_of(now, resting).state == "DEAD"
            )
            assert is_whole(report), "what it has counts although it is away"
            for name in load.written:
                await load.check(name)
            resting.start()
            await cluster.until(client, lambda now: report_of(now, resting).state == "LIVE")
            cluster.shell.output("admin", "recommission", resting.address)
            await cluster.until_healed(client)
            await cluster.until_disks_hold(3 * FILES)

    with RealCluster(tmp_path, datanodes=4) as cluster:
        asyncio.run(scenario(cluster))


def test_who_had_left_can_serve_again_and_what_is_too_many_goes(tmp_path: Path) -> None:
    async def scenario(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            load = Load(client)
            for number in range(FILES):
                await load.write(f"/f{number}")
            address = cluster.datanodes[2].address
            left = cluster.shell.output("admin", "decommission", "--wait", "--json", address)
            assert json.loads(left)["admin_state"] == "DECOMMISSIONED"
            again = json.loads(cluster.shell.output("admin", "recommission", "--json", address))
            assert again["admin_state"] == "IN_SERVICE"
            await cluster.until_healed(client)
            await cluster.until_disks_hold(3 * FILES)
            for name in load.written:
                await load.check(name)

    with RealCluster(tmp_path, datanodes=4) as cluster:
        asyncio.run(scenario(cluster))


def test_safe_mode_and_checkpoints_by_hand(tmp_path: Path) -> None:
    async def scenario(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            load = Load(client)
            await load.write("/f")
            entered = json.loads(cluster.shell.output("safemode", "enter", "--json"))
            assert entered["on"]
            assert "entered by hand" in cluster.shell.output("safemode", "get")
            assert "entered by hand" in cluster.shell.output("report")
            async with cluster.client(IMPATIENT_S) as hasty:
                with pytest.raises(SafeMode, match="entered by hand"):
                    await hasty.make_directory("/d")
            await load.check("/f")
            waiting = cluster.shell.start("safemode", "get", "--wait")
            assert cluster.shell.output("safemode", "leave") == "off\n"
            assert waiting.communicate()[0] == b"off\n"
            assert not (await client.operator.safe_mode(SafeModeAction.GET)).on
            await client.make_directory("/d")
            written = json.loads(cluster.shell.output("admin", "checkpoint", "--json"))
            cluster.namenode.kill()
            cluster.namenode.start()
            await cluster.until(client, lambda now: not now.safe_mode)
            await load.check("/f")
            assert written["txid"] > 0
            assert cluster.shell.output("admin", "checkpoint").startswith("the checkpoint holds")

    with RealCluster(tmp_path) as cluster:
        asyncio.run(scenario(cluster))


def test_an_unknown_datanode_is_refused_and_the_others_are_named(tmp_path: Path) -> None:
    async def scenario(cluster: RealCluster) -> None:
        async with cluster.ready():
            for verb in ("decommission", "recommission", "maintenance"):
                done = cluster.shell("admin", verb, "nowhere:1")
                assert done.returncode == 4
                assert cluster.datanodes[0].address in done.stderr.decode()

    with RealCluster(tmp_path, datanodes=1) as cluster:
        asyncio.run(scenario(cluster))
