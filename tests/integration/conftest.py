"""What tests on real processes are given, and what is told of those processes when one fails."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.integration.real_cluster import used
from tests.integration.tmpfs import SmallDisks, small_disks_below


@pytest.fixture
def small_disks(tmp_path: Path) -> Iterator[SmallDisks]:
    """Small file systems in memory to plug in and pull out."""
    with small_disks_below(tmp_path / "disks") as disks:
        yield disks


def pytest_runtest_setup() -> None:
    used[:] = [cluster for cluster in used if not cluster.ended]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells how each daemon is, and its last words: what failed may be one that died."""
    report = yield
    if report.failed:
        report.sections.extend((f"daemons in {one.root}", one.story()) for one in used)
    return report
