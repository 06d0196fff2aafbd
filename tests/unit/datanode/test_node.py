"""Starting, being refused, losing the namenode, stopping, dying, starting again."""

import asyncio

import pytest

from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ReplicaState
from dolmen.protocol.errors import StartRefused
from dolmen.protocol.tokens import ClusterKeys
from tests.unit.datanode.world import CLUSTER_ID, World, content

DATA = content(3 * CHUNK_BYTES + 5)
VOLUME = "/data/volumes/0"


def put_file(world: World, name: str, path: str, data: bytes) -> None:
    storage = world.storages[name]
    inode = storage.open(path, create=True)
    storage.truncate(inode, 0)
    storage.write(inode, 0, data)


async def settle() -> None:
    await asyncio.sleep(1.5)


def test_an_empty_directory_gets_an_identity_that_outlives_restarts_and_addresses() -> None:
    world = World()

    async def scenario() -> None:
        node = await world.start("a", host_label="host-1", rack="/r1")
        datanode_id = node.datanode_id
        (registration,) = world.namenode.registrations
        assert (registration.datanode_id, registration.address) == (datanode_id, "a:9864")
        assert (registration.host, registration.rack) == ("host-1", "/r1")
        assert registration.storages[0].capacity_bytes > registration.storages[0].free_bytes > 0
        await node.stop()
        again = await world.start("a", port=9999, secret_file=None, advertise="elsewhere:1")
        assert (again.datanode_id, again.address) == (datanode_id, "elsewhere:1")
        assert (
            world.namenode.registrations[1].storages[0].storage_id
            == registration.storages[0].storage_id
        )

    world.run(scenario())


def test_a_datanode_may_start_before_its_namenode_and_outlives_it() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a", namenode="namenode:1")
        assert world.namenode.registrations == []
        await world.nodes["a"].stop()
        await world.start("a")
        assert len(world.namenode.registrations) == 1
        world.network.crash("namenode")
        await asyncio.sleep(10)
        await world.listen()
        await asyncio.sleep(2)
        assert len(world.namenode.registrations) == 2
        assert world.namenode.pages[-1].all_done

    world.run(scenario())


def test_heartbeats_tell_what_is_used() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await settle()
        assert world.namenode.heartbeats[-1].storages[0].used_bytes == len(DATA)

    world.run(scenario())


def test_a_change_whose_report_was_lost_is_reported_again() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await settle()
        world.namenode.reports_to_lose = 1
        await world.finalize(DATA, a)
        await settle()
        assert len(world.namenode.registrations) == 2
        states = [one.state for one in world.namenode.reported()]
        assert states == [ReplicaState.FINALIZED]

    world.run(scenario())


def test_a_second_process_on_the_same_directory_is_refused() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        second = world.make("a", port=1)
        with pytest.raises(StartRefused, match="in use by process"):
            await second.start()

    world.run(scenario())


def test_a_port_in_use_is_refused_and_the_directory_is_free_again() -> None:
    world = World()

    async def scenario() -> None:
        await world.start("a")
        taken = world.make("a", directories=("/other",))
        with pytest.raises(StartRefused, match="in use"):
            await taken.start()
        await world.nodes["a"].stop()
        await world.start("a", directories=("/other",))

    world.run(scenario())


def test_a_wrong_secret_ends_the_start_with_one_line() -> None:
    world = World()
    world.namenode.keys = ClusterKeys(b"another secret")

    async def scenario() -> None:
        with pytest.raises(StartRefused, match=r"refused by namenode .* secret"):
            await world.make("a").start()

    world.run(scenario())


def test_a_datanode_that_counts_as_connected_already_waits_before_it_gives_up() -> None:
    world = World()

    async def scenario() -> None:
        world.namenode.taken_in = False
        await world.start("a")
        assert world.namenode.registrations == []
        await settle()
        world.namenode.taken_in = True
        await settle()
        assert len(world.namenode.registrations) == 1
        world.namenode.taken_in = False
        second = world.make("b")
        await second.start()
        with pytest.raises(StartRefused, match="connected already"):
            await second.wait()

    world.run(scenario())


