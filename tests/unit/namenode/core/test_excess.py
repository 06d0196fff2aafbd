"""Which replicas go when there are too many."""

import pytest

from namenode.core.excess import choose_excess
from tests.unit.namenode.core.test_placement import Site

CASES = [
    ("none when there are not too many", [("a", "h1", "r", 5)], 1, []),
    ("none when there are too few", [("a", "h1", "r", 5)], 3, []),
    ("the one with least room", [("a", "h1", "r", 5), ("b", "h2", "r", 4)], 1, ["b"]),
    (
        "the one whose host has another",
        [("a", "h1", "r", 9), ("b", "h1", "r", 8), ("c", "h2", "r", 1)],
        2,
        ["b"],
    ),
    (
        "not the last of a rack",
        [("a", "h1", "r1", 9), ("b", "h2", "r1", 8), ("c", "h3", "r2", 1)],
        2,
        ["b"],
    ),
    (
        "the last of a rack if nothing else can go",
        [("a", "h1", "r1", 9), ("b", "h2", "r2", 8), ("c", "h3", "r3", 1)],
        2,
        ["c"],
    ),
    (
        "as many as are too many",
        [("a", "h1", "r1", 9), ("b", "h2", "r1", 8), ("c", "h3", "r2", 7), ("d", "h4", "r2", 1)],
        2,
        ["d", "b"],
    ),
]


@pytest.mark.parametrize(("name", "sites", "wanted", "expected"), CASES)
def test_goes(
    name: str, sites: list[tuple[str, str, str, int]], wanted: int, expected: list[str]
) -> None:
    chosen = choose_excess([Site(*site) for site in sites], wanted)
    assert [site.datanode_id for site in chosen] == expected, name
