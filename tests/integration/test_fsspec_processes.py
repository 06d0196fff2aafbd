"""One filesystem in many processes, threads and event loops."""

import asyncio
import gc
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import fsspec.asyn
import pytest
from dask.base import tokenize

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem

DATA = bytes(range(256)) * 20_000
FORK_WARNING = "ignore::DeprecationWarning"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=2, replication=2, block_size="1MiB") as cluster:
        yield cluster


@pytest.fixture
def fs(cluster: LocalCluster) -> Iterator[DolmenFileSystem]:
    fs = cluster.filesystem()
    fs.pipe_file("/f", DATA)
    yield fs
    for entry in fs.ls("/", detail=False):
        fs.rm(entry, recursive=True)


def run_python(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        # Python 3.12 and later warn of any fork in a process with threads.
        [*(sys.executable, "-W", "error", "-W", FORK_WARNING, "-c"), source, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": root},
        check=False,
    )


# ---------------------------------------------------------------- fork

inherited: dict[str, Any] = {}


def use_what_was_inherited(start: int) -> tuple[bool, bool, bool, str]:
    file, fs = inherited["file"], inherited["fs"]
    file.seek(start)
    same_bytes = file.read(1_000_000) == DATA[start : start + 1_000_000]
    fresh = fsspec.filesystem("dolmen", host=fs.host, port=fs.port)
    with pytest.raises(OSError, match="forked") as caught:
        inherited["writing"].write(b"from the child")
    return same_bytes, fs.cat_file("/f") == DATA, fresh.isfile("/f"), type(caught.value).__name__


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_process_uses_what_it_inherited(fs: DolmenFileSystem) -> None:
    with fs.open("/f") as file, fs.open("/written", "wb") as writing:
        file.read(1000)
        writing.write(b"from the parent")
        inherited.update(fs=fs, file=file, writing=writing)
        with fsspec.asyn.get_lock(), multiprocessing.get_context("fork").Pool(2) as pool:
            answers = pool.map(use_what_was_inherited, [0, 1, 70_000, 3_000_000])
        assert answers == [(True, True, True, "OSError")] * 4
        assert file.read(1000) == DATA[1000:2000]
    inherited.clear()
    assert fs.cat_file("/written") == b"from the parent"
    assert fs.cat_file("/f") == DATA


def test_a_child_that_ends_leaves_the_connections_of_its_parent_alone(
    fs: DolmenFileSystem,
) -> None:
    source = (
        "import os, sys, fsspec\n"
        "fs, path = fsspec.core.url_to_fs(sys.argv[1])\n"
        "data = fs.cat_file(path)\n"
        "reading, writing = fs.open(path), fs.open('/written', 'wb')\n"
        "reading.read(10); writing.write(data)\n"
        "for uses in (True, False):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        assert not uses or fs.cat_file(path) == data\n"
        "        sys.exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "assert reading.read() == data[10:]\n"
        "writing.close()\n"
    )
    done = run_python(source, fs.unstrip_protocol("/f"))
    assert (done.stderr, done.returncode) == ("", 0)
    assert fs.cat_file("/written") == DATA


# ---------------------------------------------------------------- identity


def test_every_spelling_of_a_cluster_is_one_instance(fs: DolmenFileSystem) -> None:
    host, port = fs.host, fs.port
    same = [
        fsspec.filesystem("dolmen", host=host, port=str(port)),
        fsspec.filesystem("dolmen", host=f"{host}:{port}"),
        DolmenFileSystem(host, port),
        fsspec.core.url_to_fs(f"dolmen://{host}:{port}/x")[0],
        fsspec.core.url_to_fs(f"dolmen://{host}:{port}/x", host=host, port=port)[0],
        pickle.loads(pickle.dumps(fs)),
        fsspec.AbstractFileSystem.from_json(fs.to_json()),
    ]
    assert all(one is fs for one in same)
    assert len(pickle.dumps(fs)) < 200
    twin = fsspec.AbstractFileSystem.from_dict(fs.to_dict() | {"asynchronous": True})
    assert (twin.asynchronous, twin.authority) == (True, fs.authority)


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_filesystem_that_is_garbage_closes_its_connections(fs: DolmenFileSystem) -> None:
    alone = DolmenFileSystem(fs.host, fs.port, skip_instance_cache=True)
    assert alone is not fs
    assert alone.cat_file("/f", 0, 10) == DATA[:10]
    del alone
    gc.collect()
    assert fs.exists("/f")


def test_tokens_are_equal_in_all_processes(fs: DolmenFileSystem) -> None:
    source = (
        "import sys, fsspec, dask.base\n"
        "fs, path = fsspec.core.url_to_fs(sys.argv[1])\n"
        "print(dask.base.tokenize(fs), fs.ukey(path), fs.checksum(path), fs.fsid)"
    )
    done = run_python(source, fs.unstrip_protocol("/f"))
    assert done.stderr == ""
    assert done.stdout.split() == [
        tokenize(fs),
        fs.ukey("/f"),
        str(fs.checksum("/f")),
        fs.fsid,
    ]


def test_the_address_comes_from_the_environment_last(fs: DolmenFileSystem) -> None:
    source = (
        "import json, sys, fsspec, os\n"
        "fs = fsspec.filesystem('dolmen', **json.loads(sys.argv[1]))\n"
        "print(fs.authority, 'aiohttp' in sys.modules)"
    )

    def authority(options: dict[str, Any], **environment: str) -> str:
        assignments = "".join(f"os.environ[{k!r}] = {v!r}\n" for k, v in environment.items())
        done = run_python(f"import os\n{assignments}{source}", json.dumps(options))
        assert done.stderr == ""
        address, has_aiohttp = done.stdout.split()
        assert has_aiohttp == "False"
        return address

    url = {"DOLMEN_URL": "dolmen://from-url:1"}
    config = {"FSSPEC_DOLMEN_HOST": '"from-config"', "FSSPEC_DOLMEN_PORT": "2"}
    with ThreadPoolExecutor(4) as pool:
        found = [
            pool.submit(authority, {}),
            pool.submit(authority, {}, **url),
            pool.submit(authority, {}, **url, **config),
            pool.submit(authority, {"host": "named", "port": "3"}, **url, **config),
            pool.submit(authority, {"host": "named"}, **url, **config),
            pool.submit(authority, {"port": 3}, **url, **config),
        ]
        assert [one.result() for one in found] == [
            "127.0.0.1:9870",
            "from-url:1",
            "from-config:2",
            "named:3",
            "named:9870",
            "from-config:3",
        ]


# ---------------------------------------------------------------- the end of the interpreter


def test_an_interpreter_ends_at_once_with_open_files(fs: DolmenFileSystem) -> None:
    source = (
        "import sys, fsspec\n"
        "reading = fsspec.open(sys.argv[1], 'rb').open()\n"
        "reading.read(10)\n"
        "fs = reading.fs\n"
        "writing = fs.open('/never', 'wb')\n"
        "writing.write(b'x' * 3_000_000)\n"
        "text = fs.open('/never', 'w')\n"
        "text.write('x' * 3_000_000)\n"
        "import time; print(time.time())\n"
    )
    done = run_python(source, fs.unstrip_protocol("/f"))
    assert time.time() - float(done.stdout) < 3
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Unclosed" not in done.stderr
    assert not fs.exists("/never")


# ---------------------------------------------------------------- event loops


def test_one_asynchronous_instance_works_on_one_loop_after_the_other(
    fs: DolmenFileSystem,
) -> None:
    twin = DolmenFileSystem(fs.host, fs.port, asynchronous=True)

    async def use() -> bytes:
        assert await twin._exists("/f")
        return await twin._cat_file("/f", 5, 10)

    assert asyncio.run(use()) == DATA[5:10]
    assert asyncio.run(use()) == DATA[5:10]
    with pytest.raises(RuntimeError, match="open_async"):
        twin.open("/f")
    with pytest.raises(RuntimeError, match="not running"):
        twin.exists("/f")


async def spoil(opened: Any) -> None:
    async with opened as file:
        await file.write(DATA)
        raise RuntimeError("spoilt")


def test_files_can_be_read_and_written_by_coroutines(fs: DolmenFileSystem) -> None:
    twin = DolmenFileSystem(fs.host, fs.port, asynchronous=True)

    async def copy() -> None:
        async with await twin.open_async("/f") as source:
            assert await source.read(3) == DATA[:3]
            async with await twin.open_async("/copy", "wb") as target:
                await target.write(DATA[:3])
                async for piece in source:
                    await target.write(piece)
        with pytest.raises(RuntimeError, match="spoilt"):
            await spoil(await twin.open_async("/spoilt", "wb"))
        with pytest.raises(FileExistsError):
            await twin.open_async("/copy", "xb")
        with pytest.raises(FileNotFoundError):
            await twin.open_async("/spoilt")
        await twin.aclose()
        assert await twin._isfile("/copy")

    asyncio.run(copy())
    assert fs.cat_file("/copy") == DATA


def test_a_synchronous_call_works_inside_a_foreign_loop_and_from_many_threads(
    fs: DolmenFileSystem,
) -> None:
    async def as_in_a_notebook() -> bytes:
        with fs.open("/f") as file:
            return bytes(file.read(100))

    assert asyncio.run(as_in_a_notebook()) == DATA[:100]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: fs.cat_file("/f") == DATA, range(32)))
