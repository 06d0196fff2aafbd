"""Plans that somebody wrote by hand, or another software did: they are run or refused."""

import json

import pytest

from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import make_plan

KILL = {"fault": "kill", "at_ms": 5, "down_ms": 3, "process": "datanode-0"}


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"seconds": 0},
        {"seconds": 10**9},
        {"datanodes": 0},
        {"clients": -1},
        {"racks": 0},
        {"volumes": 0},
        {"block_size_bytes": 100_000},
        {"surprise": 1},
        {"pace": {"network_bytes_per_s": 0}},
        {"pace": {"delay_max_ms": -1}},
        {"pace": {"speed": 1}},
        {"work": {"kinds": ["gambling"]}},
        {"work": {"pause_ms": -1}},
        {"faults": [{**KILL, "fault": "earthquake"}]},
        {"faults": [{**KILL, "process": "datanode-5"}]},
        {"faults": [{**KILL, "at_ms": -1}]},
        {"faults": [{**KILL, "at_ms": 1.5}]},
        {"faults": [{**KILL, "how": "badly"}]},
        {"faults": [{"fault": "full disk", "at_ms": 0, "for_ms": 1, "process": "x", "volume": 1}]},
        {"faults": [{"fault": "packet loss", "at_ms": 0, "for_ms": 1, "chance": 2.0}]},
        {"faults": [{"fault": "cut", "at_ms": 0, "for_ms": 1, "source": "a", "target": "b"}]},
    ],
)
def test_what_cannot_be_run_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Plan.decode(json.dumps({"seed": 1, "seconds": 30, "volumes": 1} | changed))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"seed": "1"}', "\0", "\xff"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Plan.decode(text)


def test_what_a_plan_leaves_out_is_as_usual() -> None:
    assert Plan.decode(json.dumps({"seed": 1, "faults": [KILL]})).datanodes == 5


def test_every_plan_that_is_drawn_can_be_read_back() -> None:
    for seed in range(100):
        plan = make_plan(seed, 300)
        assert Plan.decode(plan.encode()) == plan
