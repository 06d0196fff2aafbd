"""`dolmen quarantine` on directories of this machine."""

from pathlib import Path

from click.testing import CliRunner

from dolmen.cli import main


def test_a_directory_that_is_no_datanodes_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["quarantine", "--dir", str(tmp_path / "no")])
    assert done.exit_code == 3
    assert f"{tmp_path}/no is not a datanode's directory" in done.stderr


def test_where_nothing_was_put_aside_nothing_is_listed(tmp_path: Path) -> None:
    (tmp_path / "volumes" / "0" / "quarantine").mkdir(parents=True)
    for words in ([], ["--json"]):
        done = CliRunner().invoke(main, ["quarantine", "--dir", str(tmp_path), *words])
        assert (done.exit_code, done.output) == (0, "")
