"""The questions of `find` and `test` about an entry, and the figures of `tree` and `df`."""

from dataclasses import replace

import pytest

from dolmen.cli.existence import holds
from dolmen.cli.find import FindOptions, is_wanted
from dolmen.cli.outline import Count, summary
from dolmen.cli.space import use_percent
from dolmen.protocol.client_messages import EntryKind, FileInfo

ANY = FindOptions((), None, None, 0, None, None, None, as_json=False)


def entry(path: str, kind: EntryKind = EntryKind.FILE, length_bytes: int = 0) -> FileInfo:
    return FileInfo(path, 1, kind, length_bytes, 0o644, "ada", "ada", 0, 0)


FILE = entry("/data/a.csv", length_bytes=100)
EMPTY = entry("/data/_SUCCESS")
DIRECTORY = entry("/data", EntryKind.DIRECTORY)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (ANY, "fed"),
        (replace(ANY, name="*.csv"), "f"),
        (replace(ANY, name="[!a]*"), "ed"),
        (replace(ANY, kind="f"), "fe"),
        (replace(ANY, kind="d"), "d"),
        (replace(ANY, size=("", 0)), "e"),
        (replace(ANY, size=("+", 0)), "f"),
        (replace(ANY, size=("-", 100)), "e"),
        (replace(ANY, min_depth=2), ""),
    ],
)
def test_an_entry_is_wanted_if_all_that_was_asked_holds(options: FindOptions, wanted: str) -> None:
    named = {"f": FILE, "e": EMPTY, "d": DIRECTORY}
    assert "".join(name for name, info in named.items() if is_wanted(info, 1, options)) == wanted


@pytest.mark.parametrize(
    ("info", "true"), [(FILE, "efs"), (EMPTY, "efz"), (DIRECTORY, "ed"), (None, "")]
)
def test_a_question_holds_or_not(info: FileInfo | None, true: str) -> None:
    assert "".join(letter for letter in "efdsz" if holds(letter, info)) == "".join(
        letter for letter in "efdsz" if letter in true
    )


def test_one_is_not_several() -> None:
    assert summary(Count(1, 1), directories_only=False) == "1 directory, 1 file"
    assert summary(Count(2, 0), directories_only=False) == "2 directories, 0 files"
    assert summary(Count(2, 0), directories_only=True) == "2 directories"


def test_use_is_rounded_up_and_nothing_is_no_use() -> None:
    assert [use_percent(*figures) for figures in [(0, 0), (0, 9), (1, 999), (1, 1), (5, 0)]] == [
        0, 0, 1, 50, 100,
    ]  # fmt: skip
