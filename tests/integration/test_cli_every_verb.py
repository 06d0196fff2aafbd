"""Every verb of the command line: that it works, what it says of a missing path and of a cluster
that cannot be reached, and that its JSON can be read.

A new verb fails `test_every_verb_is_here` until it has a line in one of the two tables.
"""

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dolmen.cli import main
from dolmen.cli.entry import PLACES
from dolmen.local_cluster import LocalCluster

Words = tuple[str, ...]

#: Verbs about this machine's processes: no path, no cluster to reach. Their tests are there.
ELSEWHERE = {
    "up": "test_cli_local",
    "status": "test_cli_local",
    "down": "test_cli_local",
    "drill": "test_drill",
    "simulate": "test_cli_simulate",
    "namenode": "test_cli_daemons",
    "datanode": "test_cli_daemons",
    "completion": "unit/cli/test_completion",
    "quarantine": "unit/cli/test_quarantine",
}


@dataclass(frozen=True)
class Verb:
    """Words that succeed, and words that fail because a path is not there; None for a verb without
    paths. {space} is a directory with some files, {local} one of this machine, {url} the cluster.
    """

    works: Words
    missing: Words | None
    missing_code: int = 3
    as_json: Words | None = None  #: whose output is one object a line
    document: bool = False  #: whose output is one document instead


VERBS = {
    "ls": Verb(("{space}",), ("{space}/no",), as_json=("{space}",)),
    "find": Verb(("{space}", "-name", "f*"), ("{space}/no",), as_json=("{space}", "--type", "f")),
    "tree": Verb(("-L", "1", "{space}"), ("{space}/no",), as_json=("{space}",)),
    "put": Verb(("{local}/f", "{space}/new"), ("{local}/no", "{space}")),
    "append": Verb(("{local}/f", "{space}/f"), ("{local}/no", "{space}/f")),
    "get": Verb(("{space}/f", "{local}/got"), ("{space}/no", "{local}")),
    "cat": Verb(("{space}/f",), ("{space}/no",)),
    "head": Verb(("-n", "1", "{space}/f"), ("{space}/no",)),
    "tail": Verb(("-n", "1", "{space}/f"), ("{space}/no",)),
    "truncate": Verb(("3", "{space}/f"), ("3", "{space}/no")),
    "concat": Verb(("{space}/f", "{space}/f.gz"), ("{space}/f", "{space}/no")),
    "recover-lease": Verb(("{space}/f",), ("{space}/no",)),
    "text": Verb(("{space}/f.gz",), ("{space}/no",)),
    "touch": Verb(("{space}/new",), ("{space}/no/new",)),
    "mkdir": Verb(("{space}/new",), ("{space}/no/new",)),
    "rm": Verb(("{space}/f",), ("{space}/no",)),
    "rmdir": Verb(("{space}/empty",), ("{space}/no",)),
    "mv": Verb(("{space}/f", "{space}/g"), ("{space}/no", "{space}/g")),
    "cp": Verb(("{space}/f", "{space}/g"), ("{space}/no", "{space}/g")),
    "du": Verb(("{space}",), ("{space}/no",), as_json=("{space}",)),
    "setrep": Verb(("2", "{space}"), ("2", "{space}/no")),
    "locate": Verb(("{space}/f",), ("{space}/no",), as_json=("{space}/f",)),
    "test": Verb(("-f", "{space}/f"), ("-f", "{space}/no"), missing_code=1),
    "stat": Verb(("{space}/f",), ("{space}/no",), as_json=("{space}/f", "{space}")),
    "checksum": Verb(("{space}/f",), ("{space}/no",)),
    "df": Verb((), ("{space}/no",), as_json=()),
    "report": Verb((), None, as_json=(), document=True),
    "fsck": Verb(("{space}",), ("{space}/no",), as_json=("{space}",), document=True),
    "safemode": Verb(("get",), None, as_json=("get",), document=True),
    "admin": Verb(("checkpoint",), None, as_json=("checkpoint",), document=True),
}

TESTED = sorted(VERBS)

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size="64KiB") as cluster:
        yield cluster


@pytest.fixture
def run(cluster: LocalCluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process, with a directory of its own here and in the cluster."""
    local = tmp_path / "local"
    local.mkdir()
    (local / "f").write_text("one\ntwo\n")
    (local / "f.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (local / "empty").mkdir()
    names = {"space": f"/{time.monotonic_ns()}", "local": str(local), "url": cluster.url}

    def call(*words: str, url: str = cluster.url) -> Result:
        named = [word.format(**names) for word in words]
        environment = {"DOLMEN_URL": url, "DOLMEN_RETRY_FOR": "20s"}
        return CliRunner().invoke(main, named, env=environment)

    done = call("put", "-r", "{local}", "{space}")
    assert done.exit_code == 0, done.output
    capfd.readouterr()
    return call


def test_every_verb_is_here() -> None:
    assert sorted(PLACES) == sorted((*VERBS, *ELSEWHERE))


@pytest.mark.parametrize("verb", TESTED)
def test_it_works(run: Run, verb: str) -> None:
    done = run(verb, *VERBS[verb].works)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""


@pytest.mark.parametrize("verb", [verb for verb in TESTED if VERBS[verb].missing])
def test_a_missing_path_is_told(run: Run, verb: str) -> None:
    words = VERBS[verb].missing
    assert words is not None
    done = run(verb, *words)
    assert done.exit_code == VERBS[verb].missing_code, done.output
    if verb == "test":
        assert done.output == ""
        return
    assert done.stderr.startswith("dolmen: ")
    assert "/no" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout in ("", "\n0 directories, 0 files\n")


@pytest.mark.parametrize("verb", TESTED)
def test_a_cluster_that_cannot_be_reached_is_told(run: Run, verb: str) -> None:
    # Port 1 answers at once that nobody listens; --retry-for keeps the waiting short.
    done = run(verb, *VERBS[verb].works, "--retry-for", "10ms", url="dolmen://127.0.0.1:1")
    assert done.exit_code == 6, done.output
    assert done.stderr.startswith("dolmen: no namenode answers at 127.0.0.1:1 ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("verb", [verb for verb in TESTED if VERBS[verb].as_json is not None])
def test_its_json_can_be_read(run: Run, verb: str) -> None:
    words = VERBS[verb].as_json
    assert words is not None
    done = run(verb, *words, "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 1 if VERBS[verb].document else lines
    for line in lines:
        found = json.loads(line)
        assert isinstance(found, dict)
        assert found


@pytest.mark.parametrize("verb", [verb for verb in TESTED if VERBS[verb].as_json is None])
def test_what_has_no_json_says_so(run: Run, verb: str) -> None:
    done = run(verb, *VERBS[verb].works, "--json")
    assert done.exit_code == 2
    assert "--json" in done.stderr
