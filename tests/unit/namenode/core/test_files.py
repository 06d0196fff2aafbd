"""The life of an unpublished file: created, written block by block, published whole or dropped."""

import pytest

from dolmen.protocol.client_messages import (
    AbandonFile,
    AllocateBlock,
    AllocatedBlock,
    ClientRequest,
    CommittedBlock,
    CreatedFile,
    CreateFile,
    Delete,
    Done,
    FileInfo,
    LeasesRenewed,
    MakeDirectory,
    PublishFile,
    RebuildPipeline,
    RenewLeases,
    UpdatePipeline,
)
from dolmen.protocol.errors import (
    DolmenError,
    FileTooLarge,
    InvalidRequest,
    IsADirectory,
    LeaseConflict,
    NoSuchPath,
    NotADirectory,
    PathExists,
    StaleGeneration,
    TooFewDatanodes,
)
from dolmen.protocol.identifiers import block_namespace
from dolmen.protocol.tokens import Access
from namenode.core.case import NamesystemSettings
from namenode.core.outcome import (
    BlocksChanged,
    BlocksDropped,
    BlocksForgotten,
    LeaseEnded,
    Outcome,
    Waits,
)
from tests.unit.namenode.core.driver import CLIENT, DIGEST, RIVAL, Driver

SMALL = 65536


@pytest.fixture
def driver() -> Driver:
    driver = Driver(datanodes=4)
    driver.do(MakeDirectory("/d"))
    driver.write("/d/old", (5,))
    driver.effects.clear()
    return driver


def committed(block: AllocatedBlock, length_bytes: int = 5) -> CommittedBlock:
    return CommittedBlock(block.block_id, block.stamp, length_bytes, DIGEST)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (CreateFile("/"), IsADirectory),
        (CreateFile("/d"), IsADirectory),
        (CreateFile("/d/old/x"), NotADirectory),
        (CreateFile("/d/old", exclusive=True), PathExists),
        (CreateFile("/x", replication=513), InvalidRequest),
        (CreateFile("/x", replication=-1), InvalidRequest),
        (CreateFile("/x", block_size_bytes=SMALL - 1), InvalidRequest),
        (CreateFile("/x", block_size_bytes=SMALL + 1), InvalidRequest),
        (CreateFile("/x", block_size_bytes=(1 << 31) + SMALL), InvalidRequest),
        (CreateFile("/x", mode=0o20000), InvalidRequest),
    ],
)
def test_a_file_that_could_not_be_published_is_refused_when_it_is_created(
    driver: Driver, request_: CreateFile, error: type[DolmenError]
) -> None:
    with pytest.raises(error):
        driver.do(request_)


def test_a_file_gets_the_clusters_values_or_its_own(driver: Driver) -> None:
    usual = driver.create("/x")
    assert (usual.replication, usual.block_size_bytes) == (3, 128 * 1024 * 1024)
    own = driver.do(CreateFile("/x", replication=512, block_size_bytes=1 << 31))
    assert isinstance(own, CreatedFile)
    assert (own.replication, own.block_size_bytes) == (512, 1 << 31)


def test_a_file_appears_whole_when_it_is_published_and_its_parents_with_it(driver: Driver) -> None:
    inode_id = driver.create("/new/deep/f").inode_id
    last = driver.write_blocks(inode_id, (100, 7))
    with pytest.raises(NoSuchPath):
        driver.info("/new")
    reply = driver.do(PublishFile(inode_id, "/new/deep/f", last, DIGEST, modified_ms=77))
    assert reply == driver.info("/new/deep/f")
    assert isinstance(reply, FileInfo)
    assert (reply.length_bytes, reply.content_hash, reply.modified_ms) == (107, DIGEST, 77)
    assert driver.effects[-2:] == [
        LeaseEnded(inode_id),
        BlocksChanged(tuple(driver.block_ids(inode_id))),
    ]


def test_an_empty_file_has_no_blocks(driver: Driver) -> None:
    assert driver.write("/empty").length_bytes == 0


def test_the_last_close_wins_and_the_replaced_file_is_forgotten(driver: Driver) -> None:
    first, second = driver.create("/d/old").inode_id, driver.create("/d/old").inode_id
    for inode_id in (second, first):
        driver.do(PublishFile(inode_id, "/d/old", driver.write_blocks(inode_id, (9,)), DIGEST))
    assert driver.info("/d/old").inode_id == first
    assert len(driver.take_effects(BlocksForgotten)) == 2


