"""Readers that ask a second replica: it happens in the simulation, is bounded, and leaves nothing
behind."""

import pytest

from dolmen.client.core.hedge_budget import BURST_REQUESTS
from dolmen.client.hedging import HedgingFigures
from dolmen.simulation.checkers.extra_load import ExtraLoad
from dolmen.simulation.faults import Pause, SlowLink
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.plan import Plan, client_name, datanode_name
from dolmen.simulation.run import simulate
from dolmen.simulation.work_plan import Work

SHARE = 0.05


def slow_link(at_ms: int, index: int) -> SlowLink:
    """What makes the datanode late that a client asks first."""
    return SlowLink(
        at_ms=at_ms,
        for_ms=8_000,
        source=datanode_name(index),
        target=client_name(index),
        delay_ms=200,
        bytes_per_s=1_000_000,
    )


def test_late_datanodes_are_raced_and_what_is_read_is_right() -> None:
    pause = Pause(at_ms=18_000, for_ms=6_000, process=datanode_name(1))
    faults = (slow_link(8_000, 0), pause, slow_link(26_000, 1))
    work = Work(kinds=("hurried_readers",), pause_ms=300, replications=(3,), may_fail=False)
    result = simulate(Plan(seed=3, seconds=35, datanodes=3, clients=2, faults=faults, work=work))
    assert result.toll["races won by the second"] > 5
    assert result.failed == {}


def test_a_client_that_asks_twice_too_often_is_found() -> None:
    load = ExtraLoad()
    modest = HedgingFigures(asked=1_000, hedged=int(BURST_REQUESTS) + 50)
    load.watch(modest)
    load.check(SHARE)
    load.watch(HedgingFigures(asked=0, hedged=int(BURST_REQUESTS) + 1))
    with pytest.raises(CheckFailed, match="17 of 0 times twice"):
        load.check(SHARE)
    assert load.asked_twice == 16 + 50 + 17
