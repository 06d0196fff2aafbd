"""`dolmen simulate` as a shell has it: what it prints, its last line, its exit codes, its page."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

from msgspec.structs import replace

from dolmen.simulation.faults import Kill, Pause
from dolmen.simulation.plan import Plan, client_name, datanode_name
from dolmen.simulation.work_plan import Work
from tests.integration.command_line import Shell

SHORT = ("simulate", "--seed", 4, "--seconds", 60)
TRACE = re.compile(r"trace [0-9a-f]{16}")

#: Both of those that take a second replica are gone for longer than clients are patient, and that
#: is said to be no reason.
DEAD = tuple(Kill(at_ms=3_000, process=datanode_name(index), down_ms=60_000) for index in (0, 1))
WORK = Work(kinds=("owned",), pause_ms=500, may_fail=False)
HOPELESS = Plan(
    seed=1,
    seconds=10,
    datanodes=3,
    clients=1,
    faults=(Pause(at_ms=100, for_ms=10, process=client_name(0)), *DEAD),
    work=WORK,
)


class Page(HTMLParser):
    """Which tags and attributes a page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")


def test_a_run_tells_what_happened_and_ends_with_its_trace(tmp_path: Path) -> None:
    done = Shell()(*SHORT, "--report", tmp_path / "run.html")
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("seed 4: 5 datanodes in ")
    assert TRACE.fullmatch(lines[-1])
    held = [line for line in lines if line.startswith("held ")]
    assert len(held) == 8
    assert any("hit work in flight" in line for line in lines)
    assert any(line.startswith("operations acknowledged: ") for line in lines)
    assert [file.name for file in tmp_path.iterdir()] == ["run.html"]


def test_equal_seeds_give_equal_traces_wherever_they_run(tmp_path: Path) -> None:
    def last(*words: object, **exported: str) -> str:
        return Shell(exported).output(*words).splitlines()[-1]

    first = last(*SHORT, PYTHONHASHSEED="1", TZ="Asia/Kolkata")
    assert first == last(*SHORT, PYTHONHASHSEED="2", HOME=os.fspath(tmp_path))
    assert first != last("simulate", "--seed", 5, "--seconds", 60)


def test_a_plan_in_a_file_is_run(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(Plan(seed=3, seconds=30).encode())
    done = Shell()("simulate", "--plan", file)
    assert done.returncode == 0, done.stderr
    assert "faults planned: 0" in done.stdout.decode()


def test_a_run_that_fails_tells_its_story_and_keeps_its_shrunk_plan(tmp_path: Path) -> None:
    file, kept = tmp_path / "plan.json", tmp_path / "kept"
    file.write_text(HOPELESS.encode())
    done = Shell()("simulate", "--plan", file, "--keep", kept, "--report", tmp_path / "run.html")
    assert done.returncode == 7, done.stderr
    lines = done.stdout.decode().splitlines()
    assert TRACE.fullmatch(lines[-1])
    (plan,) = kept.iterdir()
    smallest = Plan.decode(plan.read_bytes())
    assert smallest == replace(HOPELESS, faults=DEAD)
    assert lines[-3] == f"plan, shrunk from 3 faults to 2: {smallest.encode()}"
    assert lines[-2] == f"run it again: dolmen simulate --plan {plan}"
    assert any("BROKEN" in line for line in lines)
    assert any("process='datanode-1'" in line for line in lines)
    assert "BROKEN" in (tmp_path / "run.html").read_text()


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    Shell().output(*SHORT, "--report", file)
    text = file.read_text()
    page = Page(text)
    assert page.tags.count("svg") == 5
    assert page.tags.count("rect") > 10
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "onload", "onclick"} & set(page.attributes)
    assert "url(" not in text
    assert "@import" not in text


def test_a_wrong_use_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    good = tmp_path / "good.json"
    good.write_text(Plan(seed=3, seconds=30).encode())
    for words in (
        ("--faults", "crash,fire"),
        ("--datanodes", 0),
        ("--hours", 0),
        ("--hours", "nan"),
        ("--hours", 1, "--seconds", 60),
        ("--plan", good, "--seed", 7),
        ("--seconds", 30, "--report", tmp_path / "no" / "run.html"),
        ("--seconds", 30, "--report", tmp_path),
        ("--plan", tmp_path / "no.json"),
        ("--plan", bad),
    ):
        done = Shell()("simulate", *words)
        assert done.returncode == 2, words
        assert done.stdout == b""
        assert b"Traceback" not in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.json", "good.json"]
