"""A mutant: the software with one promise broken on purpose, to see that the tests would notice.

It is a few replacements of text in a copy of the packages, made in a temporary directory and run in
a process of its own: nothing in the real code knows of it. A text that is not found exactly once
means that the code has changed, and that the mutant must follow.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLANS = Path(__file__).with_name("plans")
PACKAGES = ("dolmen", "namenode", "datanode", "fsspec_plugin")


class DoesNotApply(Exception):
    """The code that a mutant changes is not there any more."""


@dataclass(frozen=True)
class Change:
    """A replacement of one text that stands once in a file."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One broken promise, and who must notice."""

    name: str
    rule: int
    """Of docs/architecture.md: the rule that is lost."""
    noticed_by: str
    """The property of docs/testing.md that breaks, as `property N`."""
    changes: tuple[Change, ...]
    seconds: int = 100
    """Virtual time with faults in which it is to be found."""
    work: str = "owned,shared"
    """What clients do, see `dolmen.simulation.work_plan`."""
    rot_every_ms: int = 0
    """How often a replica at rest goes bad in the first quarter of the run, if at all: the rest is
    long enough to find each."""
    plan: str = ""
    """Where no seed brings about what it takes: a plan made by hand, a file of `plans`."""
    test: str = ""
    """Where no simulation can tell: the test that must fail instead, relative to the root."""

    @property
    def plan_by_hand(self) -> str:
        """The plan made for it, as JSON; nothing if seeds find it."""
        return (PLANS / f"{self.plan}.json").read_text() if self.plan else ""


def copy_packages(directory: Path, *, tests: bool = False) -> None:
    """Copy the packages, compiled files too, and with `tests` what it takes to run tests."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package)
    if tests:
        shutil.copytree(ROOT / "tests", directory / "tests")
        shutil.copy(ROOT / "pyproject.toml", directory)


def apply(mutant: Mutant, directory: Path) -> None:
    """Change the copy in `directory`. DoesNotApply."""
    for change in mutant.changes:
        path = directory / change.file
        text = path.read_text()
        if text.count(change.old) != 1:
            raise DoesNotApply(
                f"{mutant.name}: {change.file} has {text.count(change.old)} times, not once:\n"
                f"{change.old}"
            )
        path.write_text(text.replace(change.old, change.new))
