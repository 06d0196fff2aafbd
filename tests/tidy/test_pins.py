"""What is installed is pinned, by name and version alone, and what Dolmen needs is among it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*")


def pins(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_pin_is_a_name_and_a_version(path: Path) -> None:
    assert [pin for pin in pins(path) if not PIN.fullmatch(pin)] == []
    names = [pin.split("==")[0] for pin in pins(path)]
    assert names == sorted(set(names))


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(pin.split("==") for pin in pins(ROOT / "requirements" / "runtime.txt"))
    for text in project["dependencies"]:
        needed = Requirement(text)
        assert needed.specifier.contains(pinned[needed.name]), text
