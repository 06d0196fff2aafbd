"""Who is LIVE, STALE and DEAD, and who only seems so."""

import pytest

from dolmen.protocol.datanode_messages import RegisterDatanode, StorageStatus
from namenode.core.datanodes import Change, Datanodes, Liveness, Patience
from namenode.core.records import Datanode, Storage

LIVE, STALE, DEAD = Liveness.LIVE, Liveness.STALE, Liveness.DEAD


class Watch:
    """Datanodes and a clock that ticks four times a second."""

    def __init__(self) -> None:
        self.now_ms = 5000
        self.datanodes = Datanodes(Patience(3000, 10_000), self.now_ms)

    def join(self, number: int) -> Change:
        name, volume = f"d{number}", f"v{number}"
        record = Datanode(name, number, f"h{number}:9864", f"h{number}", "/default")
        request = RegisterDatanode(
            name, b"", record.address, record.host, record.rack, 0, "0", (self.status(number),)
        )
        return self.datanodes.join(record, request, [Storage(volume, number, name)])

    def status(self, number: int) -> StorageStatus:
        return StorageStatus(f"v{number}", 100, 0, 100)

    def pass_time(self, ms: int, *beating: int) -> list[tuple[str, Liveness]]:
        changes = []
        for _ in range(ms // 250):
            self.now_ms += 250
            for number in beating:
                self.datanodes.hear(f"d{number}", (self.status(number),), 0)
            changes += self.datanodes.advance(self.now_ms)
        return [(change.datanode_id, change.liveness) for change in changes]

    def liveness(self, number: int) -> Liveness:
        state = self.datanodes.get(f"d{number}")
        assert state is not None
        return state.liveness


def test_silence_makes_stale_and_then_dead() -> None:
    watch = Watch()
    watch.join(1)
    assert watch.pass_time(2750) == []
    assert watch.pass_time(250) == [("d1", STALE)]
    assert watch.pass_time(9750) == []
    assert watch.pass_time(250) == [("d1", DEAD)]


def test_heartbeats_keep_a_datanode_live_and_bring_it_back() -> None:
    watch = Watch()
    watch.join(1)
    assert watch.pass_time(20_000, 1) == []
    watch.pass_time(4000)
    assert watch.liveness(1) is STALE
    watch.pass_time(250, 1)
    assert watch.liveness(1) is LIVE


def test_a_lost_connection_makes_stale_at_once_and_dead_only_later() -> None:
    watch = Watch()
    watch.join(1)
    watch.datanodes.lose("d1")
    assert watch.liveness(1) is STALE
    assert watch.pass_time(9750) == []
    assert watch.pass_time(250) == [("d1", DEAD)]
    assert watch.join(1) == Change("d1", LIVE, DEAD)
    assert watch.liveness(1) is LIVE


def test_time_in_which_the_namenode_did_not_run_is_no_silence() -> None:
    watch = Watch()
    watch.join(1)
    watch.now_ms += 600_000
    assert watch.datanodes.advance(watch.now_ms) == []
    assert watch.pass_time(1000) == []
    assert watch.pass_time(500) == [("d1", STALE)]


def test_a_datanode_known_from_before_is_waited_for_like_one_just_heard() -> None:
    watch = Watch()
    watch.datanodes.expect(Datanode("d1", 1, "h1:9864", "h1", "/default"))
    assert watch.liveness(1) is STALE
    assert watch.pass_time(12_750) == []
    assert watch.pass_time(250) == [("d1", DEAD)]


@pytest.mark.parametrize(
    ("total", "vanish", "waits"),
    [(4, 1, False), (4, 2, True), (20, 2, False), (20, 3, True), (2, 2, True)],
)
def test_deletions_wait_when_more_than_a_tenth_and_more_than_one_vanish(
    total: int, vanish: int, waits: bool
) -> None:
    watch = Watch()
    for number in range(total):
        watch.join(number)
    for number in range(vanish):
        watch.datanodes.lose(f"d{number}")
    assert (watch.datanodes.vanished() is not None) == waits
    watch.pass_time(60_000, *range(vanish, total))
    assert watch.datanodes.vanished() is None, "a minute later it is settled who is gone"


def test_who_vanished_and_came_back_holds_up_no_deletion() -> None:
    watch = Watch()
    for number in range(4):
        watch.join(number)
    for number in (1, 2):
        watch.datanodes.lose(f"d{number}")
    watch.join(1)
    assert watch.datanodes.vanished() is None


def test_only_one_that_has_reported_in_full_since_it_registered_is_proof() -> None:
    watch = Watch()
    watch.join(1)
    state = watch.datanodes.get("d1")
    assert state is not None
    assert not state.proving
    state.reported = True
    assert state.proving
    watch.datanodes.lose("d1")
    assert not state.proving
    watch.join(1)
    again = watch.datanodes.get("d1")
    assert again is not None
    assert not again.proving


def test_a_report_that_makes_no_progress_is_not_waited_for() -> None:
    watch = Watch()
    watch.join(1)
    assert watch.datanodes.awaited() is not None
    watch.pass_time(9750, 1)
    assert watch.datanodes.awaited() is not None
    watch.pass_time(500, 1)
    assert watch.datanodes.awaited() is None


def test_a_volume_missing_from_a_heartbeat_is_lost() -> None:
    watch = Watch()
    watch.join(1)
    assert watch.datanodes.hear("d1", (), 0) == [1]
    assert watch.datanodes.holder(1) is None
    state = watch.datanodes.get("d1")
    assert state is not None
    assert state.free_bytes == 0
