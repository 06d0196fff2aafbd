"""Drawing datanodes by room, without looking at all of them."""

from collections import Counter
from random import Random

from namenode.core.placement import Place, Request, choose
from namenode.core.roster import Pool, Roster
from tests.unit.namenode.core.test_placement import Site


def test_a_pool_is_drawn_from_in_proportion_to_room() -> None:
    pool = Pool([Site("a", "a", free_bytes=1000), Site("b", "b", free_bytes=3000)])
    random = Random(1)
    drawn = Counter(pool.draw(random).datanode_id for _ in range(4000))
    assert 2.7 < drawn["b"] / drawn["a"] < 3.3


def test_a_choice_among_a_thousand_looks_at_few() -> None:
    looked_at = Counter[str]()
    sites = [Site(f"d{n}", f"h{n}", f"r{n % 20}") for n in range(1000)]

    def able(site: Site) -> bool:
        looked_at[site.datanode_id] += 1
        return True

    roster, random = Roster(sites), Random(1)
    for _ in range(100):
        assert len(choose(roster, Request(3, 1, writer_host="h7"), random, able)) == 3
    assert looked_at.total() < 100 * 20


def test_the_only_one_that_suits_is_found_among_a_thousand() -> None:
    sites = [Site(f"d{n}", f"h{n}", "r", free_bytes=5) for n in range(1000)]
    sites[777] = Site("d777", "h777", "elsewhere", free_bytes=5)
    request = Request(1, 1, holders=(Place("d0", "h0", "r"),))
    assert [site.datanode_id for site in choose(Roster(sites), request, Random(1))] == ["d777"]
    assert choose(Roster(sites), Request(1, 6), Random(1)) == ()
