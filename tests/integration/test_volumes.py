"""Disks that fill up, vanish, turn read-only and are replaced, under real processes."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dolmen.client import Client
from dolmen.protocol.errors import NoSpace, NoSuchPath
from dolmen.protocol.operator_messages import ClusterReport, DatanodeReport
from fsspec_plugin import DolmenFileSystem
from tests.integration.real_cluster import IMPATIENT_S, RealCluster, content, eventually, pieces
from tests.integration.tmpfs import SmallDisk, SmallDisks

MIB = 1 << 20

#: A bit more than three blocks of 1 MiB.
DATA = content(1, 3 * MIB + 777)


class Disks:
    """A cluster whose datanodes have a small disk each, and the first one perhaps a second."""

    def __init__(self, root: Path, small: SmallDisks, datanodes: int = 4, second: int = 0) -> None:
        self.cluster = RealCluster(root / "cluster", datanodes, volume_check_interval="200ms")
        self._small = small
        self.disks = [self.plug_in(f"datanode-{index}", 24) for index in range(datanodes)]
        self.second: SmallDisk | None = None
        if second:
            self.second = self.plug_in("second", second)
            words = ("--dir", self.cluster.root / "second")
            self.cluster.datanodes[0] = self.cluster.make_datanode(0, *words)

    def plug_in(self, name: str, size_mib: int) -> SmallDisk:
        return self._small.plug_in(self.cluster.root / name, size_mib)

    def run(self, test: Callable[[Client], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with self.cluster.ready() as client:
                await test(client)

        with self.cluster:
            asyncio.run(whole())

    async def until_first(self, client: Client, holds: Callable[[DatanodeReport], bool]) -> None:
        """Wait until this holds for the first datanode."""
        await self.cluster.until(client, lambda now: holds(first_of(now)))

    async def until_nothing_is_being_written(self) -> None:
        async def nothing() -> bool:
            return not any(
                path
                for disk in [*self.disks, *([self.second] if self.second else [])]
                for path in disk.contents.rglob("being_written/**/*")
                if path.is_file()
            )

        await eventually(nothing, lambda: "files are left that nobody finishes")

    async def story_of_the_first_has(self, words: str) -> None:
        async def said() -> bool:
            return words in self.cluster.datanodes[0].log.read_text()

        await eventually(said, lambda: f"{words!r} was not said")


def first_of(report: ClusterReport) -> DatanodeReport:
    return next(one for one in report.datanodes if one.host == "datanode-0")


async def write_and_fill(client: Client, path: str, full: list[SmallDisk]) -> None:
    """Write, and let the disks become full when half of it is taken."""
    async with await client.open_writer(path) as writer:
        for piece in pieces(DATA):
            before, half = writer.length_bytes, len(DATA) // 2
            await writer.write(piece)
            if before < half <= writer.length_bytes:
                for disk in full:
                    disk.fill(leave_bytes=100_000)


def write_by_fsspec(address: str) -> None:
    host, port = address.split(":")
    DolmenFileSystem(host, int(port), retry_for="1s").pipe_file("/f", DATA)


def test_a_file_that_meets_one_full_disk_is_finished_elsewhere(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    rig = Disks(tmp_path, small_disks)

    async def test(client: Client) -> None:
        await write_and_fill(client, "/f", rig.disks[:1])
        await write_and_fill(client, "/g", [])
        for path in ("/f", "/g"):
            assert await client.read_file(path) == DATA
        await rig.cluster.until_healed(client)
        await rig.until_nothing_is_being_written()
        await rig.until_first(client, lambda now: now.capacity_bytes > 0)

    rig.run(test)


def test_when_no_disk_has_room_the_writer_hears_so_and_nothing_half_written_stays(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    rig = Disks(tmp_path, small_disks, datanodes=3)

    async def test(client: Client) -> None:
        await client.write_file("/before", DATA)
        async with rig.cluster.client(IMPATIENT_S) as impatient:
            with pytest.raises(NoSpace) as caught:
                await write_and_fill(impatient, "/f", rig.disks)
            assert caught.value.errno == errno.ENOSPC
            await rig.cluster.until(client, lambda now: now.free_bytes < MIB)
            with pytest.raises(NoSpace, match="bytes, and no datanode has more than"):
                await impatient.write_file("/g", DATA)
        with pytest.raises(OSError, match="no datanode has more than") as told:
            await asyncio.to_thread(write_by_fsspec, rig.cluster.address)
        assert told.value.errno == errno.ENOSPC
        with pytest.raises(NoSuchPath):
            await client.info("/f")
        assert await client.read_file("/before") == DATA
        await rig.until_nothing_is_being_written()
        for disk in rig.disks:
            disk.empty()
        await client.write_file("/f", DATA)
        assert await client.read_file("/f") == DATA

    rig.run(test)


def test_a_disk_that_is_unmounted_costs_its_replicas_until_it_is_back(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    rig = Disks(tmp_path, small_disks, datanodes=3)

    async def test(client: Client) -> None:
        await client.write_file("/f", DATA)
        await rig.cluster.until_healed(client)
        rig.disks[0].pull_out()
        await rig.until_first(client, lambda now: now.capacity_bytes == 0)
        assert list(rig.disks[0].path.iterdir()) == []
        await client.write_file("/g", DATA)
        assert await client.read_file("/f") == DATA
        assert list(rig.disks[0].path.iterdir()) == []
        rig.disks[0].plug_in()
        await rig.until_first(client, lambda now: now.capacity_bytes > 0)
        await rig.cluster.until_healed(client)
        assert not list(rig.disks[0].contents.rglob("quarantine/*"))
        assert not list(rig.disks[0].contents.rglob("*.damaged"))
        assert await client.read_file("/f") == DATA

    rig.run(test)


def test_a_disk_that_turns_read_only_while_files_are_written_serves_and_takes_nothing(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    rig = Disks(tmp_path, small_disks)

    async def test(client: Client) -> None:
        small = content(2, 100_000)
        turning = asyncio.create_task(asyncio.to_thread(rig.disks[0].make_read_only))
        written = 0
        while not turning.done() or written % 5:
            await client.write_file(f"/{written}", small)
            written += 1
        await turning
        for number in range(written, written + 5):
            await client.write_file(f"/{number}", small)
        await rig.until_first(client, lambda now: now.free_bytes == 0 < now.capacity_bytes)
        for number in range(written + 5):
            assert await client.read_file(f"/{number}") == small
        rig.disks[0].make_writable()
        await rig.until_first(client, lambda now: now.free_bytes > 0)

    rig.run(test)


def test_an_empty_disk_in_place_of_the_second_one_is_filled_again(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    rig = Disks(tmp_path, small_disks, datanodes=3, second=24)

    async def test(client: Client) -> None:
        assert rig.second is not None
        for number in range(4):
            await client.write_file(f"/{number}", DATA)
        await rig.cluster.until_healed(client)
        both = first_of(await client.report()).capacity_bytes
        assert list(rig.second.contents.rglob("*.block"))
        rig.second.pull_out()
        await rig.until_first(client, lambda now: now.capacity_bytes < both)
        new = rig.plug_in("second", 32)
        await rig.until_first(client, lambda now: now.capacity_bytes > both)
        assert (new.contents / "volumes" / "0" / "VERSION").exists()
        await rig.cluster.until_healed(client)
        for number in range(4):
            assert await client.read_file(f"/{number}") == DATA

    rig.run(test)


def test_a_restart_with_one_of_two_volumes_unreadable_serves_the_other(
    tmp_path: Path, small_disks: SmallDisks
) -> None:
    rig = Disks(tmp_path, small_disks, datanodes=3, second=24)

    async def test(client: Client) -> None:
        assert rig.second is not None
        for number in range(4):
            await client.write_file(f"/{number}", DATA)
        await rig.cluster.until_healed(client)
        both = first_of(await client.report()).capacity_bytes
        rig.cluster.datanodes[0].stop()
        version = rig.second.contents / "volumes" / "0" / "VERSION"
        identity = version.read_bytes()
        version.write_bytes(b"\0" * len(identity))
        rig.cluster.datanodes[0].start()
        await rig.story_of_the_first_has("VERSION is not a volume's VERSION file")
        await rig.until_first(client, lambda now: 0 < now.capacity_bytes < both)
        await rig.cluster.until_healed(client)
        version.write_bytes(identity)
        await rig.until_first(client, lambda now: now.capacity_bytes == both)
        await rig.cluster.until_healed(client)
        for number in range(4):
            assert await client.read_file(f"/{number}") == DATA

    rig.run(test)