def test_what_stands_at_the_path_is_decided_again_when_the_file_is_published(
    driver: Driver,
) -> None:
    exclusive = driver.do(CreateFile("/x", exclusive=True))
    plain = driver.create("/y/z").inode_id
    assert isinstance(exclusive, CreatedFile)
    driver.write("/x")
    driver.do(MakeDirectory("/y/z", parents=True))
    with pytest.raises(PathExists):
        driver.do(PublishFile(exclusive.inode_id, "/x", None, b"", exclusive=True))
    with pytest.raises(IsADirectory):
        driver.do(PublishFile(plain, "/y/z", None, b""))
    driver.do(Delete("/y/z"))
    driver.write("/y/z")
    with pytest.raises(NotADirectory):
        driver.do(PublishFile(plain, "/y/z/f", None, b""))
    driver.do(PublishFile(plain, "/y/z", None, b""))


def test_publishing_waits_until_the_last_blocks_are_complete(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    last = driver.write_blocks(inode_id, (1, 1, 1))
    assert last is not None
    driver.knowledge.reported[last.block_id] = 1
    waits = driver.decide(PublishFile(inode_id, "/x", last, DIGEST))
    assert isinstance(waits, Waits)
    assert waits.block_ids == (last.block_id,)
    assert "2 finalized replicas" in waits.reason
    assert "has 1" in waits.reason
    driver.knowledge.reported[last.block_id] = 2
    driver.do(PublishFile(inode_id, "/x", last, DIGEST))


@pytest.mark.parametrize(("datanodes", "replication", "needed"), [(1, 3, 1), (4, 1, 1), (4, 3, 2)])
def test_a_block_is_complete_with_as_many_replicas_as_there_can_be_up_to_the_least_wanted(
    datanodes: int, replication: int, needed: int
) -> None:
    driver = Driver(datanodes=datanodes)
    inode_id = driver.create("/x", replication=replication).inode_id
    last = driver.write_blocks(inode_id, (1,))
    assert last is not None
    driver.knowledge.reported[last.block_id] = needed - 1
    assert isinstance(driver.decide(PublishFile(inode_id, "/x", last, DIGEST)), Waits)
    driver.knowledge.reported[last.block_id] = needed
    assert isinstance(driver.decide(PublishFile(inode_id, "/x", last, DIGEST)), Outcome)


def test_no_more_than_two_blocks_are_unfinished(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    driver.knowledge.eager = False
    first = driver.allocate(inode_id, 0)
    second = driver.allocate(inode_id, 1, committed(first))
    waits = driver.decide(AllocateBlock(inode_id, 2, committed(second)))
    assert isinstance(waits, Waits)
    assert waits.block_ids == (first.block_id,)
    driver.knowledge.reported[first.block_id] = 2
    driver.allocate(inode_id, 2, committed(second))


def test_an_allocated_block_has_targets_and_a_token_for_them(driver: Driver) -> None:
    inode_id = driver.create("/x", block_size_bytes=SMALL).inode_id
    excluded = driver.knowledge.datanodes[0].datanode_id
    block = driver.do(AllocateBlock(inode_id, 0, None, (excluded,), "my-host"))
    assert isinstance(block, AllocatedBlock)
    assert block_namespace(block.block_id) == 7
    assert block.targets == tuple(driver.knowledge.datanodes[1:])
    wish = driver.knowledge.wishes[-1]
    assert (wish.wanted, wish.length_bytes, wish.writer_host) == (3, SMALL, "my-host")
    token = driver.keys.open_token(block.token, driver.now_ms)
    assert (token.block_id, token.stamp, token.access) == (
        block.block_id,
        block.stamp,
        Access.WRITE,
    )
    assert (token.targets, token.length_limit_bytes) == (block.targets, SMALL)
    assert token.expires_ms == driver.now_ms + driver.settings.block_token_life_ms


def test_too_few_datanodes_are_counted_in_the_error(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    driver.knowledge.dead = {target.datanode_id for target in driver.knowledge.datanodes[1:]}
    with pytest.raises(TooFewDatanodes, match=r"1 of 4 registered.*at least 2"):
        driver.allocate(inode_id, 0)
    driver.knowledge.datanodes.clear()
    with pytest.raises(TooFewDatanodes, match=r"0 of 0 registered.*at least 1"):
        driver.allocate(inode_id, 0)


def test_a_file_has_at_most_ten_thousand_blocks(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    with pytest.raises(FileTooLarge, match="10000"):
        driver.do(AllocateBlock(inode_id, 10_000, None))


@pytest.mark.parametrize("index", [-1, 0, 3])
def test_a_block_that_is_not_the_next_one_is_refused(driver: Driver, index: int) -> None:
    inode_id = driver.create("/x").inode_id
    driver.write_blocks(inode_id, (1, 1))
    with pytest.raises(InvalidRequest):
        driver.do(AllocateBlock(inode_id, index, None))


def test_a_block_all_of_whose_datanodes_failed_is_allocated_again(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    first = driver.allocate(inode_id, 0)
    again = driver.allocate(inode_id, 0)
    assert again.block_id != first.block_id
    assert driver.take_effects(BlocksDropped) == [BlocksDropped((first.block_id,))]
    driver.do(PublishFile(inode_id, "/x", committed(again), DIGEST))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"stamp": 99}, StaleGeneration),
        ({"length_bytes": 0}, InvalidRequest),
        ({"length_bytes": SMALL + 1}, InvalidRequest),
        ({"digest": b"short"}, InvalidRequest),
        ({"block_id": 1}, InvalidRequest),
    ],
)
def test_a_block_is_committed_only_as_what_it_can_be(
    driver: Driver, change: dict[str, int], error: type[DolmenError]
) -> None:
    inode_id = driver.create("/x", block_size_bytes=SMALL).inode_id
    block = driver.allocate(inode_id, 0)
    fields = {
        "block_id": block.block_id,
        "stamp": block.stamp,
        "length_bytes": SMALL,
        "digest": DIGEST,
    }
    with pytest.raises(error):
        driver.do(PublishFile(inode_id, "/x", CommittedBlock(**{**fields, **change}), DIGEST))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        driver.do(PublishFile(inode_id, "/x", None, DIGEST))
    driver.do(PublishFile(inode_id, "/x", CommittedBlock(**fields), DIGEST))  # type: ignore[arg-type]


def test_nobody_else_writes_publishes_or_drops_a_file(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    requests: list[ClientRequest] = [
        AllocateBlock(inode_id, 0),
        PublishFile(inode_id, "/x", None, b""),
        AbandonFile(inode_id),
    ]
    for request in requests:
        with pytest.raises(LeaseConflict, match="another client"):
            driver.do(request, client_id=RIVAL)
    driver.do(PublishFile(inode_id, "/x", None, b""))
    for request in requests:
        with pytest.raises(LeaseConflict, match="no lease"):
            driver.do(request, client_id=CLIENT)


@pytest.mark.parametrize("inode_id", [-1, 0, 1, 99, 1 << 70])
def test_an_inode_that_nobody_writes_is_refused(driver: Driver, inode_id: int) -> None:
    with pytest.raises(LeaseConflict):
        driver.do(AllocateBlock(inode_id, 0))
    assert driver.ask(RenewLeases((inode_id,))) == LeasesRenewed((inode_id,))


def test_an_abandoned_file_is_gone_and_can_be_abandoned_again(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    block = driver.allocate(inode_id, 0)
    assert driver.do(AbandonFile(inode_id)) == Done()
    assert driver.do(AbandonFile(inode_id)) == Done()
    driver.tick()
    assert driver.take_effects(BlocksDropped) == [BlocksDropped((block.block_id,))]
    assert driver.do(AbandonFile(inode_id)) == Done()


def test_a_silent_writer_loses_its_file_and_one_that_renews_keeps_it() -> None:
    driver = Driver(NamesystemSettings(lease_hard_limit_ms=1000))
    silent, renewing = driver.create("/a").inode_id, driver.create("/b").inode_id
    driver.tick()
    driver.now_ms += 999
    assert driver.ask(RenewLeases((renewing,))) == LeasesRenewed(())
    assert driver.tick() == 0
    driver.now_ms += 1
    driver.tick()
    assert driver.take_effects(LeaseEnded) == [LeaseEnded(silent)]
    assert driver.ask(RenewLeases((silent, renewing))) == LeasesRenewed((silent,))
    with pytest.raises(LeaseConflict):
        driver.do(PublishFile(silent, "/a", None, b""))


def test_a_restart_is_a_pause_for_writers() -> None:
    driver = Driver(NamesystemSettings(lease_hard_limit_ms=1000))
    inode_id = driver.create("/a").inode_id
    driver.now_ms += 5000
    driver.start()
    driver.tick()
    driver.now_ms += 999
    driver.tick()
    driver.do(PublishFile(inode_id, "/a", None, b""))


def rebuild(driver: Driver, inode_id: int, block: AllocatedBlock) -> AllocatedBlock:
    """The middle datanode fails."""
    first, middle, last = (target.datanode_id for target in block.targets)
    reply = driver.do(
        RebuildPipeline(inode_id, block.block_id, block.stamp, (first, last), (middle,))
    )
    assert isinstance(reply, AllocatedBlock)
    return reply


def test_a_rebuilt_pipeline_has_the_survivors_first_and_a_replacement(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    block = driver.allocate(inode_id, 0)
    rebuilt = rebuild(driver, inode_id, block)
    one, _, three, four = driver.knowledge.datanodes
    assert rebuilt.targets == (one, three, four)
    assert rebuilt.fresh == (four.datanode_id,)
    assert rebuilt.stamp > block.stamp
    copy = driver.keys.open_token(rebuilt.copy_token, driver.now_ms)
    assert (copy.access, copy.targets, copy.stamp) == (Access.COPY, (one, three), rebuilt.stamp)
    assert driver.keys.open_token(rebuilt.token, driver.now_ms).targets == rebuilt.targets


def test_a_stamp_counts_only_when_the_pipeline_is_updated(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    block = driver.allocate(inode_id, 0)
    rebuilt = rebuild(driver, inode_id, block)
    with pytest.raises(StaleGeneration):
        driver.do(PublishFile(inode_id, "/x", committed(rebuilt), DIGEST))
    members = tuple(target.datanode_id for target in rebuilt.targets)
    update = UpdatePipeline(inode_id, block.block_id, rebuilt.stamp, 3, members)
    with pytest.raises(StaleGeneration):
        driver.do(UpdatePipeline(inode_id, block.block_id, block.stamp, 3, members))
    with pytest.raises(InvalidRequest):
        driver.do(UpdatePipeline(inode_id, block.block_id, rebuilt.stamp, -1, members))
    with pytest.raises(InvalidRequest):
        driver.do(UpdatePipeline(inode_id, block.block_id, rebuilt.stamp, 3, ("nobody",)))
    assert driver.do(update) == Done()
    with pytest.raises(StaleGeneration):
        driver.do(PublishFile(inode_id, "/x", committed(block), DIGEST))
    driver.do(PublishFile(inode_id, "/x", committed(rebuilt), DIGEST))


def test_a_block_is_rebuilt_while_the_next_one_is_allocated(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    block = driver.allocate(inode_id, 0)
    rebuilt = rebuild(driver, inode_id, block)  # it could not be finalized everywhere …
    whole = committed(block)
    driver.do(AllocateBlock(inode_id, 1, whole))  # … and its writer had asked for more
    members = tuple(target.datanode_id for target in rebuilt.targets)
    length_bytes = whole.length_bytes
    update = UpdatePipeline(inode_id, block.block_id, rebuilt.stamp, length_bytes, members)
    assert driver.do(update) == Done()


def test_only_survivors_of_the_pipeline_that_live_can_carry_it_on(driver: Driver) -> None:
    inode_id = driver.create("/x").inode_id
    block = driver.allocate(inode_id, 0)
    stranger = driver.knowledge.datanodes[3].datanode_id
    for survivors in ((), (stranger,), (block.targets[0].datanode_id,) * 2):
        with pytest.raises(InvalidRequest):
            driver.do(RebuildPipeline(inode_id, block.block_id, block.stamp, survivors))
    with pytest.raises(StaleGeneration):
        driver.do(RebuildPipeline(inode_id, block.block_id, 99, (block.targets[0].datanode_id,)))
    driver.knowledge.dead = {target.datanode_id for target in driver.knowledge.datanodes}
    with pytest.raises(TooFewDatanodes):
        rebuild(driver, inode_id, block)
    driver.knowledge.dead = {target.datanode_id for target in driver.knowledge.datanodes[1:]}
    with pytest.raises(TooFewDatanodes, match="1 of 4"):
        rebuild(driver, inode_id, block)
