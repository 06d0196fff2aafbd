"""The layout's rules, held against this repository."""

from pathlib import Path
from statistics import median

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractBufferedFile

from tests.tidy import rules, worst
from tests.tidy.reach import PACKAGES

ROOT = Path(__file__).parents[2]


def test_imports_point_inward() -> None:
    assert rules.import_problems(ROOT) == []


def test_the_command_line_starts_without_what_is_slow_to_load() -> None:
    assert rules.slow_start_problems(ROOT) == []


def test_tests_patch_nothing_and_cores_need_no_event_loop() -> None:
    assert rules.problems_in_tests(ROOT) == []


def test_every_name_says_what_is_inside() -> None:
    assert rules.name_problems(ROOT) == []


def test_files_are_short() -> None:
    lengths = rules.file_lengths(ROOT)
    assert {path: lines for path, lines in lengths.items() if lines > worst.FILE_LINES} == {}


def test_functions_fit_on_a_screen() -> None:
    functions = rules.functions(ROOT, *rules.FOLDERS)
    assert [found for found in functions if found.lines > worst.FUNCTION_LINES] == []


def test_most_functions_are_a_few_lines() -> None:
    lines = [found.lines for found in rules.functions(ROOT, *PACKAGES)]
    assert median(lines) <= worst.MEDIAN_FUNCTION_LINES


def test_functions_take_few_parameters() -> None:
    functions = rules.functions(ROOT, *rules.FOLDERS)
    assert [
        found
        for found in functions
        if found.parameters > worst.PARAMETERS and not _is_given_by_fsspec(found)
    ] == []


def test_the_recorded_sizes_are_within_the_limits() -> None:
    assert worst.FILE_LINES <= 400
    assert worst.FUNCTION_LINES <= 60
    assert worst.MEDIAN_FUNCTION_LINES <= 10
    assert worst.PARAMETERS <= 5


def _is_given_by_fsspec(found: rules.Function) -> bool:
    """The plugin overrides methods whose parameters fsspec chose."""
    return found.place.startswith("fsspec_plugin/") and any(
        hasattr(base, found.name) for base in (AsyncFileSystem, AbstractBufferedFile)
    )
