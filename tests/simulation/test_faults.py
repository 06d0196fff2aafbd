"""Each family of faults by itself, and together: they may cost time and nothing else."""

import msgspec
import pytest

from dolmen.simulation import faults
from dolmen.simulation.fault_draws import Family
from dolmen.simulation.faults import AnyFault, Return, RotKind
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.run import simulate
from dolmen.simulation.sim_inode import Keeps

ONE, OTHER = datanode_name(0), datanode_name(1)


@pytest.mark.parametrize("family", [Family.PAUSE, Family.NETWORK, Family.CLOCK])
def test_a_cluster_survives_a_family_of_faults(family: Family) -> None:
    result = simulate(make_plan(4, 100, 5, frozenset({family})))
    assert result.faults >= 5


def at(second: int, fault: AnyFault) -> AnyFault:
    return msgspec.structs.replace(fault, at_ms=second * 1000)


DISK_FAULTS = (
    faults.FullDisk(at_ms=0, for_ms=20_000, process=ONE),
    faults.SlowDisk(at_ms=0, for_ms=20_000, process=ONE, times=100),
    faults.HungDisk(at_ms=0, for_ms=70_000, process=ONE),
    faults.FailedSync(at_ms=0, for_ms=10_000, process=ONE),
    faults.LostVolume(at_ms=0, for_ms=20_000, process=ONE, comes_back=Return.ITSELF),
    faults.LostVolume(at_ms=0, for_ms=1_000, process=ONE, comes_back=Return.EMPTY),
    faults.LostVolume(at_ms=0, for_ms=20_000, process=ONE, comes_back=Return.OLDER),
    faults.ReadErrors(at_ms=0, for_ms=10_000, process=ONE, chance=0.02),
)


@pytest.mark.parametrize("fault", DISK_FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_disk_in_trouble_costs_time_and_nothing_else(fault: AnyFault) -> None:
    plan = Plan(seed=1, seconds=80, faults=(at(30, fault),))
    result = simulate(plan)
    assert result.faults == 1


def test_replicas_that_rot_are_found_and_healed() -> None:
    rots = tuple(
        faults.Rot(at_ms=20_000 + 2_000 * number, nth=number * 1009, kind=kind)
        for number, kind in enumerate(list(RotKind) * 4)
    )
    assert simulate(Plan(seed=2, seconds=60, faults=rots)).faults >= 6


def test_power_goes_everywhere_at_once_and_nothing_is_lost_or_forged() -> None:
    blackouts = tuple(
        faults.Blackout(at_ms=at_ms, down_ms=500, keeps=keeps)
        for at_ms, keeps in zip((20_000, 80_000, 140_000), Keeps, strict=True)
    )
    assert simulate(Plan(seed=3, seconds=200, faults=blackouts)).faults == 3


def test_everything_is_restarted_in_turn_under_load() -> None:
    restarts = (
        faults.RollingRestart(at_ms=10_000, down_ms=500, between_ms=2_000),
        faults.RollingRestart(at_ms=60_000, down_ms=500, between_ms=2_000, killed=True),
    )
    assert simulate(Plan(seed=4, seconds=120, faults=restarts)).faults_in_flight == 2


def test_a_partial_partition_is_worked_around() -> None:
    cuts = (
        faults.Cut(at_ms=10_000, for_ms=40_000, source=ONE, target=OTHER),
        faults.Cut(at_ms=60_000, for_ms=8_000, source=client_name(0), target=ONE, one_way=True),
        faults.Cut(at_ms=70_000, for_ms=40_000, source=ONE, target=NAMENODE, one_way=True),
        faults.HalfOpen(at_ms=120_000, source=ONE, target=NAMENODE),
    )
    assert simulate(Plan(seed=5, seconds=150, faults=cuts)).faults == 4


def test_an_older_disk_comes_when_the_datanode_has_missed_the_newer_one() -> None:
    away = faults.LostVolume(at_ms=20_000, for_ms=8_000, process=ONE)
    older = faults.LostVolume(at_ms=60_000, for_ms=8, process=ONE, comes_back=Return.OLDER)
    assert simulate(Plan(seed=7, seconds=90, faults=(away, older))).faults == 2


def test_what_would_take_the_last_good_replica_is_spared() -> None:
    losses = tuple(
        faults.LostVolume(at_ms=30_000, for_ms=1_000, process=datanode_name(index))
        for index in range(5)
    )
    result = simulate(Plan(seed=6, seconds=40, faults=losses))
    assert 0 < result.faults < 5


def test_a_plan_of_every_kind_of_fault_goes_through_json_unchanged() -> None:
    plan = make_plan(1, seconds=3000)
    assert len({type(fault) for fault in plan.faults}) > 15
    assert Plan.decode(plan.encode()) == plan


def test_a_plan_of_another_version_is_refused() -> None:
    text = Plan(seed=1).encode().replace('"version":1', '"version":2')
    with pytest.raises(ValueError, match="version 2"):
        Plan.decode(text)
