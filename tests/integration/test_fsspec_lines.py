"""What a synchronous program asks the namenode itself, over connections of its threads."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from dolmen.local_cluster import LocalCluster
from dolmen.protocol.identifiers import INFOS_LIMIT, LISTING_LIMIT
from dolmen.runtime.lines import LINES_MAX, loop_of_this_thread, run_here
from fsspec_plugin import DolmenFileSystem
from fsspec_plugin.synchronous import cross
from tests.integration.relay import Relay, relay_to

THREADS = 3 * LINES_MAX


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=1, replication=1) as cluster:
        yield cluster


@pytest.fixture
def relay(cluster: LocalCluster) -> Iterator[Relay]:
    with relay_to(cluster.filesystem().port) as relay:
        yield relay


@pytest.fixture
def fs(relay: Relay) -> Iterator[DolmenFileSystem]:
    """A filesystem that has reached its namenode, behind the relay."""
    fs = DolmenFileSystem("127.0.0.1", relay.port, skip_instance_cache=True)
    assert fs.ls("/") == []
    yield fs
    for entry in fs.ls("/", detail=False):
        fs.rm(entry, recursive=True)


def make_file(fs: DolmenFileSystem, path: str, content: bytes) -> None:
    with fs.open(path, "wb") as file:
        file.write(content)


def remove(fs: DolmenFileSystem) -> None:
    fs.rm_file("/f")
    assert not fs.exists("/f")


def rename(fs: DolmenFileSystem) -> None:
    fs.mv_file("/f", "/g")
    assert fs.cat_file("/g") == b"content"


def make_directory(fs: DolmenFileSystem) -> None:
    fs.mkdir("/d")
    assert fs.isdir("/d")


def store(fs: DolmenFileSystem) -> None:
    fs.pipe_file("/new", b"new", mode="create")
    assert fs.cat_file("/new") == b"new"


def set_mode(fs: DolmenFileSystem) -> None:
    fs.chmod("/f", 0o600)
    assert fs.info("/f")["mode"] == 0o600


CHANGES = [remove, rename, make_directory, store, set_mode]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_whose_replies_are_lost_is_done_once(
    fs: DolmenFileSystem, relay: Relay, change: Callable[[DolmenFileSystem], None]
) -> None:
    make_file(fs, "/f", b"content")
    relay.lose_replies(2)  # the one over the line, and the first of the loop
    change(fs)


def test_a_file_whose_replies_are_lost_is_published_once(
    fs: DolmenFileSystem, relay: Relay
) -> None:
    with fs.open("/f", "xb") as file:
        file.write(b"content")
        relay.lose_replies(1)
    assert fs.cat_file("/f") == b"content"


def test_a_question_whose_reply_is_lost_is_asked_again(fs: DolmenFileSystem, relay: Relay) -> None:
    make_file(fs, "/f", b"content")
    for _ in range(3):
        relay.lose_replies(1)
        assert fs.info("/f")["size"] == len(b"content")
        relay.lose_replies(1)
        assert fs.cat_file("/f") == b"content"


def test_a_synchronous_program_uses_one_connection_more(fs: DolmenFileSystem, relay: Relay) -> None:
    for number in range(20):
        make_file(fs, f"/{number}", b"content")
        assert fs.isfile(f"/{number}")
    assert relay.connections == 2


def test_many_threads_are_answered_each_for_itself(fs: DolmenFileSystem, relay: Relay) -> None:
    def work(number: int) -> bool:
        path, content = f"/{number}", b"%d" % number * number
        for _ in range(10):
            make_file(fs, path, content)
            assert fs.cat_file(path) == content
            assert fs.info(path)["size"] == len(content)
            fs.rm_file(path)
            assert not fs.exists(path)
        return True

    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(work, range(THREADS)))
    assert relay.connections <= 1 + LINES_MAX


def test_a_thread_whose_own_loop_runs_may_call(fs: DolmenFileSystem) -> None:
    async def cell_of_a_notebook() -> None:
        here = asyncio.get_running_loop()
        make_file(fs, "/f", b"content")
        with fs.open("/f") as file:
            assert file.read() == b"content"
        assert asyncio.get_running_loop() is here

    asyncio.run(cell_of_a_notebook())


def test_a_directory_of_several_pages_is_listed_whole(fs: DolmenFileSystem) -> None:
    names = [f"/d/{number:04d}" for number in range(LISTING_LIMIT + 50)]
    fs.pipe(dict.fromkeys(names[:LISTING_LIMIT], b""))
    assert fs.ls("/d", detail=False) == names[:LISTING_LIMIT]
    fs.pipe(dict.fromkeys(names[LISTING_LIMIT:], b"+"))
    assert fs.ls("/d", detail=False) == names
    assert [entry["size"] for entry in fs.ls("/d")] == [0] * LISTING_LIMIT + [1] * 50
    assert fs.ls("/d/0001") == [fs.info("/d/0001")]
    with pytest.raises(FileNotFoundError, match="/none"):
        fs.ls("/none")


def test_many_paths_are_asked_about_at_once(fs: DolmenFileSystem) -> None:
    url = fs.unstrip_protocol("/d")
    names = [f"/d/{number:03d}" for number in range(2 * INFOS_LIMIT + 1)]
    fs.pipe({name: b"x" * number for number, name in enumerate(names)})
    assert fs.sizes(names) == list(range(len(names)))
    found = fs.infos([*names, "/none", "/d/000/below", url])
    assert found[url]["name"] == url.removeprefix("dolmen://")
    assert list(found) == [*names, url]
    assert found["/d/007"] == fs.info("/d/007")
    with pytest.raises(FileNotFoundError, match="/none"):
        fs.sizes(["/d/000", "/none"])


def test_who_interrupts_a_call_may_call(fs: DolmenFileSystem) -> None:
    long = bytes(range(256)) * 10_000
    loop = fs.loop
    assert loop is not None

    async def call_in_which_garbage_is_collected() -> None:
        make_file(fs, "/short", b"content")
        make_file(fs, "/long", long)
        assert fs.info("/short")["size"] == len(b"content")
        assert fs.cat_file("/short") == b"content"
        with fs.open("/long") as file:
            assert file.read() == long
        fs.rm_file("/short")
        assert loop_of_this_thread() is loop

    run_here(loop, call_in_which_garbage_is_collected())


def test_what_is_interrupted_ends(fs: DolmenFileSystem) -> None:
    loop, interrupted, ended = fs.loop, threading.Event(), threading.Event()
    assert loop is not None

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    async def work() -> None:
        try:
            while not interrupted.is_set():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                await asyncio.sleep(0.01)
            await asyncio.Event().wait()
        finally:
            ended.set()

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            cross(loop, work)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended.wait(10)


def test_refusals_are_those_of_any_file_system(fs: DolmenFileSystem) -> None:
    make_file(fs, "/f", b"content")
    with pytest.raises(FileNotFoundError, match="/none"):
        fs.info("/none")
    with pytest.raises(FileExistsError, match="/f"):
        fs.open("/f", "xb")
    with pytest.raises(IsADirectoryError, match="/"):
        fs.open("/", "rb")
    with pytest.raises(FileExistsError, match="/f"):
        fs.pipe_file("/f", b"other", mode="create")
    assert fs.cat_file("/f", 1, -1) == b"onten"


def test_a_closed_filesystem_calls_over_new_connections(fs: DolmenFileSystem, relay: Relay) -> None:
    make_file(fs, "/f", b"content")
    before = relay.connections
    loop = fs.loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(fs.aclose(), loop).result()
    assert fs.cat_file("/f") == b"content"
    assert fs.cat_file("/f") == b"content"
    assert relay.connections == before + 2
