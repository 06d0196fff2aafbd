"""A tree in small slices: everything once and in order, files of many blocks in pieces."""

import pytest

from dolmen.protocol.client_messages import Delete, MakeDirectory
from dolmen.protocol.errors import InvalidRequest, NameTooLong, NoSuchPath
from namenode.core.portions import Measure, Portion, Slice, take_slice
from tests.unit.namenode.core.driver import Driver

TWO = Measure(entries=2, blocks=2)


@pytest.fixture
def driver() -> Driver:
    driver = Driver()
    for path in ("/a/x", "/b"):
        driver.do(MakeDirectory(path, parents=True))
    driver.write("/a/f", lengths=(1,) * 3)
    driver.write("/a/x/g", lengths=(1,))
    driver.write("/c", lengths=(1,) * 5)
    return driver


def slice_of(driver: Driver, path: str, after: str = "", measure: Measure = TWO) -> Slice:
    with driver.key_value.snapshot() as view:
        return take_slice(view, path, after, measure)


def portions(driver: Driver, path: str, measure: Measure = TWO) -> list[Portion]:
    found: list[Portion] = []
    after, more = "", True
    while more:
        taken = slice_of(driver, path, after, measure)
        assert len(taken.portions) <= measure.entries
        assert sum(len(portion.block_ids) for portion in taken.portions) <= measure.blocks
        found += taken.portions
        after, more = taken.after, taken.more
    return found


@pytest.mark.parametrize("measure", [TWO, Measure(2, 1), Measure(3, 4), Measure(100, 100)])
def test_every_entry_comes_once_and_every_block_once(driver: Driver, measure: Measure) -> None:
    found = portions(driver, "/", measure)
    assert [p.path for p in found if p.first_index == 0] == [
        *("/", "/a", "/a/f", "/a/x", "/a/x/g", "/b", "/c")
    ]
    blocks = [block_id for portion in found for block_id in portion.block_ids]
    assert len(blocks) == len(set(blocks)) == 9


def test_a_file_is_a_tree_of_its_own(driver: Driver) -> None:
    assert [(p.path, p.first_index, len(p.block_ids)) for p in portions(driver, "/c")] == [
        *(("/c", 0, 2), ("/c", 2, 2), ("/c", 4, 1))
    ]


def test_a_file_that_was_replaced_meanwhile_is_not_mixed_with_the_new_one(driver: Driver) -> None:
    first = slice_of(driver, "/", measure=Measure(100, 7))
    assert first.portions[-1].path == "/c"
    driver.do(Delete("/c"))
    driver.write("/c", lengths=(1,) * 9)
    driver.write("/d", lengths=(1,))
    rest = slice_of(driver, "/", first.after, Measure(100, 100))
    assert [portion.path for portion in rest.portions] == ["/d"]


def test_a_directory_that_went_meanwhile_keeps_its_place_in_the_order(driver: Driver) -> None:
    first = slice_of(driver, "/", measure=Measure(4, 100))
    assert first.portions[-1].path == "/a/x"
    driver.do(Delete("/a", recursive=True))
    rest = slice_of(driver, "/", first.after, Measure(100, 100))
    assert [portion.path for portion in rest.portions] == ["/b", "/c"]


def test_an_empty_directory_is_one_portion(driver: Driver) -> None:
    assert [portion.path for portion in portions(driver, "/b")] == ["/b"]


@pytest.mark.parametrize("after", ["a//x", "a//1", "a//1:x", "//:", f"a//{'9' * 5000}:1", "a/\0"])
def test_what_is_no_bookmark_is_refused(driver: Driver, after: str) -> None:
    with pytest.raises(InvalidRequest):
        slice_of(driver, "/", after)


def test_a_path_or_a_bookmark_that_cannot_be_is_refused(driver: Driver) -> None:
    with pytest.raises(NoSuchPath):
        slice_of(driver, "/nowhere")
    with pytest.raises(NameTooLong):
        slice_of(driver, "/", "x" * 300)
