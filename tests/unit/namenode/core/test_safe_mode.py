"""When safe mode ends."""

from namenode.core.safe_mode import SafeMode, SafeModeOptions


def safe_mode(total: int, threshold: float = 0.999) -> SafeMode:
    return SafeMode(SafeModeOptions(threshold, 10_000), total)


def test_it_never_begins_when_nothing_is_stored() -> None:
    assert safe_mode(0).reason() is None


def test_it_ends_at_once_when_enough_blocks_are_reported() -> None:
    mode = safe_mode(1000)
    for _ in range(998):
        mode.saw_block(0)
    assert mode.reason() is not None
    mode.saw_block(0)
    assert mode.reason() is None


def test_of_a_few_blocks_all_must_be_reported() -> None:
    mode = safe_mode(5)
    for _ in range(4):
        mode.saw_block(0)
    assert mode.reason() == (
        "safe mode: 4 of 5 blocks have a replica, 99.9% are needed;"
        " no datanode has reported in full yet"
    )
    assert mode.missing() == 1


def test_it_ends_when_reports_bring_nothing_new_for_a_while() -> None:
    mode = safe_mode(5)
    mode.tick(1_000_000)
    assert mode.reason() is not None, "nobody has reported in full"
    mode.saw_full_report(1_000_000)
    mode.tick(1_009_999)
    assert mode.reason() is not None
    mode.saw_block(1_005_000)
    mode.tick(1_014_999)
    assert mode.reason() is not None
    mode.tick(1_015_000)
    assert mode.reason() is None


def test_a_block_from_the_future_brings_it_back_for_good() -> None:
    mode = safe_mode(0)
    mode.saw_future("datanode d holds block b", 7, 7)
    mode.tick(10**9)
    reason = mode.reason()
    assert reason is not None
    assert "datanode d holds block b" in reason
    assert "rolled back" in reason
