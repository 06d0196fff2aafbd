"""Names of files say which replica they belong to, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datanode.core.layout import (
    Place,
    block_directory,
    checksums_name,
    data_name,
    group_of,
    is_cut_off_write,
    parse_name,
)
from dolmen.protocol.identifiers import make_block_id

BLOCK_IDS = st.integers(0, 2**64 - 1)


@given(block_id=BLOCK_IDS, stamp=st.integers(0, 2**63))
def test_a_name_is_read_as_it_was_made(block_id: int, stamp: int) -> None:
    assert parse_name(data_name(block_id)) == (block_id, None)
    assert parse_name(checksums_name(block_id, stamp)) == (block_id, stamp)


ID = "0" * 16


@pytest.mark.parametrize(
    "name",
    [
        "",
        "VERSION",
        ID,
        f"{ID}.block.new",
        f"{ID}.01.checksums",
        f"{ID}.-1.checksums",
        f"{ID}.x",
        f"{ID[1:]}.block",
        f"{ID[1:]}G.block",
    ],
)
def test_a_name_of_neither_kind_is_nobodys(name: str) -> None:
    assert parse_name(name) is None


def test_a_file_of_a_block_that_was_not_renamed_is_known_and_nothing_else_is_taken_for_one() -> (
    None
):
    for name in (f"{ID}.7.checksums.new", f"{ID}.7.damaged.new", f"{ID}.block.new"):
        assert is_cut_off_write(name)
    for name in (f"{ID}.7.checksums", f"{ID}.block", f"{ID}.new", "x.checksums.new", ".new"):
        assert not is_cut_off_write(name)


def test_neighbouring_blocks_share_a_directory_and_namespaces_do_not() -> None:
    groups = [group_of(make_block_id(1, number)) for number in range(1024)]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [256] * 4
    assert groups[0] == "0001/00/00"
    assert group_of(make_block_id(2, 0)) == "0002/00/00"
    assert block_directory(Place.FINALIZED, make_block_id(1, 256)) == "finalized/0001/00/01"
