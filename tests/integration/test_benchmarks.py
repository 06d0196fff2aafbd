"""Every benchmark runs with tiny sizes, and its lines are well-formed, whatever the figures are."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.catalogue import BENCHMARKS

ROOT = Path(__file__).parents[2]

#: Longer than any of them takes on a busy machine; it ends what hangs.
WITHIN_S = 300.0

NUMBER = r"[\d,]+(\.\d+)?"
SPREAD = rf"{NUMBER} \({NUMBER}–{NUMBER}\)"
AIM = r"(-|(ratio )?[≥≤] .*: (not )?met)"
ROW = re.compile(rf"\S.*?  +{SPREAD} (MiB/s|per s|s|ms|MiB|bytes) +{SPREAD} +{SPREAD} +{AIM} +\S.*")

LINES = {
    "small-files": 4,
    "stat": 3,
    "namespace": 5,
    "namenode": 10,
    "write": 2,
    "read": 4,
    "repair": 3,
    "startup": 1,
    "namenode-level": 5,
    "namenode-10m": 6,
}


def bench(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.mark.parametrize("name", [benchmark.name for benchmark in BENCHMARKS])
def test_a_benchmark_prints_a_well_formed_line_for_each_figure(tmp_path: Path, name: str) -> None:
    report = tmp_path / "report.json"
    done = bench(
        *("--only", name, "--small", "--rounds", 1, "--json", report),
        *("--dir", tmp_path, "--in-memory"),
    )
    assert done.returncode == 0, done.stderr
    machine, heading, *rows, end = done.stdout.splitlines()
    assert "kernel" in machine
    assert heading.split()[:2] == ["what", "Dolmen"]
    assert re.fullmatch(r"took .* min; all that is not of this run used \d+% .*", end)
    assert len(rows) == LINES[name]
    assert [row for row in rows if not ROW.fullmatch(row)] == []
    assert not list(tmp_path.glob("dolmen-bench-*"))

    document = json.loads(report.read_text())
    assert {line["benchmark"] for line in document["lines"]} == {name}
    for line in document["lines"]:
        assert line["subject"]["middle"] > 0
        assert line["limit"]["lowest"] <= line["limit"]["middle"] <= line["limit"]["highest"]
        assert line["ratio"]["middle"] > 0 or line["limit"]["middle"] == 0  # below a clock tick


def test_the_benchmarks_are_listed_with_their_questions() -> None:
    listed = bench("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [benchmark.name for benchmark in BENCHMARKS]


def test_a_benchmark_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = bench("--only", "speed", "--dir", tmp_path, "--in-memory")
    assert done.returncode == 1
    assert "there is no 'speed'" in done.stderr
