"""What docs/testing.md says of rules, tests and mutants is there."""

import re

import pytest

from tests.mutants.kept import DOCUMENT
from tests.mutants.mutant import ROOT
from tests.mutants.table import MUTANTS

TEXT = DOCUMENT.read_text()
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
RULES = {int(number): noticed for number, _, noticed in ROW.findall(TEXT)}
TESTS = sorted(set(re.findall(r"`(tests/[\w/.:]+)`", TEXT)))
CHECKED = re.compile(r"`tests/|(?<!\w)\*|property \d|not built|the mutants")


def test_every_rule_has_somebody_who_would_notice() -> None:
    assert list(RULES) == list(range(1, 34))
    assert [number for number, noticed in RULES.items() if not CHECKED.search(noticed)] == []


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_is_named_exists(name: str) -> None:
    place, _, test = name.partition("::")
    path = ROOT / place
    assert path.exists()
    if test:
        assert re.search(rf"^(async )?def {test}\(", path.read_text(), re.MULTILINE)


def test_every_mutant_is_named_by_its_rule_and_no_other_is() -> None:
    names = {name: number for number, noticed in RULES.items() for name in _italics(noticed)}
    assert names == {mutant.name: mutant.rule for mutant in MUTANTS}


def _italics(text: str) -> list[str]:
    return re.findall(r"\*([^*]+)\*", text)