def test_a_datanode_of_another_cluster_is_refused() -> None:
    world = World()

    async def scenario() -> None:
        node = await world.start("a")
        await node.stop()
        world.namenode.cluster_id = "ee" * 16
        with pytest.raises(StartRefused, match=f"this datanode of {CLUSTER_ID}"):
            await world.make("a").start()

    world.run(scenario())


def test_a_namenode_that_turns_out_to_be_another_clusters_ends_the_datanode() -> None:
    world = World()

    async def scenario() -> None:
        node = await world.start("a", namenode="namenode:1")
        await node.stop()
        node = await world.start("a")
        world.namenode.cluster_id = "ee" * 16
        world.network.crash("namenode")
        await world.listen()
        with pytest.raises(StartRefused, match=r"is of cluster"):
            await node.wait()

    world.run(scenario())


def test_a_deposed_namenode_is_not_listened_to() -> None:
    world = World()

    async def scenario() -> None:
        world.namenode.epoch = 5
        node = await world.start("a")
        await node.stop()
        world.namenode.epoch = 4
        await world.start("a")
        await settle()
        assert len(world.namenode.registrations) == 1
        world.namenode.epoch = 6
        await settle()
        assert world.namenode.registrations[-1].highest_epoch == 5

    world.run(scenario())


@pytest.mark.parametrize(
    ("path", "data", "reason"),
    [
        ("/data/thesis.doc", b"mine", "not empty and not a datanode's"),
        (f"{VOLUME}/VERSION", b"hello", "not a volume's VERSION"),
        (f"{VOLUME}/VERSION", b'{"magic": "x"}', "not a volume's VERSION"),
        (
            f"{VOLUME}/VERSION",
            b'{"magic": "dolmen-volume", "format_version": 2, "cluster_id": "c",'
            b' "datanode_id": "d", "storage_id": "s", "highest_epoch": 1}',
            "newer than this software's 1",
        ),
        ("/data/cluster.secret", b" \n", "holds no cluster secret"),
    ],
)
def test_a_directory_that_is_not_ours_is_refused(path: str, data: bytes, reason: str) -> None:
    world = World()

    async def scenario() -> None:
        node = world.make("a", secret_file=None)
        storage = world.storages["a"]
        made = ""
        for part in path.split("/")[1:-1]:
            made += "/" + part
            storage.make_directory(made)
        put_file(world, "a", path, data)
        with pytest.raises(StartRefused, match=reason):
            await node.start()

    world.run(scenario())


@pytest.mark.parametrize("given", [{"namenode": "nowhere"}, {"advertise": "host:99999"}])
def test_an_address_of_no_form_is_refused(given: dict[str, str]) -> None:
    world = World()

    async def scenario() -> None:
        with pytest.raises(StartRefused, match="not an address of the form host:port"):
            await world.make("a", **given).start()

    world.run(scenario())


def test_a_datanode_without_a_secret_is_told_where_to_get_one() -> None:
    world = World()

    async def scenario() -> None:
        with pytest.raises(StartRefused, match="give --secret-file; the namenode keeps it"):
            await world.make("a", secret_file=None).start()
        with pytest.raises(StartRefused, match="cannot read the cluster secret /nowhere"):
            await world.make("a", secret_file="/nowhere").start()

    world.run(scenario())


def test_a_volume_of_another_datanode_is_refused() -> None:
    world = World()

    async def scenario() -> None:
        for directory in ("/one", "/two"):
            node = await world.start("a", directories=(directory,))
            await node.stop()
        with pytest.raises(StartRefused, match="one datanode's directories"):
            await world.make("a", directories=("/one", "/two")).start()

    world.run(scenario())


def test_a_second_directory_joins_the_datanode_and_takes_blocks_too() -> None:
    world = World()

    async def scenario() -> None:
        node = await world.start("a", directories=("/one",))
        (a,) = world.targets("a")
        await world.write(DATA, a)
        await world.finalize(DATA, a)
        await node.stop()
        await world.start("a", directories=("/one", "/two"))
        assert len(world.namenode.registrations[-1].storages) == 2
        assert await world.read(a, (0, len(DATA))) == DATA
        await settle()
        pages = world.namenode.pages[-2:]
        assert [(len(page.replicas), page.all_done) for page in pages] == [(1, False), (0, True)]

    world.run(scenario())
