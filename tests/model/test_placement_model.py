"""Placement and excess hold their promises in any cluster."""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from namenode.core.excess import choose_excess
from namenode.core.placement import Place, Request, choose
from namenode.core.roster import Roster
from tests.unit.namenode.core.test_placement import Site

LENGTH_BYTES = 100


@st.composite
def clusters(draw: st.DrawFn) -> list[Site]:
    """Datanodes on few hosts and racks, some of them nearly full; a host is in one rack."""
    count = draw(st.integers(0, 12))
    hosts = draw(st.lists(st.integers(0, 7), min_size=count, max_size=count))
    rack_of = draw(st.lists(st.sampled_from("abc"), min_size=8, max_size=8))
    room = draw(st.lists(st.sampled_from([0, 99, 100, 5000]), min_size=count, max_size=count))
    load = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return [
        Site(f"d{number}", f"h{hosts[number]}", rack_of[hosts[number]], room[number], load[number])
        for number in range(count)
    ]


@st.composite
def requests(draw: st.DrawFn, sites: list[Site]) -> Request:
    names = [site.datanode_id for site in sites]
    some = st.lists(st.sampled_from(names), unique=True) if names else st.just([])
    holders = set(draw(some))
    return Request(
        wanted=draw(st.integers(0, 6)),
        length_bytes=LENGTH_BYTES,
        writer_host=draw(st.sampled_from(["", "h0", "h1", "elsewhere"])),
        holders=tuple(
            Place(site.datanode_id, site.host, site.rack)
            for site in sites
            if site.datanode_id in holders
        ),
        excluded=frozenset(draw(some)),
    )


@given(st.data())
def test_targets_are_distinct_have_room_and_share_a_host_only_when_they_must(
    data: st.DataObject,
) -> None:
    sites = data.draw(clusters())
    request = data.draw(requests(sites))
    chosen = choose(Roster(sites), request, Random(data.draw(st.integers(0, 99))))
    barred = request.excluded | {place.datanode_id for place in request.holders}
    able = [s for s in sites if s.datanode_id not in barred and s.free_bytes >= LENGTH_BYTES]
    assert len(chosen) == min(request.wanted, len(able))
    assert len({site.datanode_id for site in chosen}) == len(chosen)
    assert all(site in able for site in chosen)
    hosts = {place.host for place in request.holders}
    for position, site in enumerate(chosen):
        others = [other for other in able if other not in chosen[:position]]
        assert site.host not in hosts or all(other.host in hosts for other in others)
        hosts.add(site.host)
    _check_racks(request, able, list(chosen))


def _check_racks(request: Request, able: list[Site], chosen: list[Site]) -> None:
    """Whoever could have been on a second rack without sharing a host is."""
    places = [(place.host, place.rack) for place in request.holders]
    for site in chosen:
        hosts, racks = {host for host, _ in places}, {rack for _, rack in places}
        if len(racks) == 1 and site.host not in hosts:
            others = [other for other in able if other.host not in hosts]
            assert site.rack not in racks or all(other.rack in racks for other in others)
        places.append((site.host, site.rack))


@given(st.data())
def test_the_first_replica_is_on_the_writers_host_when_that_can_take_it(
    data: st.DataObject,
) -> None:
    sites = data.draw(clusters())
    request = Request(data.draw(st.integers(1, 3)), LENGTH_BYTES, writer_host="h0")
    chosen = choose(Roster(sites), request, Random(data.draw(st.integers(0, 99))))
    if any(site.host == "h0" and site.free_bytes >= LENGTH_BYTES for site in sites):
        assert chosen[0].host == "h0"


@settings(max_examples=50)
@given(
    rooms=st.lists(st.sampled_from([1000, 2000, 4000]), min_size=2, max_size=6),
    seed=st.integers(0, 1 << 32),
)
def test_draws_are_in_proportion_to_room_in_any_cluster(rooms: list[int], seed: int) -> None:
    """Within six standard deviations: no draw of chance comes to that."""
    sites = [Site(f"d{n}", f"h{n}", free_bytes=room) for n, room in enumerate(rooms)]
    roster, random, draws = Roster(sites), Random(seed), 1000
    drawn = Counter(choose(roster, Request(1, 1), random)[0].datanode_id for _ in range(draws))
    whole = sum(room + 1 for room in rooms)
    for site in sites:
        share = (site.free_bytes + 1) / whole
        spread = 6 * (draws * share * (1 - share)) ** 0.5
        assert abs(drawn[site.datanode_id] - draws * share) <= spread


@given(st.data())
def test_the_third_replica_is_in_the_rack_of_the_second_when_that_can_take_it(
    data: st.DataObject,
) -> None:
    sites = data.draw(clusters())
    random = Random(data.draw(st.integers(0, 99)))
    chosen = choose(Roster(sites), Request(3, LENGTH_BYTES, writer_host="h0"), random)
    if len(chosen) < 3 or chosen[0].rack == chosen[1].rack:
        return
    taken, hosts = chosen[:2], {site.host for site in chosen[:2]}
    able = [s for s in sites if s not in taken and s.free_bytes >= LENGTH_BYTES]
    same = [site for site in able if site.rack == chosen[1].rack and site.host not in hosts]
    if same:
        assert chosen[2] in same


@given(st.data())
def test_whoever_is_not_able_is_never_chosen(data: st.DataObject) -> None:
    sites = data.draw(clusters())
    request = data.draw(requests(sites))
    able = {site.datanode_id for site in sites if data.draw(st.booleans())}
    random = Random(data.draw(st.integers(0, 99)))
    chosen = choose(Roster(sites), request, random, lambda site: site.datanode_id in able)
    assert {site.datanode_id for site in chosen} <= able


@given(clusters(), st.integers(1, 5))
def test_excess_leaves_what_is_wanted_and_the_last_of_a_rack_while_it_can(
    sites: list[Site], wanted: int
) -> None:
    chosen = choose_excess(sites, wanted)
    assert len(chosen) == max(0, len(sites) - wanted)
    left = list(sites)
    for site in chosen:
        assert site in left
        racks = Counter(other.rack for other in left)
        assert racks[site.rack] > 1 or all(count == 1 for count in racks.values())
        hosts = Counter(other.host for other in left)
        if hosts[site.host] == 1 and racks[site.rack] > 1:
            assert all(hosts[other.host] == 1 for other in left), "two on one host, and both stay"
        left.remove(site)


def test_draws_are_fair_among_equals() -> None:
    sites = [Site(f"d{number}", f"h{number}") for number in range(6)]
    random = Random(3)
    drawn: Counter[str] = Counter()
    for _ in range(2000):
        drawn.update(site.datanode_id for site in choose(Roster(sites), Request(3, 1), random))
    assert all(850 < drawn[site.datanode_id] < 1150 for site in sites)
