"""`make mutants`: for each mutant the first seed that finds it, kept for CI, and the table.

Both cores are used. A seed, or a plan made by hand, counts only if the software as it is passes
with it.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import click
import msgspec

from tests.mutants.kept import KEPT, Found, load, save, write_documentation
from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS
from tests.mutants.trial import Copy, Verdict

SEEDS = 40


class Search:
    """Looks for seeds; what the unchanged software does with one is asked once."""

    def __init__(self, seeds: int, sound: Copy) -> None:
        self._seeds = seeds
        self._sound = sound
        self._passed: dict[tuple[int, int, int, str], bool] = {}

    def find(self, mutant: Mutant) -> Found | None:
        """Return how `mutant` is found, None if it survives."""
        with Copy(mutant) as copy:
            if mutant.test:
                verdict = copy.run_test(mutant.test)
                return self._told(mutant, verdict, Found(0, ""))
            if mutant.plan:
                return self._by_hand(mutant, copy)
            for seed in range(1, self._seeds + 1):
                verdict = copy.simulate(seed, mutant)
                found = Found(seed, verdict.finding, msgspec.Raw(verdict.plan.encode() or b"{}"))
                if self._told(mutant, verdict, found) and self._passes(seed, mutant):
                    return found
        return None

    def _by_hand(self, mutant: Mutant, copy: Copy) -> Found | None:
        verdict = copy.replay(mutant.plan_by_hand)
        sound = self._sound.replay(mutant.plan_by_hand)
        if sound != Verdict(""):
            click.echo(f"{mutant.plan} fails without any mutant: {sound}", err=True)
            return None
        return self._told(mutant, verdict, Found(0, verdict.finding))

    def _told(self, mutant: Mutant, verdict: Verdict, found: Found) -> Found | None:
        if verdict.trouble:
            click.echo(f"{mutant.name}, seed {found.seed}: {verdict.trouble}", err=True)
        return found if verdict.finding else None

    def _passes(self, seed: int, mutant: Mutant) -> bool:
        """Return whether the software as it is passes, of which nobody could learn otherwise."""
        plan = (seed, mutant.seconds, mutant.rot_every_ms, mutant.work)
        if plan not in self._passed:
            verdict = self._sound.simulate(seed, mutant)
            self._passed[plan] = verdict == Verdict("")
            if not self._passed[plan]:
                click.echo(f"{plan} fails without any mutant: {verdict}", err=True)
        return self._passed[plan]


@click.command()
@click.option("--seeds", default=SEEDS, show_default=True, help="Seeds tried for each mutant.")
@click.option("--only", default="", help="Mutants with this in their name.")
def main(seeds: int, only: str) -> None:
    """Search, keep what is found, and print it."""
    chosen = [mutant for mutant in MUTANTS if only in mutant.name]
    kept = load()
    with Copy(None) as sound, ThreadPoolExecutor(2) as pool:
        search = Search(seeds, sound)
        for mutant, found in zip(chosen, pool.map(search.find, chosen), strict=True):
            told = "SURVIVES" if found is None else f"seed {found.seed}: {found.finding}"
            click.echo(f"{mutant.name} ({mutant.noticed_by}): {told}")
            kept.pop(mutant.name, None)
            if found is not None:
                kept[mutant.name] = found
            save(kept)
    write_documentation(kept)
    survivors = [mutant.name for mutant in MUTANTS if mutant.name not in kept]
    click.echo(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} are found; kept in {KEPT.name}")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
