"""Opening, closing and losing a namenode's directory."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmen.protocol.errors import StartRefused
from dolmen.simulation.virtual_time import run
from namenode.core.records import (
    META_KEY,
    META_RECORD,
)
from namenode.core.tables import (
    META,
)
from namenode.store import StoreOptions, open_store
from tests.unit.namenode.store_worlds import (
    SimHost,
    Writing,
    in_virtual_time,
    make_directories,
    make_directory,
    open_on,
    real_host,
    stored_names,
)


def test_an_empty_directory_is_initialised_and_opened_again() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        assert len(store.cluster_id) == 32
        assert 0 < store.identity.namespace_id < 1 << 16
        assert store.epoch == 1
        await make_directories(store, "a", "b")
        await store.close_clean()
        again = await open_on(host)
        assert again.identity == store.identity
        assert again.secret == store.secret
        assert again.epoch == 2
        assert stored_names(again) == ["a", "b"]
        with again.tables.snapshot() as view:
            value = view.get(META, META_KEY)
        assert value is not None
        meta = META_RECORD.decode(value)
        assert (meta.cluster_id, meta.epoch) == (store.cluster_id, 2)
        assert (meta.applied_txid, meta.applied_digest) == (
            again.log.position.txid,
            again.log.position.digest,
        )
        await again.close_clean()

    in_virtual_time(check)


def test_a_real_directory_has_the_layout_and_a_private_secret(tmp_path: Path) -> None:
    async def check() -> None:
        machine, options = real_host(), StoreOptions(str(tmp_path / "namenode"))
        store = await open_store(machine, options)
        await make_directories(store, "a")
        names = {path.name for path in (tmp_path / "namenode").iterdir()}
        assert names == {
            "VERSION", "cluster.secret", "lock", "running", "edits", "namespace", "replicas"
        }  # fmt: skip
        secret_file = tmp_path / "namenode" / "cluster.secret"
        assert secret_file.stat().st_mode & 0o777 == 0o600
        assert secret_file.read_bytes().strip() == store.secret
        with pytest.raises(StartRefused, match="in use by process"):
            await open_store(machine, options)
        store.kill()
        store = await open_store(machine, options)
        assert stored_names(store) == ["a"]
        await store.close_clean()
        assert not (tmp_path / "namenode" / "running").exists()
        version = (tmp_path / "namenode" / "VERSION").read_text()
        assert version.startswith(f"dolmen-namenode 1 {store.cluster_id}\n")

    asyncio.run(check())


@pytest.mark.parametrize("name", ["thesis.tex", "volumes", "cluster.secret"])
def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    tmp_path.joinpath(name).write_text("x")
    with pytest.raises(StartRefused, match="not a namenode's"):
        asyncio.run(open_store(real_host(), StoreOptions(str(tmp_path))))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("x")
    with pytest.raises(StartRefused):
        asyncio.run(open_store(real_host(), StoreOptions(str(tmp_path / "file"))))


def test_a_version_of_something_else_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("VERSION").write_text("Hadoop")
    with pytest.raises(StartRefused, match="VERSION"):
        asyncio.run(open_store(real_host(), StoreOptions(str(tmp_path))))


def test_a_directory_that_lost_its_version_is_not_taken_for_a_strangers(tmp_path: Path) -> None:
    asyncio.run(open_store(real_host(), StoreOptions(str(tmp_path)))).kill()
    version = tmp_path / "VERSION"
    for spoil in (lambda: version.write_bytes(b"rotten"), version.unlink):
        spoil()
        with pytest.raises(StartRefused, match=r"VERSION.*put it back from a backup"):
            asyncio.run(open_store(real_host(), StoreOptions(str(tmp_path))))
    assert tmp_path.joinpath("edits").exists()


def test_the_secret_file_counts_at_the_first_start_and_must_fit_later() -> None:
    async def check(host: SimHost) -> None:
        disk = host.machine().open_disk()
        await disk.write_file("/data/secret", b"  sesame\n")
        await disk.write_file("/data/other", b"other")
        await disk.write_file("/data/empty", b" \n")
        for name, message in (("empty", "holds no cluster secret"), ("none", "cannot read")):
            with pytest.raises(StartRefused, match=message):
                await open_on(host, f"/data/{name}")
        store = await open_on(host, "/data/secret")
        assert store.secret == b"sesame"
        await store.close_clean()
        with pytest.raises(StartRefused, match="wrong secret"):
            await open_on(host, "/data/other")
        store = await open_on(host)
        assert store.secret == b"sesame"
        store.kill()

    in_virtual_time(check)


def test_tables_ahead_of_the_log_stop_the_namenode() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await make_directories(store, "a")
        length = len(host.storage.file(f"{host.directory}/edits/{1:020d}.edits").data)
        await make_directories(store, "b")
        await store.close_clean()
        host.storage.truncate(host.storage.file(f"{host.directory}/edits/{1:020d}.edits"), length)
        for _ in range(2):
            with pytest.raises(StartRefused, match="edits were lost"):
                await open_on(host)
            host.kill()

    in_virtual_time(check)


def test_a_log_that_is_gone_is_not_taken_for_a_new_one() -> None:
    async def check(host: SimHost) -> None:
        store = await open_on(host)
        await store.close_clean()
        host.storage.remove(f"{host.directory}/edits/{1:020d}.edits")
        with pytest.raises(StartRefused, match="no edits"):
            await open_on(host)

    in_virtual_time(check)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), stop_s=st.floats(0, 0.02), power=st.booleans())
def test_an_initialisation_cut_off_anywhere_is_completed_by_the_next_start(
    seed: int, stop_s: float, power: bool
) -> None:
    async def check() -> None:
        host = SimHost(seed)
        opening = asyncio.create_task(open_on(host))
        await asyncio.wait((opening,), timeout=stop_s)
        host.lose_power() if power else host.kill()
        opening.cancel()
        await asyncio.wait((opening,))
        if not opening.cancelled() and opening.exception() is None:
            opening.result().kill()
        store = await open_on(host)
        await make_directories(store, "a")
        assert stored_names(store) == ["a"]
        await store.close_clean()

    run(check())


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    stops=st.lists(st.tuples(st.floats(0, 0.05), st.booleans()), min_size=1, max_size=4),
)
def test_whatever_crash_there_is_exactly_what_was_acknowledged_is_there(
    seed: int, stops: list[tuple[float, bool]]
) -> None:
    async def check() -> None:
        host = SimHost(seed)
        acknowledged: list[str] = []
        for life, (stop_s, power) in enumerate(stops):
            asked: list[str] = []
            living = asyncio.create_task(live(host, life, asked, acknowledged))
            await asyncio.wait((living,), timeout=stop_s)
            assert not living.done() or living.exception() is None
            host.lose_power() if power else host.kill()
            living.cancel()
            await asyncio.wait((living,))
            store = await open_on(host)
            found = stored_names(store)
            assert set(acknowledged) <= set(found) <= {*acknowledged, *asked}
            acknowledged[:] = found  # what is shown once stays
            await store.close_clean()

    run(check())


async def live(host: SimHost, life: int, asked: list[str], acknowledged: list[str]) -> None:
    """Open the store, make directories and checkpoints until the end comes."""
    store = await open_on(host)
    checkpointer = store.checkpointer(every_edits=5)
    try:
        async with Writing(store) as journal:
            for number in range(1000):
                name = f"{life}-{number}"
                asked.append(name)
                await journal.submit(make_directory(name))
                acknowledged.append(name)
                if number % 7 == 6:
                    await checkpointer.run_if_due()
    finally:
        store.kill()
