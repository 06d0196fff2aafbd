"""`dolmen fsck`: how the blocks of files fare, and why one that waits still does.

With --verify every replica is read and checked first. What that finds is told even if it was healed
a moment later, so that the answer does not depend on who is faster.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import click

from dolmen.cli.cluster_path import ClusterPath, ClusterPathType
from dolmen.cli.exit_codes import EXIT_DAMAGED, EXIT_SOME_FAILED
from dolmen.cli.formats import human_size, printable
from dolmen.cli.options import gathered
from dolmen.cli.said import client_options
from dolmen.cli.session import Session, run
from dolmen.client import Client
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.operator_messages import Inspection, Problem, ProblemKind, Verification

#: Problems that a person reads; a program gets all.
SHOWN_LIMIT = 100

#: What is worst about a tree decides; excess goes by itself and is no problem.
DAMAGE = frozenset({ProblemKind.MISSING, ProblemKind.CORRUPT})
LACK = frozenset({ProblemKind.UNDER_REPLICATED, ProblemKind.MIS_REPLICATED})

WORDS = {
    ProblemKind.UNDER_REPLICATED: "under-replicated",
    ProblemKind.OVER_REPLICATED: "over-replicated",
    ProblemKind.MIS_REPLICATED: "mis-replicated",
    ProblemKind.MISSING: "missing",
    ProblemKind.CORRUPT: "corrupt",
}


@dataclass(frozen=True)
class CheckOptions:
    """What `fsck` was asked for."""

    path: ClusterPath
    verify: bool
    why: bool
    as_json: bool


@dataclass
class Findings:
    """What was found, of all pages together."""

    files: int = 0
    directories: int = 0
    blocks: int = 0
    replicas: int = 0
    length_bytes: int = 0
    inline_files: int = 0
    inline_bytes: int = 0
    open_files: int = 0
    trash_files: int = 0
    problems: dict[int, Problem] = field(default_factory=dict)  #: by block, the worst of each
    sound: int = 0
    damaged: int = 0
    unanswered: int = 0

    def add(self, page: Inspection) -> None:
        self.files += page.files
        self.directories += page.directories
        self.blocks += page.blocks
        self.replicas += page.replicas
        self.length_bytes += page.length_bytes
        self.inline_files += page.inline_files
        self.inline_bytes += page.inline_bytes
        self.open_files += page.open_files
        self.trash_files += page.trash_files
        self.problems |= {problem.block_id: problem for problem in page.problems}

    def add_verified(self, page: Verification) -> None:
        self.sound += page.sound
        self.damaged += page.damaged
        self.unanswered += page.unanswered

    def add_damage(self, found: dict[int, Problem]) -> None:
        """What verification found damaged: as it is now, unless it is already whole again."""
        for block_id, problem in found.items():
            now = self.problems.get(block_id)
            if now is None or now.kind not in DAMAGE:
                self.problems[block_id] = problem

    def count(self, kind: ProblemKind) -> int:
        return sum(problem.kind is kind for problem in self.problems.values())

    @property
    def verdict(self) -> str:
        kinds = {problem.kind for problem in self.problems.values()}
        if kinds & DAMAGE or self.damaged:
            return "CORRUPT"
        return "UNDER_REPLICATED" if kinds & LACK else "HEALTHY"


EXIT_CODES = {"HEALTHY": 0, "UNDER_REPLICATED": EXIT_SOME_FAILED, "CORRUPT": EXIT_DAMAGED}


@click.command()
@click.argument("path", required=False, default="/", type=ClusterPathType(), metavar="[PATH]")
@click.option("--verify", is_flag=True, help="Have every replica read and checked first.")
@click.option("--why", is_flag=True, help="Say why each block waits, and for how long.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, reasons included.")
@client_options
@gathered(CheckOptions)
def fsck(options: CheckOptions) -> None:
    """Look for files below PATH whose blocks are not well; without a path, in all.

    It changes nothing: what can be mended is being mended already.

    \b
      dolmen fsck --why /data
      dolmen fsck --verify --json / | jq .verdict

    \b
    Exit codes: 0 healthy · 1 only under- or mis-replicated · 7 anything missing or corrupt
    """

    async def work(session: Session) -> Findings:
        client = await session.client(options.path)
        return await _look(client, options)

    found = run(work)
    if options.as_json:
        click.echo(json.dumps(document_of(options.path, found)))
    else:
        click.echo("\n".join(_lines(options, found)))
    click.get_current_context().exit(EXIT_CODES[found.verdict])


async def _look(client: Client, options: CheckOptions) -> Findings:
    found = Findings()
    damage: dict[int, Problem] = {}
    if options.verify:
        with _counter() as counter:
            async for page in client.operator.verify(options.path.path):
                counter.show(found.sound + page.sound, found.damaged + page.damaged)
                if not page.pending:
                    found.add_verified(page)
                    damage |= {problem.block_id: problem for problem in page.findings}
    async for inspected in client.operator.inspect(options.path.path):
        found.add(inspected)
    found.add_damage(damage)
    return found


def document_of(path: ClusterPath, found: Findings) -> dict[str, Any]:
    """The findings for programs."""
    return {
        "path": path.shown(path.path),
        "verdict": found.verdict,
        "files": found.files,
        "directories": found.directories,
        "blocks": found.blocks,
        "replicas": found.replicas,
        "bytes": found.length_bytes,
        "inline_files": found.inline_files,
        "inline_bytes": found.inline_bytes,
        "problems": [
            {
                "path": path.shown(problem.path),
                "block_id": format_block_id(problem.block_id),
                "kind": problem.kind.name,
                "live": problem.live,
                "wanted": problem.wanted,
                "reason": problem.reason,
                "expected_in_s": problem.expected_in_s,
            }
            for problem in found.problems.values()
        ],
    }


def _lines(options: CheckOptions, found: Findings) -> list[str]:
    shown = printable(options.path.shown(options.path.path))
    lines = [
        f"{shown}: {found.verdict}",
        f"files: {found.files}, directories: {found.directories}, bytes:"
        f" {human_size(found.length_bytes)}; in the cluster being written: {found.open_files},"
        f" in trash: {found.trash_files}",
        f"blocks: {found.blocks}, replicas: {found.replicas}; short files that the namenode keeps"
        f" itself: {found.inline_files}, bytes: {human_size(found.inline_bytes)}",
        ", ".join(f"{word}: {found.count(kind)}" for kind, word in WORDS.items()),
    ]
    if options.verify:
        lines.append(
            f"verified: {found.sound} sound, {found.damaged} damaged,"
            f" {found.unanswered} that nobody could check"
        )
    problems = list(found.problems.values())
    lines += [_line(options, problem) for problem in problems[:SHOWN_LIMIT]]
    if more := len(problems) - SHOWN_LIMIT:
        lines += [f"and {more} more: --json lists all"] if more > 0 else []
    return lines


def _line(options: CheckOptions, problem: Problem) -> str:
    path = printable(options.path.shown(problem.path))
    told = (
        f"{path} block {format_block_id(problem.block_id)}: {WORDS[problem.kind]},"
        f" {problem.live} of {problem.wanted}"
    )
    if not options.why:
        return told
    expected = problem.expected_in_s
    when = "" if expected is None else f" (expected in {max(1, round(expected))} s)"
    return f"{told}; {printable(problem.reason)}{when}"


class Counter(Protocol):
    """Told how many replicas have been checked."""

    def show(self, sound: int, damaged: int) -> None: ...


class NoCounter:
    """Shows nothing."""

    def show(self, sound: int, damaged: int) -> None:
        """Nobody looks."""


@contextmanager
def _counter() -> Iterator[Counter]:
    """A line on standard error that counts, if that is a terminal."""
    if not sys.stderr.isatty():
        yield NoCounter()
        return
    from rich.console import Console  # slow to load, and needed only here

    with Console(stderr=True).status("checking replicas") as status:

        class Line:
            """The line."""

            def show(self, sound: int, damaged: int) -> None:
                status.update(f"checking replicas: {sound} sound, {damaged} damaged")

        yield Line()
