"""Every kind of damage to a finalized replica, however it is found: what is still served, what the
namenode is told, and what is kept in quarantine."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    ReplicaState,
)
from dolmen.protocol.errors import DolmenError, NoSuchReplica
from dolmen.protocol.tokens import Target
from dolmen.runtime.settings import Settings
from dolmen.simulation.sim_storage import SimStorage
from tests.unit.datanode.world import BLOCK, World, content, digest_of, quarantined

DATA = content(40 * CHUNK_BYTES + 11)
GROUP = "/data/volumes/0/finalized/0000/00/00"
DATA_FILE = f"{GROUP}/0000000000000020.block"
CHECKSUM_FILE = f"{GROUP}/0000000000000020.1.checksums"
MARKER = f"{GROUP}/0000000000000020.1.damaged"
PERIOD_S = 5


class Outcome:
    """What becomes of the replica."""

    DAMAGED, CORRUPT, MENDED = "damaged", "corrupt", "mended"


def data_flipped(storage: SimStorage) -> None:
    storage.rot(DATA_FILE, 3 * CHUNK_BYTES + 5)


def data_cut(storage: SimStorage) -> None:
    storage.truncate(storage.file(DATA_FILE), 10 * CHUNK_BYTES + 1)


def data_emptied(storage: SimStorage) -> None:
    storage.truncate(storage.file(DATA_FILE), 0)


def data_grown(storage: SimStorage) -> None:
    storage.write(storage.file(DATA_FILE), len(DATA), b"more")


def data_removed(storage: SimStorage) -> None:
    storage.remove(DATA_FILE)


def data_unreadable(storage: SimStorage) -> None:
    storage.file(DATA_FILE).unreadable = True


def list_flipped(storage: SimStorage) -> None:
    storage.rot(CHECKSUM_FILE, len(storage.file(CHECKSUM_FILE).data) - 3)


def list_cut(storage: SimStorage) -> None:
    storage.truncate(storage.file(CHECKSUM_FILE), len(storage.file(CHECKSUM_FILE).data) - 8)


def list_grown(storage: SimStorage) -> None:
    storage.write(storage.file(CHECKSUM_FILE), len(storage.file(CHECKSUM_FILE).data), b"more")


def header_flipped(storage: SimStorage) -> None:
    storage.rot(CHECKSUM_FILE, 40)


def list_removed(storage: SimStorage) -> None:
    storage.remove(CHECKSUM_FILE)


def list_unreadable(storage: SimStorage) -> None:
    storage.file(CHECKSUM_FILE).unreadable = True


def data_and_list_flipped(storage: SimStorage) -> None:
    data_flipped(storage)
    list_flipped(storage)


@dataclass(frozen=True)
class Kind:
    """A kind of damage, and what becomes of a replica that is running, and of one that starts."""

    damage: Callable[[SimStorage], None]
    running: str
    restarted: str  # what a start does not see is found by the scrubber, which begins at once
    quarantined_at_start: bool = False


KINDS = [
    Kind(data_flipped, Outcome.DAMAGED, Outcome.DAMAGED),
    Kind(data_cut, Outcome.DAMAGED, Outcome.DAMAGED),
    Kind(data_emptied, Outcome.DAMAGED, Outcome.DAMAGED),
    Kind(data_grown, Outcome.DAMAGED, Outcome.DAMAGED),
    Kind(data_removed, Outcome.CORRUPT, "gone"),
    Kind(data_unreadable, Outcome.DAMAGED, Outcome.DAMAGED),
    Kind(list_flipped, Outcome.MENDED, Outcome.MENDED),
    Kind(list_cut, Outcome.MENDED, Outcome.MENDED),
    Kind(list_grown, Outcome.MENDED, Outcome.MENDED),
    Kind(header_flipped, Outcome.MENDED, Outcome.CORRUPT, True),
    Kind(list_removed, Outcome.MENDED, "gone", True),
    Kind(list_unreadable, Outcome.MENDED, Outcome.CORRUPT, True),
    Kind(data_and_list_flipped, Outcome.CORRUPT, Outcome.CORRUPT, True),
]


def names_of(kind: object) -> str:
    return kind.damage.__name__ if isinstance(kind, Kind) else ""


async def by_a_check(world: World, target: Target) -> None:
    world.namenode.order(target.datanode_id, CheckReplica(BLOCK, 1))
    await asyncio.sleep(1)
    assert len(world.namenode.checked) == 1, "a check is always answered"


async def by_a_reader(world: World, target: Target) -> None:
    """One that has the namenode ask for a check because chunks fail, or whose read fails."""
    try:
        _, checksums = await world.checksums(target)
        await world.read(target, (0, len(DATA)))
    except DolmenError:
        await asyncio.sleep(1)
    else:
        del checksums
        await by_a_check(world, target)


async def by_scrubbing(world: World, target: Target) -> None:
    await asyncio.sleep(2 * PERIOD_S)  # the damage may come while the replica is being read


async def stored(world: World) -> Target:
    await world.start("a")
    (a,) = world.targets("a")
    await world.write(DATA, a)
    await world.finalize(DATA, a)
    await asyncio.sleep(0.5)
    world.namenode.changes.clear()
    return a


async def read_all(world: World, target: Target) -> bytes:
    """Read chunk by chunk what can be read, as a reader does who has other replicas."""
    found = bytearray()
    for start in range(0, len(DATA), CHUNK_BYTES):
        length = min(CHUNK_BYTES, len(DATA) - start)
        try:
            found += await world.read(target, (start, length))
        except NoSuchReplica:
            raise
        except DolmenError:
            found += bytes(length)
    return bytes(found)


async def is_mended(world: World, target: Target, kind: Kind) -> None:
    assert world.namenode.changes == []
    assert quarantined(world, "a") == []
    assert await world.read(target, (0, len(DATA))) == DATA
    assert (await world.checksums(target))[0].digest == digest_of(DATA)


async def is_damaged(world: World, target: Target, kind: Kind) -> None:
    (change,) = world.namenode.changes
    assert (change.kind, change.replica.state) == (ChangeKind.STORED, ReplicaState.DAMAGED)
    assert MARKER.rpartition("/")[2] in world.storages["a"].directory(GROUP).entries
    assert (await world.checksums(target))[0].digest == digest_of(DATA)
    good = await read_all(world, target)
    assert len(good) == len(DATA)
    if kind.damage not in (data_emptied, data_unreadable):
        assert good[:CHUNK_BYTES] == DATA[:CHUNK_BYTES]
    assert quarantined(world, "a") == []


async def is_put_aside(world: World, target: Target, kind: Kind) -> None:
    (change,) = world.namenode.changes
    assert change.kind is ChangeKind.CORRUPT
    (entry,) = quarantined(world, "a")
    assert (entry.block_id, entry.stamp) == (f"{BLOCK:016x}", 1)
    assert entry.length_bytes == len(DATA)
    assert entry.reason
    assert not world.storages["a"].directory(GROUP).entries
    with pytest.raises(NoSuchReplica):
        await world.read(target, (0, 1))


CHECK = {
    Outcome.MENDED: is_mended,
    Outcome.DAMAGED: is_damaged,
    Outcome.CORRUPT: is_put_aside,
}


@pytest.mark.parametrize("find", [by_a_check, by_a_reader, by_scrubbing])
@pytest.mark.parametrize("kind", KINDS, ids=names_of)
def test_damage_to_a_running_datanode_is_found_told_and_served_around(
    kind: Kind, find: Callable[[World, Target], Awaitable[None]]
) -> None:
    world = World()
    period_s = PERIOD_S if find is by_scrubbing else 1_000_000
    world.settings = Settings(scrub_period_ms=period_s * 1000)

    async def scenario() -> None:
        a = await stored(world)
        kind.damage(world.storages["a"])
        await find(world, a)
        await CHECK[kind.running](world, a, kind)
        for checked in world.namenode.checked:
            assert (checked.problem == "") == (kind.running == Outcome.MENDED)

    world.run(scenario())


@pytest.mark.parametrize("kind", KINDS, ids=names_of)
def test_damage_while_a_datanode_was_down_is_found_by_its_start(kind: Kind) -> None:
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        await world.nodes["a"].stop()
        kind.damage(world.storages["a"])
        world.namenode.pages.clear()
        await world.start("a")
        await asyncio.sleep(60)
        reported = [replica.state for replica in world.namenode.reported()]
        told = [change.kind for change in world.namenode.changes]
        if kind.restarted == Outcome.MENDED:
            assert reported == [ReplicaState.FINALIZED]
        elif kind.restarted == Outcome.DAMAGED:
            found_later = [change.replica.state for change in world.namenode.changes]
            assert (reported + found_later)[-1] is ReplicaState.DAMAGED
            assert await read_all(world, a)
        elif kind.restarted == Outcome.CORRUPT:
            assert reported == []
            assert told == [ChangeKind.CORRUPT]
        else:
            assert (reported, told) == ([], [])
        if kind.restarted == Outcome.MENDED:
            assert (await world.checksums(a))[0].digest == digest_of(DATA)
        assert bool(quarantined(world, "a")) == kind.quarantined_at_start

    world.run(scenario())


@pytest.mark.parametrize("path", [CHECKSUM_FILE, DATA_FILE], ids=["list", "data"])
def test_what_cannot_be_read_for_a_while_when_a_datanode_starts_is_not_damaged(path: str) -> None:
    """The data is read at a start only if its list of checksums has to be made anew."""
    world = World()

    async def scenario() -> None:
        a = await stored(world)
        await world.nodes["a"].stop()
        storage = world.storages["a"]
        if path == DATA_FILE:
            list_flipped(storage)
        storage.file(path).unreadable = True
        world.namenode.pages.clear()
        await world.start("a")
        await asyncio.sleep(8)
        assert (world.namenode.reported(), world.namenode.changes) == ([], [])
        storage.file(path).unreadable = False
        await asyncio.sleep(8)
        (change,) = world.namenode.changes
        assert (change.kind, change.replica.state) == (ChangeKind.STORED, ReplicaState.FINALIZED)
        assert await world.read(a, (0, len(DATA))) == DATA
        assert quarantined(world, "a") == []

    world.run(scenario())
