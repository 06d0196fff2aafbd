"""Listings and walks: byte order, pages, limits, and what changes between two pages."""

import pytest

from dolmen.protocol.client_messages import (
    Delete,
    GetInfos,
    Infos,
    ListDirectory,
    Listing,
    MakeDirectory,
    WalkTree,
)
from dolmen.protocol.control_messages import (
    MESSAGE_LIMIT_BYTES,
    ClientCall,
    encode_call,
    encode_reply,
)
from dolmen.protocol.errors import DolmenError, InvalidRequest, NoSuchPath, NotADirectory
from dolmen.protocol.identifiers import INFOS_LIMIT, PATH_LIMIT_BYTES
from tests.unit.namenode.core.driver import Driver


def paths(driver: Driver, request: ListDirectory | WalkTree) -> tuple[list[str], bool]:
    page = driver.ask(request)
    assert isinstance(page, Listing)
    return [entry.path for entry in page.entries], page.more


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    for path in ("/b", "/a/x/y", "/a-b", "/a/z", "/ä", "/Z", "/a/x!"):
        driver.do(MakeDirectory(path, parents=True))
    driver.write("/b/f")
    return driver


def test_names_come_in_byte_order(driver: Driver) -> None:
    assert paths(driver, ListDirectory("/")) == (["/Z", "/a", "/a-b", "/b", "/ä"], False)


def test_a_walk_goes_depth_first_parents_before_children(driver: Driver) -> None:
    everything = ["/Z", "/a", "/a/x", "/a/x/y", "/a/x!", "/a/z", "/a-b", "/b", "/b/f", "/ä"]
    assert paths(driver, WalkTree("/")) == (everything, False)
    assert paths(driver, WalkTree("/a")) == (["/a/x", "/a/x/y", "/a/x!", "/a/z"], False)
    assert paths(driver, WalkTree("/a", max_depth=1)) == (["/a/x", "/a/x!", "/a/z"], False)
    assert paths(driver, WalkTree("/b/f")) == ([], False)


@pytest.mark.parametrize("limit", [1, 2, 3, 9, 10])
@pytest.mark.parametrize("max_depth", [0, 1, 2])
def test_the_pages_of_a_walk_are_the_walk(driver: Driver, limit: int, max_depth: int) -> None:
    whole, _ = paths(driver, WalkTree("/", max_depth=max_depth))
    walked: list[str] = []
    more = True
    while more:
        after = walked[-1][1:] if walked else ""
        page, more = paths(driver, WalkTree("/", after, limit, max_depth))
        walked += page
    assert walked == whole


def test_a_page_that_ends_at_the_last_entry_says_that_none_follows(driver: Driver) -> None:
    assert paths(driver, ListDirectory("/", limit=5))[1] is False
    assert paths(driver, ListDirectory("/", limit=4))[1] is True
    assert paths(driver, ListDirectory("/", after="b", limit=1)) == (["/ä"], False)


def test_what_goes_between_two_pages_hides_nothing_else(driver: Driver) -> None:
    driver.do(Delete("/a", recursive=True))
    assert paths(driver, WalkTree("/", after="a/x/y"))[0] == ["/a-b", "/b", "/b/f", "/ä"]
    assert paths(driver, ListDirectory("/", after="a"))[0] == ["/a-b", "/b", "/ä"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (ListDirectory("/b/f"), NotADirectory),
        (ListDirectory("/b/f/x"), NotADirectory),
        (ListDirectory("/no"), NoSuchPath),
        (ListDirectory("/", limit=0), InvalidRequest),
        (ListDirectory("/", after="\udc80"), InvalidRequest),
        (ListDirectory("/", after="n" * 300), DolmenError),
        (WalkTree("/no"), NoSuchPath),
        (WalkTree("/", max_depth=-1), InvalidRequest),
        (WalkTree("/", after="a/" + "n" * 600), DolmenError),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(
    driver: Driver, request_: ListDirectory, error: type[DolmenError]
) -> None:
    with pytest.raises(error):
        driver.ask(request_)


def test_a_page_has_at_most_a_thousand_entries_and_fits_a_message() -> None:
    driver = Driver(checked=False)
    deep = "/" + "/".join(["ä" * 100] * 35)
    for number in range(1001):
        driver.do(MakeDirectory(f"/wide/{number:04}", parents=True))
        driver.do(MakeDirectory(f"{deep}/{number:04}", parents=True))
    assert len(paths(driver, ListDirectory("/wide", limit=5000))[0]) == 1000
    page = driver.ask(ListDirectory(deep))
    assert isinstance(page, Listing)
    assert page.more
    assert 10 < len(page.entries) < 1000
    assert len(encode_reply(page)) < MESSAGE_LIMIT_BYTES


def test_a_deep_walk_comes_back_up() -> None:
    driver = Driver(checked=False)
    driver.do(MakeDirectory("/" + "/".join(["d"] * 1000), parents=True))
    driver.do(MakeDirectory("/z"))
    driver.do(MakeDirectory("/d/z"))
    walked, more = paths(driver, WalkTree("/"))
    while more:
        page, more = paths(driver, WalkTree("/", after=walked[-1][1:]))
        walked += page
    assert len(walked) == 1002
    assert walked[-2:] == ["/d/z", "/z"]


# ---------------------------------------------------------------- many paths


def infos(driver: Driver, *asked: str) -> tuple[str | None, ...]:
    reply = driver.ask(GetInfos(asked))
    assert isinstance(reply, Infos)
    return tuple(entry.path if entry else None for entry in reply.entries)


def test_many_paths_are_answered_in_their_order_and_as_one_each(driver: Driver) -> None:
    asked = ("/b/f", "/none", "/a", "/b/f/below", "/", "/a")
    assert infos(driver, *asked) == ("/b/f", None, "/a", None, "/", "/a")
    reply = driver.ask(GetInfos(("/b/f",)))
    assert isinstance(reply, Infos)
    assert reply.entries == (driver.info("/b/f"),)


@pytest.mark.parametrize("asked", [(), ("/a",) * (INFOS_LIMIT + 1), ("/a", "relative")])
def test_none_too_many_and_no_paths_are_refused(driver: Driver, asked: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        driver.ask(GetInfos(asked))


def test_an_answer_about_the_longest_paths_fits_into_a_message(driver: Driver) -> None:
    name = "\U0001f5ff" * 63
    path = f"/{name}" * (PATH_LIMIT_BYTES // 253)
    driver.do(MakeDirectory(path, parents=True))
    request = GetInfos((path,) * INFOS_LIMIT)
    assert len(encode_call(ClientCall(bytes(16), 0, "user", request))) < MESSAGE_LIMIT_BYTES
    reply = driver.ask(request)
    assert isinstance(reply, Infos)
    assert 10 < len(reply.entries) < INFOS_LIMIT
    assert len(encode_reply(reply)) < MESSAGE_LIMIT_BYTES
