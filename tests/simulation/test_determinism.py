"""The same plan gives the same trace, wherever and whenever it is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.run import simulate

SEED, SECONDS = 4, 60

PROGRAM = f"""
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.run import simulate
print(simulate(make_plan({SEED}, {SECONDS})).digest)
"""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def digest() -> str:
    return simulate(make_plan(SEED, SECONDS)).digest


@pytest.mark.parametrize(
    ("hash_seed", "time_zone"), [("0", "UTC"), ("1", "Asia/Kathmandu"), ("random", "America/Lima")]
)
def test_a_fresh_process_in_another_place_gives_the_same_trace(
    digest: str, hash_seed: str, time_zone: str, tmp_path: Path
) -> None:
    surroundings = {"PYTHONHASHSEED": hash_seed, "TZ": time_zone, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | surroundings,
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == digest


def test_a_hundred_runs_before_it_change_nothing(digest: str) -> None:
    for seed in range(100):
        simulate(Plan(seed=seed, seconds=1, datanodes=1, clients=0))
    assert simulate(make_plan(SEED, SECONDS)).digest == digest


def test_another_seed_gives_another_trace(digest: str) -> None:
    assert simulate(make_plan(SEED + 1, SECONDS)).digest != digest
