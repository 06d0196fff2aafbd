"""Which open replicas are kept."""

from dataclasses import dataclass

from dolmen.client.core.open_replicas import OpenReplicas


@dataclass
class Replica:
    number: int
    was_used: bool = False


def filled(count: int, limit: int) -> tuple[OpenReplicas[Replica], list[Replica], list[Replica]]:
    """Return what keeps, those that were added, and those that were given up."""
    kept = OpenReplicas[Replica](limit)
    added = [Replica(number) for number in range(count)]
    given_up = []
    for replica in added:
        given_up += kept.add((replica.number, 1), replica)
        replica.was_used = False
    return kept, added, given_up


def test_no_more_than_the_limit_are_kept_and_the_oldest_go_first() -> None:
    kept, added, given_up = filled(6, 4)
    assert len(kept) == 4
    assert given_up == added[:2]
    assert [kept.get((one.number, 1)) for one in added] == [None, None, *added[2:]]


def test_who_is_used_outlasts_who_is_not() -> None:
    kept, added, _ = filled(4, 4)
    added[0].was_used = added[1].was_used = True
    assert kept.add((8, 1), Replica(8)) == [added[2]]
    assert kept.add((9, 1), Replica(9)) == [added[3]]
    assert kept.get((0, 1)) is added[0]


def test_when_all_are_used_the_oldest_goes_and_the_new_one_stays() -> None:
    kept, added, _ = filled(4, 4)
    for replica in added:
        replica.was_used = True
    new = Replica(9)
    assert kept.add((9, 1), new) == [added[0]]
    assert kept.get((9, 1)) is new


def test_another_replica_of_a_block_takes_the_place_of_the_one_before() -> None:
    kept, added, _ = filled(2, 4)
    other = Replica(9)
    assert kept.add((0, 1), other) == [added[0]]
    kept.remove((0, 1), added[0])
    assert kept.get((0, 1)) is other
    kept.remove((0, 1), other)
    assert kept.get((0, 1)) is None
    assert len(kept) == 1
