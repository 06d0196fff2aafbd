"""Real processes of one host: datanodes pass the files of replicas to who reads there."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import pytest

from dolmen.client import Client
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.errors import AccessDenied, StaleHandle, to_error
from dolmen.protocol.passing_messages import (
    FromDatanode,
    OpenReplica,
    ReplicaRefused,
    decode_from_datanode,
    encode_message,
    name_of,
)
from dolmen.runtime.file_passing import PassedFile
from dolmen.runtime.unix_file_passing import UnixFilePassing
from tests.integration.real_cluster import RealCluster, content, eventually

DATA = content(5, 3_000_000)
"""Three blocks."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    root = tmp_path_factory.mktemp("local") / "cluster"
    with RealCluster(root, block_token_life="60s") as cluster:
        yield cluster


async def opened(client: Client, path: str) -> None:
    """Write a file, and read it until all of it was read locally."""
    await client.write_file(path, DATA)

    async def all_read_locally() -> bool:
        before = client.local_reads.read_bytes
        assert await client.read_file(path) == DATA
        return client.local_reads.read_bytes - before == len(DATA)

    await eventually(all_read_locally)


def test_what_is_deleted_is_given_up_and_was_read_until_then(tmp_path: Path) -> None:
    async def main(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            await opened(client, "/deleted")
            reader = await client.open_reader("/deleted")
            await client.delete("/deleted")
            assert await reader.read_at(0, len(DATA)) == DATA
            await cluster.until_disks_hold(0)
            assert reader.read_at_hand(0, 10) is None
            assert not open_blocks()
            with pytest.raises(StaleHandle):
                await reader.read_at(0, len(DATA))

    with RealCluster(tmp_path / "cluster") as cluster:
        asyncio.run(main(cluster))


def open_blocks() -> list[Path]:
    """The data files of replicas that this process has open."""
    files = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            files.append(link.readlink())
        except FileNotFoundError:
            continue  # the one of this listing
    return [file for file in files if ".block" in file.name]


def spoil(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(CHUNK_BYTES + 7)
        stream.write(b"!!!!")


def test_who_has_a_file_open_that_grows_and_is_cut_keeps_its_bytes(cluster: RealCluster) -> None:
    async def main() -> None:
        async with cluster.ready() as client:
            await opened(client, "/grows")
            reader = await client.open_reader("/grows")
            async with await client.open_appender("/grows") as writer:
                await writer.write(b"more")
            assert await reader.read_at(0, len(DATA) + 9) == DATA
            assert await client.read_file("/grows") == DATA + b"more"
            await client.truncate("/grows", 100)
            assert await reader.read_at(0, len(DATA) + 9) == DATA
            assert await client.read_file("/grows") == DATA[:100]

    asyncio.run(main())


def test_bytes_that_change_under_an_open_file_are_not_read(cluster: RealCluster) -> None:
    async def main() -> None:
        async with cluster.ready() as client:
            await opened(client, "/rots")
            reader = await client.open_reader("/rots")
            assert await reader.read_at(0, len(DATA)) == DATA
            spoiled = open_blocks()
            for file in spoiled:
                spoil(file)
            assert reader.read_at_hand(CHUNK_BYTES, 100) is None
            assert await reader.read_at(0, len(DATA)) == DATA
            assert not set(spoiled) & set(open_blocks()), "they are read no longer"

    asyncio.run(main())


def test_readers_go_on_when_datanodes_are_stopped_and_killed(tmp_path: Path) -> None:
    async def main(cluster: RealCluster) -> None:
        async with cluster.ready() as client:
            await opened(client, "/file")
            reader = await client.open_reader("/file")
            for datanode in cluster.datanodes:
                datanode.pause()
            assert await reader.read_at(0, len(DATA)) == DATA
            for datanode in cluster.datanodes:
                datanode.resume()
            cluster.datanodes[0].pause()
            async with cluster.client() as another:
                assert await another.read_file("/file") == DATA
            cluster.datanodes[0].kill()
            cluster.datanodes[1].kill()
            assert await reader.read_at(0, len(DATA)) == DATA

    with RealCluster(tmp_path / "cluster", block_token_life="30s") as cluster:
        asyncio.run(main(cluster))


def test_a_setting_turns_it_off(cluster: RealCluster) -> None:
    async def read_by(**options: str) -> int:
        async with cluster.ready() as client:
            await client.write_file("/off", DATA)
        fs = fsspec.filesystem("dolmen", host=cluster.address, asynchronous=True, **options)
        async with fs:
            client = await fs._client()
            assert await client.read_file("/off") == DATA
            assert await client.read_file("/off") == DATA
            return int(client.local_reads.opened)

    assert asyncio.run(read_by(short_circuit="off")) == 0
    assert asyncio.run(read_by()) > 0


class Heard:
    """Hears what a datanode says."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[FromDatanode, Sequence[PassedFile]]] = asyncio.Queue()

    def received(self, payload: bytes, files: Sequence[PassedFile]) -> None:
        self.messages.put_nowait((decode_from_datanode(payload), files))

    def lost(self) -> None:
        """Nothing is waited for then."""


def test_who_has_no_token_is_passed_nothing_and_figures_say_so(cluster: RealCluster) -> None:
    async def main() -> None:
        async with cluster.ready() as client:
            await opened(client, "/mine")
            block = await anext(aiter(client.locate_blocks("/mine")))
            heard = Heard()
            passing = UnixFilePassing()
            channel = await passing.connect(name_of(block.replicas[0].datanode_id), heard)
            # The bare token is what others might have seen: it has to be proved.
            channel.send(encode_message(OpenReplica(1, block.token, block.block_id, block.stamp)))
            message, files = await heard.messages.get()
            assert isinstance(message, ReplicaRefused)
            assert isinstance(to_error(message.refusal), AccessDenied)
            assert not files
            channel.close()
            page = await asyncio.to_thread(metrics_of, block.replicas[0].address)
            assert "dolmen_datanode_short_circuit_refused_total" in page
            assert "dolmen_datanode_short_circuit_passed_total" in page

    asyncio.run(main())


def metrics_of(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
        return str(page.read(), "utf-8")


FORKING = """
import json, os, sys
import fsspec

def open_blocks():
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            pass
    return [link for link in found if ".block" in link]

fs = fsspec.filesystem("dolmen", host=sys.argv[1])
size = fs.size("/forked")
with fs.open("/forked", "rb") as file:
    for _ in range(3):
        file.seek(0)
        before = file.read()
    parent = len(open_blocks())
    reads, writes = os.pipe()
    if not os.fork():
        inherited = len(open_blocks())
        file.seek(0)
        same = file.read() == before
        os.write(writes, json.dumps([inherited, same]).encode())
        os._exit(0)
    os.wait()
    inherited, same = json.loads(os.read(reads, 1000))
    file.seek(size - 10)
    after = file.read() == before[-10:]
print(json.dumps([parent, inherited, same, after]))
"""


def test_a_forked_child_does_not_use_what_its_parent_was_passed(cluster: RealCluster) -> None:
    async def prepare() -> None:
        async with cluster.ready() as client:
            await client.write_file("/forked", DATA)

    asyncio.run(prepare())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, cluster.address],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parent, inherited, same, after = json.loads(done.stdout)
    assert parent == 3
    assert inherited == 0
    assert same
    assert after
