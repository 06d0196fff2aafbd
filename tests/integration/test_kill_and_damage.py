"""What a killed namenode finds on its disk may be torn or damaged: mended, rebuilt or refused."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dolmen.protocol.errors import SafeMode
from namenode.core.edit_batches import BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES
from namenode.core.stamped_file import decode_stamped, encode_stamped
from namenode.store_directory import MAGIC, RunningMark
from tests.integration.real_cluster import IMPATIENT_S, RealCluster, content

FILES = {f"/d/{number}": content(number, 1000 + number) for number in range(25)}


async def fill(cluster: RealCluster) -> None:
    async with cluster.ready() as client:
        for path, data in FILES.items():
            await client.write_file(path, data)
        await client.rename("/d/0", "/renamed")
        await client.delete("/d/1")


async def check(cluster: RealCluster) -> None:
    async with cluster.ready() as client:
        expected = {path: data for path, data in FILES.items() if path not in ("/d/0", "/d/1")}
        expected["/renamed"] = FILES["/d/0"]
        found = [entry.path async for entry in client.walk_tree("/")]
        assert set(found) == {"/d", *expected}
        for path, data in expected.items():
            assert await client.read_file(path) == data
        await client.write_file("/after", b"it goes on")
        await client.delete("/after")


def segments(cluster: RealCluster) -> list[Path]:
    return sorted(path for path in (cluster.root / "namenode" / "edits").iterdir())


def append_garbage(cluster: RealCluster) -> None:
    with segments(cluster)[-1].open("ab") as stream:
        stream.write(os.urandom(1000))


def append_zeros(cluster: RealCluster) -> None:
    with segments(cluster)[-1].open("ab") as stream:
        stream.write(bytes(100_000))


def append_part_of_a_batch(cluster: RealCluster) -> None:
    data = segments(cluster)[-1].read_bytes()
    with segments(cluster)[-1].open("ab") as stream:
        stream.write(data[SEGMENT_HEADER_BYTES:][: BATCH_HEADER_BYTES + 6])


def damage_tables(damage: Callable[[Path], None]) -> Callable[[RealCluster], None]:
    def damaged(cluster: RealCluster) -> None:
        damage(cluster.root / "namenode" / "namespace" / "data.mdb")

    return damaged


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def zeroed(first: int, last: int | None) -> Callable[[Path], None]:
    def zero(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[first:last] = bytes(len(data[first:last]))
        file.write_bytes(data)

    return zero


def missing(file: Path) -> None:
    file.unlink()


def machine_crashed(cluster: RealCluster) -> None:
    """The mark says that the namenode ran before the machine was started again."""
    mark = cluster.root / "namenode" / "running"
    cluster_id, _ = decode_stamped(mark.read_bytes(), MAGIC, RunningMark)
    mark.write_bytes(encode_stamped(MAGIC, cluster_id, RunningMark("another")))
    garbage(cluster.root / "namenode" / "namespace" / "data.mdb")


def mark_damaged(cluster: RealCluster) -> None:
    (cluster.root / "namenode" / "running").write_bytes(os.urandom(100))


TAILS = (append_garbage, append_zeros, append_part_of_a_batch)
TABLES = (
    *(damage_tables(damage) for damage in (garbage, truncated, empty, missing)),
    *(damage_tables(zeroed(*ends)) for ends in ((0, 8192), (8192, None), (8192, 32768))),
)
STARTS = (machine_crashed, mark_damaged)


@pytest.mark.parametrize("damages", [TAILS, TABLES, STARTS], ids=["tails", "tables", "starts"])
@pytest.mark.parametrize("checkpoint_every", ["10", "200000"])
def test_what_a_killed_namenode_left_damaged_is_mended_and_all_is_there(
    tmp_path: Path, damages: tuple[Callable[[RealCluster], None], ...], checkpoint_every: str
) -> None:
    with RealCluster(tmp_path, 1, checkpoint_every=checkpoint_every) as cluster:
        asyncio.run(fill(cluster))
        for damage in damages:
            cluster.namenode.kill()
            damage(cluster)
            cluster.namenode.start()
            asyncio.run(check(cluster))
        cluster.namenode.stop()
        cluster.namenode.start()
        asyncio.run(check(cluster))


def test_tables_that_rot_while_the_namenode_is_stopped_cost_no_replica(tmp_path: Path) -> None:
    async def rot_of(cluster: RealCluster) -> list[tuple[bytes, int]]:
        async with cluster.ready() as client:
            (block,) = [block async for block in client.locate_blocks("/d/5")]
            return [(block.block_id.to_bytes(8, "big"), 6), (b"5", 0)]

    with RealCluster(tmp_path, 1) as cluster:
        asyncio.run(fill(cluster))
        tables = cluster.root / "namenode" / "namespace" / "data.mdb"
        for key, at in asyncio.run(rot_of(cluster)):
            cluster.namenode.stop()
            rotten = key[:at] + bytes([key[at] ^ 4]) + key[at + 1 :]
            tables.write_bytes(tables.read_bytes().replace(key, rotten))
            cluster.namenode.start()
            asyncio.run(check(cluster))


def test_a_namenode_refuses_a_log_with_a_byte_flipped_in_its_middle(tmp_path: Path) -> None:
    with RealCluster(tmp_path, 1) as cluster:
        asyncio.run(fill(cluster))
        cluster.namenode.kill()
        damaged = segments(cluster)[0]
        sound = damaged.read_bytes()
        at = len(sound) // 2
        damaged.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        cluster.namenode.start()
        assert str(damaged) in cluster.namenode.refusal()
        damaged.write_bytes(sound)
        cluster.namenode.start()
        asyncio.run(check(cluster))


def test_a_namenode_put_back_from_a_backup_deletes_nothing_that_is_newer(tmp_path: Path) -> None:
    newest, backup = tmp_path / "namenode", tmp_path / "backup"

    async def write(cluster: RealCluster, path: str) -> None:
        async with cluster.ready() as client:
            await client.write_file(path, b"content")

    async def look(cluster: RealCluster) -> None:
        async with cluster.client() as client, cluster.client(IMPATIENT_S) as impatient:
            await cluster.until(client, lambda now: now.live_datanodes == 1)
            assert await client.read_file("/old") == b"content"
            with pytest.raises(SafeMode, match="rolled back"):
                await impatient.delete("/old")
            assert (await client.report()).safe_mode
        assert len(cluster.all_files_on_disk()) == 2

    with RealCluster(tmp_path, 1) as cluster:
        asyncio.run(write(cluster, "/old"))
        cluster.namenode.stop()
        shutil.copytree(newest, backup)
        cluster.namenode.start()
        asyncio.run(write(cluster, "/new"))
        cluster.namenode.kill()
        newest.rename(tmp_path / "kept")
        backup.rename(newest)
        cluster.namenode.start()
        asyncio.run(look(cluster))
        cluster.namenode.kill()
        shutil.rmtree(newest)
        (tmp_path / "kept").rename(newest)
        cluster.namenode.start()
        asyncio.run(write(cluster, "/newer"))
