"""A namenode is killed again and again under writers: they see a pause, and nothing else."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import fsspec

from dolmen.client import Client
from tests.integration.real_cluster import POLL_S, WITHIN_S, RealCluster, content, eventually

KILLS = 5
WRITERS = 4


@dataclass
class Diary:
    """What one writer was told is done, in its own directory: path to seed of the content."""

    home: str
    files: dict[str, int] = field(default_factory=dict)
    next_files: dict[str, int] = field(default_factory=dict)
    """What there is when the step that is under way is done."""
    steps: int = 0


def bytes_of(seed: int) -> bytes:
    return content(seed, 1_000 + seed * 7919 % 1_500_000)  # one block and two, small and large


async def write(client: Client, diary: Diary, random: Random, ended: asyncio.Event) -> None:
    """Put, rename and delete until it ends; note what was acknowledged."""
    while not ended.is_set():
        diary.steps += 1
        diary.next_files = dict(diary.files)
        path = f"{diary.home}/{diary.steps}"
        there = sorted(diary.files)
        what = random.random()
        if there and what < 0.2:
            del diary.next_files[victim := random.choice(there)]
            await client.delete(victim)
        elif there and what < 0.5:
            source, target = random.choice(there), random.choice([path, *there])
            diary.next_files[target] = diary.next_files.pop(source)
            await client.rename(source, target)
        else:
            diary.next_files[path] = seed = random.getrandbits(30)
            await client.write_file(path, bytes_of(seed))
        diary.files = diary.next_files


async def check(client: Client, diary: Diary) -> None:
    """Everything acknowledged is there with its bytes, and a step under way wholly or not."""
    found = [entry.path for entry in await client.list_directory(diary.home)]
    if sorted(found) != sorted(diary.files):
        diary.files = diary.next_files
    assert sorted(found) == sorted(diary.files)
    for path, seed in diary.files.items():
        expected = [bytes_of(seed), bytes_of(diary.next_files.get(path, seed))]
        assert await client.read_file(path) in expected, path


async def more_steps(diaries: list[Diary], count: int) -> None:
    """Wait until so many more steps were begun."""
    begun = sum(diary.steps for diary in diaries)

    async def look() -> bool:
        return sum(diary.steps for diary in diaries) >= begun + count

    await eventually(look)


async def open_diaries(client: Client, count: int) -> list[Diary]:
    diaries = [Diary(f"/w{number}") for number in range(count)]
    for diary in diaries:
        await client.make_directory(diary.home)
    return diaries


def write_with_fsspec(address: str, ended: asyncio.Event) -> int:
    """Write with the synchronous filesystem until it ends; return how many files."""
    host, _, port = address.partition(":")
    fs = fsspec.filesystem("dolmen", host=host, port=int(port))
    count = 0
    while not ended.is_set():
        with fs.open(f"/fsspec/{count}", "wb") as file:
            file.write(bytes_of(count))
        count += 1
    for number in range(count):
        assert fs.cat_file(f"/fsspec/{number}") == bytes_of(number)
    return count


def test_writers_see_a_pause_and_everything_acknowledged_is_there(tmp_path: Path) -> None:
    async def run(cluster: RealCluster) -> None:
        random = Random(11)
        async with cluster.ready() as client:
            diaries = await open_diaries(client, WRITERS)
            ended = asyncio.Event()
            async with asyncio.TaskGroup() as writers:
                for number, diary in enumerate(diaries):
                    writers.create_task(write(client, diary, Random(number), ended))
                in_thread = asyncio.to_thread(write_with_fsspec, cluster.address, ended)
                by_fsspec = writers.create_task(in_thread)
                for _ in range(KILLS):
                    await more_steps(diaries, 15)
                    await asyncio.sleep(random.uniform(0, 0.1))  # any instant is as good
                    cluster.namenode.kill()
                    cluster.namenode.start()
                ended.set()
            assert by_fsspec.result() > 0
            for diary in diaries:
                await check(client, diary)
            report = await cluster.until_healed(client)
            await cluster.until_disks_hold(3 * report.blocks)

    with RealCluster(tmp_path) as cluster:
        asyncio.run(run(cluster))


def test_what_was_under_way_when_a_namenode_died_is_wholly_done_or_not_at_all(
    tmp_path: Path,
) -> None:
    async def run(cluster: RealCluster) -> None:
        random = Random(12)
        async with cluster.ready() as client:
            diaries = await open_diaries(client, WRITERS)
            for life in range(3):
                async with cluster.client() as mortal:
                    writers = [
                        asyncio.create_task(write(mortal, diary, Random(life), asyncio.Event()))
                        for diary in diaries
                    ]
                    await more_steps(diaries, 15)
                    await asyncio.sleep(random.uniform(0, 0.1))  # any instant is as good
                    cluster.namenode.kill()
                    for writer in writers:
                        writer.cancel()
                    await asyncio.wait(writers)
                cluster.namenode.start()
                for diary in diaries:
                    await check(client, diary)
            report = await cluster.until_healed(client)
            await cluster.until_disks_hold(3 * report.blocks)

    with RealCluster(tmp_path, lease_soft_limit="1s", lease_hard_limit="2s") as cluster:
        asyncio.run(run(cluster))


def wait_until_begun(command: "subprocess.Popen[bytes]", begun: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not begun():
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


def test_commands_see_a_pause_too(tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "deep").mkdir(parents=True)
    files = {source / "deep" / str(number): bytes_of(number) for number in range(40)}
    for path, data in files.items():
        path.write_bytes(data)

    async def registered(cluster: RealCluster) -> None:
        async with cluster.ready():
            pass

    with RealCluster(tmp_path / "cluster") as cluster:
        asyncio.run(registered(cluster))
        for words, begun in (
            (("put", "-r", source, "/"), lambda: bool(cluster.all_files_on_disk())),
            (("get", "-r", "/source", back), back.exists),
        ):
            with cluster.shell.start(*words) as command:
                wait_until_begun(command, begun)  # who finds no namenode at first gives up soon
                for _ in range(2):
                    cluster.namenode.kill()
                    cluster.namenode.start()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        command.wait(0.7)
                _, said = command.communicate()
                assert command.returncode == 0, said.decode()
    for path, data in files.items():
        assert (back / path.relative_to(source)).read_bytes() == data
