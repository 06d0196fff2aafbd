"""A namenode is killed again and again while files are made and changed whose bytes it keeps."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import fsspec
import pytest

from fsspec_plugin import DolmenFileSystem
from tests.integration.real_cluster import RealCluster, content

LIMIT = 8192
EDGES = (0, 1, LIMIT - 1, LIMIT, LIMIT + 1)
THREADS = 4
KILLS = 2
STEPS_BETWEEN = 15

Contents = dict[str, bytes]


@dataclass
class Diary:
    """What one thread was told is done, and what it is doing."""

    done: Contents = field(default_factory=dict)
    doing: Contents = field(default_factory=dict)
    """As `done` will be after the step that is under way."""


class Steps:
    """Counts the steps of all threads, until there are enough."""

    def __init__(self) -> None:
        self._taken = itertools.count(1)
        self._wanted = 0
        self._reached = threading.Event()
        self.enough = threading.Event()

    def take(self) -> None:
        """One more step was taken."""
        if next(self._taken) >= self._wanted:
            self._reached.set()

    def wait_for(self, count: int) -> None:
        """Return when so many were taken, in all."""
        self._wanted = count
        self._reached.clear()
        assert self._reached.wait(60)


def step(fs: DolmenFileSystem, random: Random, path: str, diary: Diary) -> None:
    """Make a file whose length is at an edge of the limit, or change one."""
    data = content(random.getrandbits(20), random.choice(EDGES))
    there = sorted(diary.done)
    what = random.random()
    if there and what < 0.2:
        del diary.doing[victim := random.choice(there)]
        fs.rm_file(victim)
    elif there and what < 0.3:
        diary.doing[grown := random.choice(there)] += data
        with fs.open(grown, "ab") as file:
            file.write(data)
    elif there and what < 0.4:
        cut = random.choice(there)
        length = random.randint(0, len(diary.doing[cut]))
        diary.doing[cut] = diary.doing[cut][:length]
        fs.truncate(cut, length)
    elif there and what < 0.5:
        diary.doing[path] = diary.doing.pop(moved := random.choice(there))
        fs.mv_file(moved, path)
    else:
        target = random.choice([path, *there])
        diary.doing[target] = data
        if what < 0.75:
            fs.pipe_file(target, data)
        else:
            with fs.open(target, "wb") as file:
                file.write(data)


def work(fs: DolmenFileSystem, number: int, steps: Steps) -> Diary:
    """Take steps in a directory of its own until there were enough."""
    random, diary, paths = Random(number), Diary(), itertools.count()
    while not steps.enough.is_set():
        diary.doing = dict(diary.done)
        step(fs, random, f"/{number}/{next(paths)}", diary)
        diary.done = diary.doing
        steps.take()
    return diary


def contents_of(fs: DolmenFileSystem, home: str) -> Contents:
    return {path: fs.cat_file(path) for path in fs.find(home)}


def await_datanodes(cluster: RealCluster) -> None:
    async def until_ready() -> None:
        async with cluster.ready():
            pass

    asyncio.run(until_ready())


@contextlib.contextmanager
def filesystem_of(cluster: RealCluster) -> Iterator[DolmenFileSystem]:
    host, _, port = cluster.address.partition(":")
    yield fsspec.filesystem("dolmen", host=host, port=int(port), skip_instance_cache=True)


def kill_under(cluster: RealCluster, steps: Steps) -> None:
    """Kill the namenode while steps are taken, some times, and let them end."""
    random = Random(5)
    for kill in range(1, KILLS + 1):
        steps.wait_for(kill * STEPS_BETWEEN + random.randrange(STEPS_BETWEEN))
        cluster.namenode.kill()
        cluster.namenode.start()
    steps.wait_for((KILLS + 1) * STEPS_BETWEEN)
    steps.enough.set()


def restart(cluster: RealCluster) -> None:
    cluster.namenode.kill()
    cluster.namenode.start()


def build_tables_anew(cluster: RealCluster) -> None:
    """Have the tables made of a checkpoint, if there is one, and the log."""
    cluster.namenode.kill()
    (cluster.root / "namenode" / "namespace" / "data.mdb").unlink()
    cluster.namenode.start()


@pytest.mark.parametrize("checkpoint_every", ["20", "200000"])
def test_what_was_acknowledged_is_there_and_equal_when_the_namenode_was_killed(
    tmp_path: Path, checkpoint_every: str
) -> None:
    settings = {"inline_limit": f"{LIMIT}B", "checkpoint_every": checkpoint_every}
    with RealCluster(tmp_path, 1, **settings) as cluster, filesystem_of(cluster) as fs:
        await_datanodes(cluster)
        steps = Steps()
        with ThreadPoolExecutor(THREADS) as threads:
            working: list[Future[Diary]] = [
                threads.submit(work, fs, number, steps) for number in range(THREADS)
            ]
            kill_under(cluster, steps)
        diaries = [one.result() for one in working]
        for end in (lambda _: None, restart, build_tables_anew):
            again: Callable[[RealCluster], None] = end
            again(cluster)
            for number, diary in enumerate(diaries):
                assert contents_of(fs, f"/{number}") == diary.done
