"""Each mutant is found, by the plan or the test that is kept for it; see docs/testing.md."""

from pathlib import Path

import pytest

from tests.mutants import kept
from tests.mutants.mutant import Change, DoesNotApply, Mutant, apply, copy_packages
from tests.mutants.table import MUTANTS
from tests.mutants.trial import Copy, Verdict

FOUND = kept.load()
PROPERTIES = [f"property {number}" for number in range(1, 9)]


def plan_of(mutant: Mutant) -> str:
    return mutant.plan_by_hand or bytes(FOUND[mutant.name].plan).decode()


def run(mutant: Mutant) -> Verdict:
    with Copy(mutant) as copy:
        if mutant.test:
            return copy.run_test(mutant.test)
        return copy.replay(plan_of(mutant))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found(mutant: Mutant) -> None:
    verdict = run(mutant)
    assert verdict.trouble == ""
    assert verdict.finding, "run `make mutants`: another seed may find it, or a checker is blind"


def test_the_software_as_it_is_passes_where_mutants_fail() -> None:
    mutant = next(mutant for mutant in MUTANTS if not mutant.test)
    with Copy(None) as copy:
        assert copy.replay(plan_of(mutant)) == Verdict("")


def test_a_run_that_breaks_is_no_finding_and_says_what_broke() -> None:
    with Copy(None) as copy:
        verdict = copy.replay('{"seed": 1, "version": 0}')
    assert verdict.finding == ""
    assert verdict.trouble.startswith("it ended with exit code 1, not 0 or 7")
    assert "plan of version 0" in verdict.trouble


def test_every_property_has_a_mutant_that_a_simulation_finds() -> None:
    found = {mutant.noticed_by for mutant in MUTANTS if not mutant.test}
    assert found == set(PROPERTIES)


def test_at_least_ten_mutants_are_found_by_the_simulator() -> None:
    assert sum(not mutant.test for mutant in MUTANTS) >= 10
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("old", ["not in there", "import"])
def test_a_replacement_that_does_not_apply_exactly_once_is_an_error(
    tmp_path: Path, old: str
) -> None:
    copy_packages(tmp_path)
    change = Change("namenode/journal.py", old, "")
    with pytest.raises(DoesNotApply, match="times, not once"):
        apply(Mutant("a mutant", 1, "property 1", (change,)), tmp_path)


def test_the_documentation_has_the_table_as_it_is() -> None:
    text = kept.DOCUMENT.read_text()
    assert kept.BEGIN + kept.table(FOUND) + kept.END in text
