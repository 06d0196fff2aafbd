"""The hash of a file that grew, was cut and joined comes back, on real processes, over a death."""

import asyncio
from pathlib import Path

import xxhash

from dolmen.client import Client
from tests.integration.real_cluster import RealCluster, content, eventually

FIRST, MORE = content(1, 700_000), content(2, 300_000)


async def hashed_as(client: Client, path: str, data: bytes) -> None:
    """Return when the file has a hash, which is that of these bytes."""

    async def has_hash() -> bool:
        return bool((await client.info(path)).content_hash)

    await eventually(has_hash)
    assert (await client.info(path)).content_hash == xxhash.xxh3_128_digest(data)


async def grow_cut_and_join(cluster: RealCluster) -> None:
    async with cluster.ready() as client:
        await client.write_file("/a", FIRST)
        async with await client.open_appender("/a") as writer:
            await writer.write(MORE)
        await hashed_as(client, "/a", FIRST + MORE)
        cluster.datanodes[0].kill()
        await client.truncate("/a", 650_000)
        await hashed_as(client, "/a", FIRST[:650_000])
        await client.write_file("/b", MORE)
        await client.concat("/b", ["/a"])
        cluster.namenode.kill()
        cluster.namenode.start()
        await hashed_as(client, "/b", MORE + FIRST[:650_000])


def test_the_hash_of_a_file_that_grew_was_cut_or_joined_comes_back(tmp_path: Path) -> None:
    with RealCluster(tmp_path, hash_after="10ms", block_size="256KiB") as cluster:
        asyncio.run(grow_cut_and_join(cluster))
        cluster.shell.output("get", "/b", tmp_path / "b")
        printed = cluster.shell.output("checksum", "/b")
    assert printed.split()[0] == xxhash.xxh3_128_hexdigest((tmp_path / "b").read_bytes())
