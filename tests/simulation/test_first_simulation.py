"""A whole cluster in virtual time, while its processes die: every promise is kept, every run can be
run again."""

import os
import subprocess
import sys

import msgspec
import pytest

from dolmen.simulation.fault_draws import Family
from dolmen.simulation.faults import Kill, Pause, PowerLoss
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.run import SimulationFailed, replay_options, simulate
from dolmen.simulation.work_plan import Work


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cluster_survives_the_deaths_of_its_processes(seed: int) -> None:
    result = simulate(make_plan(seed, seconds=300))
    assert result.operations > 100
    assert result.blocks > 0


def test_a_thousand_virtual_seconds_of_dying_datanodes_lose_nothing() -> None:
    made = make_plan(7, 1000, 5, frozenset({Family.CRASH}))
    deaths = [f for f in made.faults if isinstance(f, Kill | PowerLoss) and f.process != NAMENODE]
    assert {fault.process for fault in deaths} >= {datanode_name(index) for index in range(5)}
    result = simulate(msgspec.structs.replace(made, faults=tuple(deaths)))
    assert result.virtual_s > 1000
    assert result.faults > len(deaths) * 0.9, "hardly any was spared"
    assert result.faults_in_flight > len(deaths) / 2


def trace_of(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dolmen.simulation", "--seed", str(seed), "--seconds", "20"],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith("trace ")
    assert len(last) == len("trace ") + 16
    return last


def test_equal_seeds_give_equal_traces_in_fresh_processes_with_different_hash_seeds() -> None:
    assert trace_of(4, "1") == trace_of(4, "2")
    assert trace_of(4, "random") != trace_of(5, "random")


def test_two_runs_in_one_process_do_not_disturb_each_other() -> None:
    plan = make_plan(6, seconds=20)
    assert simulate(plan) == simulate(plan)


def test_a_plan_is_data() -> None:
    plan = make_plan(3)
    assert Plan.decode(plan.encode()) == plan
    assert plan == make_plan(3)
    assert plan.faults != make_plan(4).faults


def test_a_failure_tells_its_plan_and_how_to_see_it_again() -> None:
    deaths = tuple(
        Kill(at_ms=5_000, process=datanode_name(index), down_ms=200_000) for index in range(5)
    )
    standing_still = Pause(at_ms=4_000, process=client_name(0), for_ms=300_000)
    work = Work(may_fail=False)
    plan = Plan(seed=1, seconds=300, faults=(standing_still, *deaths), work=work)
    with pytest.raises(SimulationFailed, match=r"failed: (BlockMissing|TooFewDatanodes)") as failed:
        simulate(plan)
    story = str(failed.value)
    assert f"dolmen simulate --plan '{plan.encode()}'" in story
    assert "process='datanode-3'" in story, "the faults that concern all"
    assert "begins" in story or "Publish(" in story or "Look(" in story


def test_a_plan_that_its_seed_makes_is_named_by_its_seed() -> None:
    assert replay_options(make_plan(8, 300, 5)) == "--seed 8 --seconds 300 --datanodes 5"
    assert replay_options(Plan(8)).startswith("--plan")
