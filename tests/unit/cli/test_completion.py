"""What a shell is offered, and variables that are nearly ours."""

import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from dolmen.cli import main
from dolmen.cli.completion import SHELLS
from dolmen.cli.entry import PLACES
from dolmen.cli.misspelt import misspelt_variables


def offered(words: list[str], incomplete: str) -> list[str]:
    shell = ShellComplete(main, {}, "dolmen", "_DOLMEN_COMPLETE")
    return [item.value for item in shell.get_completions(words, incomplete)]


def test_verbs_and_options_are_offered() -> None:
    assert offered([], "") == list(PLACES)
    assert offered([], "t") == [name for name in PLACES if name.startswith("t")]
    assert "--recursive" not in offered(["ls"], "-")
    assert {"-l", "-R", "--json"} <= set(offered(["ls"], "-"))
    assert offered(["find", "/", "--type"], "") == ["f", "d"]


def test_offering_verbs_loads_none_of_them() -> None:
    program = (
        "import sys\n"
        "from dolmen.cli import main\n"
        "try: main(prog_name='dolmen', complete_var='_DOLMEN_COMPLETE')\n"
        "finally: print('LOADED', 'asyncio' in sys.modules, 'dolmen.cli.put' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"_DOLMEN_COMPLETE": "bash_complete", "COMP_WORDS": "dolmen ls", "COMP_CWORD": "1",
             "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["plain,ls", "LOADED False False"], done.stderr


def test_a_cluster_that_does_not_answer_offers_nothing_and_says_nothing() -> None:
    assert offered(["--at", "127.0.0.1:1", "ls"], "/") == []
    assert offered(["ls"], "relative") == []
    assert offered(["ls"], "dolmen://") == []
    assert offered(["ls"], "dolmen://no:such:thing/x") == []
    assert offered(["--at", "no:such:thing", "ls"], "/x") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_its_script(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_DOLMEN_COMPLETE" in done.output
    assert done.stderr == ""


def test_bash_understands_its_script_and_goes_on_below_a_directory() -> None:
    script = CliRunner().invoke(main, ["completion", "bash"]).output
    assert "compopt -o nospace" in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_a_wrong_use() -> None:
    assert CliRunner().invoke(main, ["completion", "csh"]).exit_code == 2


def test_a_variable_that_is_nearly_ours_is_told_with_the_nearest() -> None:
    environment = {
        "DOLMEN_DEAD_AFTR": "3s",
        "DOLMEN_URI": "dolmen://x",
        "DOLMEN_DEAD_AFTER": "3s",
        "DOLMEN_URL": "dolmen://y",
        "DOLMEN_SERVICE_PORT": "tcp://somebody's own",
        "HOME": "/root",
    }
    assert list(misspelt_variables(environment)) == [
        ("DOLMEN_DEAD_AFTR", "DOLMEN_DEAD_AFTER"),
    ]


def test_the_command_says_so_and_goes_on() -> None:
    done = CliRunner().invoke(main, ["completion", "bash"], env={"DOLMEN_RETRY_FRO": "3s"})
    assert done.exit_code == 0
    assert done.stderr == "dolmen: DOLMEN_RETRY_FRO means nothing: was DOLMEN_RETRY_FOR meant?\n"
