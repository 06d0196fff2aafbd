"""The group: what it loads, what it lists, and what becomes of errors."""

import errno
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from dolmen.cli.entry import PLACES, LazyGroup, main
from dolmen.cli.exit_codes import describe, exit_code_of
from dolmen.protocol import errors
from dolmen.runtime.setting import SettingsError

SLOW = ("aiohttp", "lmdb", "fsspec", "rich", "asyncio")


def test_help_loads_nothing_that_is_slow_to_load() -> None:
    program = (
        "import sys; from dolmen.cli import main\n"
        "try: main(['--help'], prog_name='dolmen')\n"
        f"finally: print('LOADED', [name for name in {SLOW} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("name", PLACES)
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"], prog_name="dolmen")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Usage: dolmen {name}")


def test_help_lists_every_command_with_its_summary() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in output and place.summary in output for name, place in PLACES.items())


@pytest.mark.parametrize("words", [["unknown"], ["ls", "--unknown"], ["ls", "relative"], ["put"]])
def test_a_wrong_use_has_exit_code_2(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


class FailingGroup(LazyGroup):
    """Whatever is called fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        def fail() -> None:
            raise self._error

        return click.Command(cmd_name, callback=fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NoSuchPath("no", "/x"), 3),
        (errors.PathExists("yes", "/x"), 4),
        (errors.StartRefused("port in use"), 4),
        (errors.AccessDenied("no"), 5),
        (errors.NamenodeUnreachable("gone"), 6),
        (errors.OutcomeUnknown("who knows"), 6),
        (errors.TooFewDatanodes("one of two"), 6),
        (errors.ChecksumMismatch("bad"), 7),
        (errors.BlockMissing("none"), 7),
        (SettingsError("no such setting"), 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 3),
        (FileExistsError(errno.EEXIST, "exists", "x"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 5),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141),
    ],
)
def test_an_error_has_its_exit_code_and_at_most_one_line(error: BaseException, code: int) -> None:
    done = CliRunner().invoke(FailingGroup(error), ["fail"])
    assert done.exit_code == code
    if isinstance(error, Exception) and code < 128:
        assert done.stderr == f"dolmen: {describe(error)}\n"
        assert exit_code_of(error) == code


def test_the_path_is_said_once() -> None:
    assert describe(errors.NoSuchPath("does not exist", "/x")) == "/x: does not exist"
    assert describe(errors.NoSuchPath("/x does not exist", "/x")) == "/x does not exist"
    assert describe(FileNotFoundError(2, "No such file", "y")) == "y: No such file"


def test_a_group_without_that_command_says_so() -> None:
    assert LazyGroup().get_command(click.Context(main), "unknown") is None
