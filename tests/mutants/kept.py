"""What finds each mutant, kept in a file, and the table that the documentation shows of it."""

from pathlib import Path

import msgspec

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.table import MUTANTS

KEPT = Path(__file__).with_name("kept.json")
DOCUMENT = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- mutants: written by make mutants -->\n", "<!-- end of mutants -->\n"


class Found(msgspec.Struct, frozen=True):
    """The first seed that finds a mutant, tried from 1 on, and its plan, which is what runs again:
    whatever seeds draw by then. Seed 0 stands for a test, or for a plan made by hand."""

    seed: int
    finding: str
    plan: msgspec.Raw = msgspec.Raw(b"{}")


def load() -> dict[str, Found]:
    """Return what is kept, by the mutant's name."""
    return msgspec.json.decode(KEPT.read_bytes(), type=dict[str, Found])


def save(kept: dict[str, Found]) -> None:
    """Keep it, in the order of the table."""
    ordered = {mutant.name: kept[mutant.name] for mutant in MUTANTS if mutant.name in kept}
    lines = (b"%s: %s" % (_json(name), _json(found)) for name, found in ordered.items())
    KEPT.write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")


_json = msgspec.json.encode


def table(kept: dict[str, Found]) -> str:
    """Return the table of mutants, in Markdown."""
    lines = ["| mutant | rule | noticed by | seeds needed, or plan |", "|---|---|---|---|"]
    for mutant in MUTANTS:
        noticed_by = f"`{mutant.test}`" if mutant.test else mutant.noticed_by
        needed = _needed(mutant, kept.get(mutant.name))
        lines.append(f"| {mutant.name} | {mutant.rule} | {noticed_by} | {needed} |")
    return "\n".join(lines) + "\n"


def _needed(mutant: Mutant, found: Found | None) -> str:
    if found is None:
        return "survives"
    if mutant.test:
        return "–"
    return f"`{mutant.plan}`" if mutant.plan else str(found.seed)


def write_documentation(kept: dict[str, Found]) -> None:
    """Put the table into the documentation."""
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(before + BEGIN + table(kept) + END + after)
