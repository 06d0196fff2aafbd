"""Checkpoints: which count, what is kept, and that the tables come back from them."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from dolmen.protocol.errors import NoSpace, StartRefused
from dolmen.runtime.lmdb_key_value import LmdbStore
from dolmen.simulation.virtual_time import run
from namenode.checkpoint import MAGIC, MANIFEST_NAME, Checkpoint, TablesLost
from namenode.core.stamped_file import encode_stamped
from namenode.core.tables import CONTENTS, DURABLE_TABLES, UNHASHED
from namenode.store import Store, StoreOptions, open_store
from tests.unit.namenode.store_worlds import (
    SimHost,
    make_directories,
    open_on,
    real_host,
    stored_names,
)


async def with_checkpoints(host: SimHost, count: int) -> Store:
    """A store with `count` checkpoints, each after a directory of its own."""
    store = await open_on(host)
    checkpointer = store.checkpointer(every_edits=1)
    for number in range(count):
        await make_directories(store, f"d{number}")
        assert await checkpointer.run_if_due()
        assert not await checkpointer.run_if_due()
    return store


def test_the_last_two_are_kept_and_the_log_from_the_older_one_on() -> None:
    async def check() -> None:
        store = await with_checkpoints(SimHost(), 4)
        found = await store.checkpoints.find()
        txid = store.log.position.txid
        assert [checkpoint.manifest.txid for checkpoint in found] == [txid, txid - 1]
        assert found[0].manifest.digest == store.log.position.digest
        assert found[0].manifest.fingerprint.counts["entries"] == 4
        assert store.log.first_txid == txid
        await store.close_clean()

    run(check())


def test_with_one_checkpoint_the_whole_log_is_kept() -> None:
    async def check() -> None:
        store = await with_checkpoints(SimHost(), 1)
        assert store.log.first_txid == 1
        await store.close_clean()

    run(check())


def test_the_tables_come_back_from_the_newest_that_is_good() -> None:
    async def check(damaged: int) -> None:
        host = SimHost()
        store = await with_checkpoints(host, 4)
        await make_directories(store, "last")
        for checkpoint in (await store.checkpoints.find())[:damaged]:
            host.tables.damage(checkpoint.tables_path)
        store.kill()
        host.lose_power()
        if damaged == 2:
            with pytest.raises(StartRefused, match="cannot be rebuilt"):
                await open_on(host)
            return
        again = await open_on(host)
        assert stored_names(again) == ["d0", "d1", "d2", "d3", "last"]
        await again.close_clean()

    for damaged in range(3):
        run(check(damaged))


def test_any_flipped_bit_of_a_manifest_makes_it_not_count() -> None:
    async def check() -> None:
        host = SimHost()
        store = await with_checkpoints(host, 2)
        path = (await store.checkpoints.find())[0].path + "/manifest"
        for offset in range(len(host.storage.file(path).data)):
            host.storage.rot(path, offset)
            assert len(await store.checkpoints.find()) == 1
            host.storage.rot(path, offset)
        assert len(await store.checkpoints.find()) == 2
        store.kill()

    run(check())


def test_a_checkpoint_is_due_after_so_many_edits() -> None:
    async def check() -> None:
        store = await open_on(SimHost())
        checkpointer = store.checkpointer(every_edits=5)
        written = []
        for number in range(9):
            await make_directories(store, f"d{number}")
            if await checkpointer.run_if_due():
                written.append(store.log.position.txid)
        assert written == [5, 10]
        await store.close_clean()

    run(check())


def test_a_checkpoint_that_fails_leaves_nothing_and_is_tried_again_later() -> None:
    async def check() -> None:
        host = SimHost()
        store = await open_on(host)
        checkpointer = store.checkpointer(every_edits=1)
        await make_directories(store, "a")
        host.storage.device.syncs_to_fail = 1
        assert not await checkpointer.run_if_due()
        assert await store.checkpoints.find() == []
        assert not host.storage.directory(f"{host.directory}/checkpoints").entries
        assert not await checkpointer.run_if_due()
        await checkpointer.run()
        assert len(await store.checkpoints.find()) == 1
        await store.close_clean()

    run(check())


def test_a_checkpoint_never_fills_the_disk() -> None:
    async def check() -> None:
        host = SimHost()
        store = await open_on(host)
        host.storage.device.capacity_bytes = host.storage.device.used_bytes
        with pytest.raises(NoSpace, match="free space"):
            await store.checkpointer(every_edits=1).run()
        store.kill()

    run(check())


def test_tables_that_cannot_be_written_back_end_the_namenode_and_are_rebuilt() -> None:
    async def check() -> None:
        host = SimHost()
        store = await open_on(host)
        await make_directories(store, "a")
        host.tables.syncs_to_fail = 1
        with pytest.raises(TablesLost):
            await store.checkpointer(every_edits=1).run_if_due()
        store.kill()
        assert "rebuild" in host.storage.directory(host.directory).entries
        assert stored_names(await open_on(host)) == ["a"]

    run(check())


def make_older(checkpoint: Checkpoint, cluster_id: str) -> None:
    """Make of it one that was written before some of the tables were there."""
    older = tuple(table for table in DURABLE_TABLES if table not in (CONTENTS, UNHASHED))
    source = LmdbStore().open(checkpoint.tables_path, older, read_only=True)
    fingerprint = source.copy(checkpoint.tables_path + ".older")
    source.close()
    LmdbStore().remove(checkpoint.tables_path)
    Path(checkpoint.tables_path + ".older").rename(checkpoint.tables_path)
    manifest = msgspec.structs.replace(checkpoint.manifest, fingerprint=fingerprint)
    data = encode_stamped(MAGIC, cluster_id, manifest)
    Path(checkpoint.path, MANIFEST_NAME).write_bytes(data)


def test_the_tables_come_back_from_checkpoints_of_software_that_had_fewer(tmp_path: Path) -> None:
    async def check() -> None:
        options = StoreOptions(str(tmp_path / "namenode"))
        store = await open_store(real_host(), options)
        for name in ("a", "b", "c"):
            await make_directories(store, name)
            await store.checkpointer(every_edits=1).run()
        assert store.log.first_txid > 1
        found = await store.checkpoints.find()
        store.kill()
        for checkpoint in found:
            make_older(checkpoint, store.identity.cluster_id)
        again = await open_store(real_host(boot_id="after a loss of power"), options)
        assert stored_names(again) == ["a", "b", "c"]
        with again.tables.snapshot() as view:
            assert view.count(CONTENTS) == 0
        await again.close_clean()

    asyncio.run(check())
