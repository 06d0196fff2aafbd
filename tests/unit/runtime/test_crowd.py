from dolmen.runtime.crowd import Crowd, CrowdLimits, Doing, Reason


def make(connections: int = 3, unread_bytes: int = 100) -> Crowd:
    return Crowd(CrowdLimits(connections, unread_bytes, fresh_s=10, idle_s=60))


def test_whoever_asks_nothing_has_to_go_after_a_while() -> None:
    crowd = make()
    assert crowd.came("early", 0) is None
    assert crowd.came("late", 5) is None
    assert crowd.overdue(9, 10) == []
    assert crowd.overdue(10, 10) == ["early"]
    crowd.came("another", 5)
    assert crowd.overdue(15, 1) == ["late"]
    assert crowd.overdue(15, 1) == ["another"]
    assert len(crowd) == 0
    assert crowd.resets[Reason.SILENT] == 3


def test_who_works_or_talks_may_stay_and_who_is_idle_for_a_time() -> None:
    crowd = make()
    for name, doing in (("busy", Doing.BUSY), ("talking", Doing.TALKING), ("idle", Doing.IDLE)):
        crowd.came(name, 0)
        crowd.becomes(name, doing, 1)
    assert crowd.overdue(60, 10) == []
    assert crowd.overdue(61, 10) == ["idle"]
    assert crowd.overdue(10_000, 10) == []


def test_a_newcomer_takes_the_place_of_the_one_that_was_fresh_for_longest() -> None:
    crowd = make()
    crowd.came("busy", 0)
    crowd.becomes("busy", Doing.BUSY, 0)
    crowd.came("silent", 1)
    crowd.came("idle", 2)
    crowd.becomes("idle", Doing.IDLE, 2)
    assert crowd.came("new", 3) == "silent"
    crowd.becomes("new", Doing.BUSY, 3)
    assert crowd.came("newer", 4) == "idle"
    crowd.becomes("newer", Doing.TALKING, 4)
    assert crowd.came("too much", 5) == "too much"
    assert len(crowd) == 3
    assert crowd.resets[Reason.CROWDED] == 3


def test_half_heads_and_half_frames_are_bounded_and_silent_ones_go_first() -> None:
    crowd = make()
    for name in ("talking", "fresh", "busy"):
        crowd.came(name, 0)
    crowd.becomes("talking", Doing.TALKING, 0)
    crowd.becomes("busy", Doing.BUSY, 0)
    assert crowd.received("talking", 50) is None
    assert crowd.received("fresh", 50) is None
    assert crowd.received("busy", 10**9) is None, "bodies are not counted"
    assert crowd.received("talking", 1) == "fresh"
    assert crowd.unread_bytes == 51
    crowd.becomes("talking", Doing.TALKING, 1)
    assert crowd.unread_bytes == 0
    assert crowd.received("talking", 101) == "talking"
    assert crowd.resets[Reason.UNREAD] == 2


def test_a_connection_that_is_gone_leaves_nothing_behind() -> None:
    crowd = make()
    crowd.came("one", 0)
    crowd.received("one", 10)
    crowd.gone("one")
    crowd.gone("one")
    assert crowd.received("one", 1) is None
    assert (len(crowd), crowd.unread_bytes, crowd.overdue(100, 10)) == (0, 0, [])
    assert crowd.accepted == 1
