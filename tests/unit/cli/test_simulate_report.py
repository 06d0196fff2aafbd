"""The page of a simulated run and the verdict on it, without a run."""

import re
from pathlib import Path

import pytest

from dolmen.cli.simulate_drawing import COLOURS, kind_of, places_of
from dolmen.cli.simulate_options import SimulateOptions, keep_plan
from dolmen.cli.simulate_report import page, write_report
from dolmen.cli.simulate_run import OUT_OF_MEMORY, SimulateRun
from dolmen.cli.simulate_verdict import PROPERTIES, broken_property, verdict
from dolmen.simulation.faults import AnyFault, Blackout, Cut, Isolation, Kill, Pause
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.plan import Plan
from dolmen.simulation.run import Moment, SimulationFailed

KILL = Kill(at_ms=1_000, process="datanode-1", down_ms=2_000)
PLAN = Plan(seed=1, seconds=60, faults=(KILL, Blackout(at_ms=30_000, down_ms=1_000)))
MOMENTS = [
    Moment(20.0, 10, 1, 1, datanodes_down=1, under_replicated=7),
    Moment(40.0, 40, 2, 1, datanodes_down=0, under_replicated=None),
    Moment(60.0, 40, 2, 1, datanodes_down=0, under_replicated=0),
]


def test_every_kind_of_fault_has_a_colour_of_its_own() -> None:
    kinds = {str(fault.__struct_config__.tag) for fault in AnyFault.__args__}
    assert kinds == set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_a_fault_is_drawn_at_all_that_it_names_or_else_everywhere() -> None:
    assert places_of(KILL) == ("datanode-1",)
    cut = Cut(at_ms=0, for_ms=1, source="namenode", target="datanode-0")
    assert places_of(cut) == ("namenode", "datanode-0")
    island = Isolation(at_ms=0, for_ms=1, hosts=("datanode-0", "client-1"))
    assert places_of(island) == ("datanode-0", "client-1")
    assert places_of(PLAN.faults[1]) == ("everywhere",)
    assert kind_of(KILL) == "kill"


def test_what_comes_from_a_plan_or_a_story_is_escaped() -> None:
    hostile = "<script>alert('&')</script>"
    plan = Plan(seed=1, seconds=60, faults=(Pause(at_ms=0, for_ms=1, process=hostile),))
    text = page(plan, MOMENTS, [hostile])
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_line_shows_how_much_was_done_in_a_minute() -> None:
    text = page(PLAN, MOMENTS, [])
    *_, operations, faults = re.findall(r'points="([^"]*)"', text)
    assert len(operations.split()) == len(faults.split()) == 3
    assert ">90</text>" in text  # 30 operations in the 20 s of the second moment


@pytest.mark.parametrize("plan", [Plan(seed=1, seconds=30), PLAN])
def test_a_run_without_faults_or_moments_has_a_page(plan: Plan) -> None:
    assert page(plan, [], []).count("<svg") == 5


def test_curves_show_who_was_down_and_what_lacked_replicas_with_the_faults_above_them() -> None:
    text = page(PLAN, MOMENTS, [])
    down = text[text.index("Datanodes that were down") : text.index("Under-replicated")]
    lacking = text[text.index("Under-replicated") : text.index("Operations acknowledged")]
    assert ">1</text>" in down
    assert len(re.findall("<polyline", down)) == 1
    assert ">7</text>" in lacking
    assert len(re.findall("<polyline", lacking)) == 2  # a gap: the namenode was away
    for drawn in (down, lacking):
        assert len(re.findall("<title>(?:kill|blackout) at", drawn)) == 2


def test_a_long_run_has_no_more_points_than_a_page_can_show_and_keeps_its_peaks() -> None:
    moments = [Moment(float(at), 0, 0, 0, at == 1234, 0) for at in range(1, 10_000)]
    text = page(Plan(seed=1, seconds=10_000), moments, [])
    curves = re.findall(r'points="([^"]*)"', text)
    assert max(len(curve.split()) for curve in curves) <= 480
    assert any(point.endswith(",10.0") for point in curves[0].split())


def test_the_page_replaces_what_was_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text("old")
    write_report(file, PLAN, MOMENTS, ["held \udc80"])
    assert "held" in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]


def test_equal_plans_are_kept_under_equal_names(tmp_path: Path) -> None:
    file = keep_plan(tmp_path / "kept", PLAN)
    assert keep_plan(tmp_path / "kept", PLAN) == file
    assert Plan.decode(file.read_bytes()) == PLAN
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "--seed 7 --datanodes 5 --hours 24"),
        ({"datanodes": None}, "--seed 7 --hours 24"),
        ({"hours": 1e-9}, "--seed 7 --datanodes 5 --seconds 1"),
        ({"seconds": 1000}, "--seed 7 --datanodes 5 --seconds 1000"),
        ({"hours": 0.5}, "--seed 7 --datanodes 5 --hours 0.5"),
        ({"families": ("disk",)}, "--seed 7 --datanodes 5 --hours 24 --faults disk"),
        ({"plan_file": "p.json"}, "--plan p.json"),
    ],
)
def test_a_run_is_replayed_by_what_it_was_asked_with(
    changes: dict[str, object], words: str
) -> None:
    asked: dict[str, object] = {
        "seed": 7,
        "datanodes": 5,
        "hours": 24.0,
        "seconds": None,
        "families": ("crash", "pause", "network", "disk", "clock"),
        "plan_file": None,
        "report": None,
        "keep": None,
    }
    options = SimulateOptions(**{**asked, **changes})  # type: ignore[arg-type]
    assert " ".join(options.words) == words


def found_by(checker: str) -> CheckFailed:
    """A finding as the module of that name makes it."""
    names = {"__name__": f"dolmen.simulation.checkers.{checker}", "CheckFailed": CheckFailed}
    found = eval("CheckFailed('it is so')", names)
    assert isinstance(found, CheckFailed)
    return found


def test_the_property_that_is_broken_is_the_one_whose_checker_said_so() -> None:
    for wanted in PROPERTIES:
        for file in wanted.files:
            error = found_by(file)
            assert broken_property(error) is wanted
            told = [line for line in verdict(False, error) if line.startswith("BROKEN")]
            assert len(told) == 1
            assert wanted.sentence in told[0]


def test_an_error_of_no_checker_is_told_as_unforeseen() -> None:
    lines = verdict(False, RuntimeError("deadlock"))
    assert lines[-1] == "verdict: BROKEN by an error that nobody expected"
    assert verdict(True)[-1] == "verdict: every property held"


def test_a_run_that_needs_too_much_memory_comes_to_no_verdict() -> None:
    run = SimulateRun(PLAN)
    assert not run.ran_out_of_memory
    run.failed = SimulationFailed("a story\nand its end", "0" * 16)
    assert not run.ran_out_of_memory
    run.failed.__cause__ = MemoryError()
    assert run.ran_out_of_memory
    run.give_up()
    assert run.lines == ["a story", "and its end", OUT_OF_MEMORY]
