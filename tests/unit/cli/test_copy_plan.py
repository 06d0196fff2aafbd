"""The table of `copy_plan`, row by row."""

import pytest

from dolmen.cli.copy_plan import Destination, Source, below, place
from dolmen.protocol.errors import IsADirectory, NotADirectory

FILE = Source("/in/f", "f", is_directory=False)
DIRECTORY = Source("/in/d", "d", is_directory=True)
CONTENTS = Source("/in/d", "d", is_directory=True, contents=True)

NEW = Destination("/t", is_directory=False, exists=False, ends_with_slash=False)
NEW_SLASH = Destination("/t", is_directory=False, exists=False, ends_with_slash=True)
EXISTING = Destination("/t", is_directory=True, exists=True, ends_with_slash=False)
EXISTING_SLASH = Destination("/t", is_directory=True, exists=True, ends_with_slash=True)
A_FILE = Destination("/t", is_directory=False, exists=True, ends_with_slash=False)
SEVERAL = Destination("/t", is_directory=False, exists=False, ends_with_slash=False, several=True)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (FILE, NEW, "/t"),
        (FILE, NEW_SLASH, "/t/f"),
        (FILE, EXISTING, "/t/f"),
        (FILE, EXISTING_SLASH, "/t/f"),
        (FILE, A_FILE, "/t"),
        (FILE, SEVERAL, "/t/f"),
        (DIRECTORY, NEW, "/t"),
        (DIRECTORY, NEW_SLASH, "/t/d"),
        (DIRECTORY, EXISTING, "/t/d"),
        (DIRECTORY, EXISTING_SLASH, "/t/d"),
        (DIRECTORY, SEVERAL, "/t/d"),
        (CONTENTS, NEW, "/t"),
        (CONTENTS, NEW_SLASH, "/t"),
        (CONTENTS, EXISTING, "/t"),
        (CONTENTS, EXISTING_SLASH, "/t"),
    ],
)
def test_a_copy_goes_where_the_table_says(
    source: Source, target: Destination, expected: str
) -> None:
    assert place(source, target, recursive=True) == expected


def test_a_directory_without_r_is_refused_with_the_option_that_helps() -> None:
    with pytest.raises(IsADirectory, match="-r copies it"):
        place(DIRECTORY, NEW, recursive=False)


@pytest.mark.parametrize("source", [DIRECTORY, CONTENTS])
def test_a_directory_does_not_go_onto_a_file(source: Source) -> None:
    with pytest.raises(NotADirectory):
        place(source, A_FILE, recursive=True)


def test_several_files_do_not_go_into_a_file() -> None:
    target = Destination("/t", is_directory=False, exists=True, ends_with_slash=False, several=True)
    with pytest.raises(NotADirectory):
        place(FILE, target, recursive=True)


def test_what_is_below_the_root_has_one_slash() -> None:
    assert below("/", "f") == "/f"
    assert below("/t", "") == "/t"
