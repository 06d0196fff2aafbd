"""The placement rule, case by case."""

from collections import Counter
from random import Random

import msgspec
import pytest

from namenode.core.placement import Place, Request, choose
from namenode.core.roster import Roster


class Site(msgspec.Struct, frozen=True):
    datanode_id: str
    host: str
    rack: str = "r"
    free_bytes: int = 1000
    load: int = 0
    use: float = 0.0


def names(sites: list[Site], request: Request, seed: int = 0) -> list[str]:
    return [site.datanode_id for site in choose(Roster(sites), request, Random(seed))]


RACKS = [Site(f"{rack}{number}", f"{rack}{number}", rack) for rack in "abc" for number in range(3)]


@pytest.mark.parametrize("seed", range(20))
def test_the_first_is_on_the_writers_host_the_others_in_one_other_rack(seed: int) -> None:
    first, second, third, fourth = names(RACKS, Request(4, 1, writer_host="b1"), seed)
    assert first == "b1"
    assert second[0] != "b"
    assert third[0] == second[0]
    assert len({first, second, third, fourth}) == 4


def test_a_writer_on_no_known_host_writes_anywhere() -> None:
    firsts = {names(RACKS, Request(1, 1, writer_host="laptop"), seed)[0] for seed in range(200)}
    assert firsts == {site.datanode_id for site in RACKS}


def test_a_repair_goes_to_another_rack_while_there_is_only_one() -> None:
    holders = (Place("a0", "a0", "a"), Place("a1", "a1", "a"))
    chosen = {names(RACKS, Request(1, 1, holders=holders), seed)[0] for seed in range(100)}
    assert chosen == {"b0", "b1", "b2", "c0", "c1", "c2"}


def test_full_excluded_and_holding_datanodes_are_never_chosen() -> None:
    sites = [
        Site("full", "h1", free_bytes=9),
        Site("excluded", "h2"),
        Site("holder", "h3"),
        Site("other", "h4", free_bytes=10),
    ]
    request = Request(
        3, 10, holders=(Place("holder", "h3", "r"),), excluded=frozenset({"excluded"})
    )
    assert names(sites, request) == ["other"]


def test_two_go_to_one_host_only_when_no_other_host_can_take_it() -> None:
    sites = [Site("a", "h1"), Site("b", "h1"), Site("c", "h2", free_bytes=1)]
    assert sorted(names(sites, Request(3, 1))) == ["a", "b", "c"]
    assert {names(sites, Request(2, 1), seed)[1] for seed in range(50)} <= {"a", "b", "c"}
    assert all("c" in names(sites, Request(2, 1), seed) for seed in range(50))
    assert sorted(names(sites, Request(3, 10))) == ["a", "b"]


def test_nobody_who_can_take_it_is_nobody() -> None:
    assert names([], Request(3, 1)) == []
    assert names([Site("a", "h", free_bytes=-5)], Request(1, 0)) == []


def test_draws_follow_the_room_and_avoid_the_busy() -> None:
    sites = [Site("small", "h1", free_bytes=1000), Site("large", "h2", free_bytes=3000)]
    random = Random(7)
    drawn = Counter(
        choose(Roster(sites), Request(1, 1), random)[0].datanode_id for _ in range(4000)
    )
    assert 2.4 < drawn["large"] / drawn["small"] < 3.6
    busy = [Site("busy", "h1", load=9), Site("idle", "h2")]
    drawn = Counter(choose(Roster(busy), Request(1, 1), random)[0].datanode_id for _ in range(4000))
    assert drawn["idle"] > 2 * drawn["busy"] > 0
