"""What seeds draw: everything there is, within what the promises allow."""

from collections.abc import Iterator
from typing import get_args

import pytest

from dolmen.simulation import faults
from dolmen.simulation.faults import AnyFault, Blackout, Return
from dolmen.simulation.plan import NAMENODE, Plan
from dolmen.simulation.plan_maker import Family, make_plan
from dolmen.simulation.work_plan import KINDS

SEEDS = range(60)


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return [make_plan(seed, 600) for seed in SEEDS]


def faults_of(plans: list[Plan]) -> Iterator[AnyFault]:
    return (fault for plan in plans for fault in plan.faults)


def test_every_kind_of_work_and_of_fault_is_drawn(plans: list[Plan]) -> None:
    assert {kind for plan in plans for kind in plan.work.kinds} == set(KINDS)
    assert {type(fault) for fault in faults_of(plans)} == set(get_args(AnyFault))


def test_every_size_of_cluster_is_drawn(plans: list[Plan]) -> None:
    assert {plan.datanodes for plan in plans} == {3, 4, 5, 6, 7}
    assert {plan.racks for plan in plans} == {1, 2, 3}
    assert {plan.volumes for plan in plans} == {1, 2, 3}
    assert {n for plan in plans for n in plan.work.replications} == {1, 2, 3, 4}
    assert len({plan.block_size_bytes for plan in plans}) > 2
    assert len({plan.checkpoint_every for plan in plans}) > 2
    assert {fault.volume for fault in faults_of(plans) if isinstance(fault, faults.FullDisk)} == {
        0,
        1,
        2,
    }


def test_how_many_datanodes_there_are_changes_nothing_else_of_the_cluster() -> None:
    drawn, given = make_plan(5, 300), make_plan(5, 300, 9)
    assert given.datanodes == 9
    assert drawn.work == given.work
    assert make_plan(5, 300, drawn.datanodes) == drawn


def test_files_of_one_replica_are_never_destroyed(plans: list[Plan]) -> None:
    for fault in faults_of([plan for plan in plans if plan.work.has_only_replicas]):
        assert not isinstance(fault, faults.Rot)
        assert not (isinstance(fault, faults.LostVolume) and fault.comes_back != Return.ITSELF)


def test_a_blackout_has_the_cluster_to_itself(plans: list[Plan]) -> None:
    for plan in plans:
        dark = [fault for fault in plan.faults if isinstance(fault, Blackout)]
        for fault in plan.faults:
            for one in dark if fault not in dark else ():
                assert fault.until_ms < one.at_ms or fault.at_ms > one.until_ms


def test_a_family_by_itself_brings_no_other(plans: list[Plan]) -> None:
    for fault in faults_of(
        [make_plan(seed, 600, None, frozenset({Family.PAUSE})) for seed in SEEDS]
    ):
        assert isinstance(fault, faults.Pause)
    failing = [f for f in faults_of(plans) if isinstance(f, faults.FailedSync | faults.FullDisk)]
    assert NAMENODE in {fault.process for fault in failing}
