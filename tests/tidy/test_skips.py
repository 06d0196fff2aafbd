"""A skipped test is a failure in CI, and only there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

TESTS = {
    "test_marked.py": "import pytest\n@pytest.mark.skip(reason='why')\ndef test_a(): pass\n",
    "test_running.py": "import pytest\ndef test_a(): pytest.skip('why')\n",
    "test_module.py": "import pytest\npytest.skip('why', allow_module_level=True)\n",
    "test_known.py": "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tests that skip in every way there is, and one that is expected to fail."""
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    for name, source in TESTS.items():
        (tmp_path / name).write_text(source)
    return tmp_path


def closing_line(folder: Path, environment: dict[str, str]) -> str:
    """What pytest says at its end, run on `folder` with our conftest."""
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    options = ["-q", "-c", "/dev/null", "--rootdir", ".", "--continue-on-collection-errors"]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return finished.stdout.splitlines()[-1]


def test_a_skipped_test_is_a_failure_in_ci(folder: Path) -> None:
    assert closing_line(folder, {"CI": "true"}).startswith("1 failed, 1 xfailed, 2 errors in")


def test_a_test_may_be_skipped_elsewhere(folder: Path) -> None:
    assert closing_line(folder, {}).startswith("3 skipped, 1 xfailed in")
