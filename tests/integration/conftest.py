"""What tests on real processes are given."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.tmpfs import SmallDisks, small_disks_below


@pytest.fixture
def small_disks(tmp_path: Path) -> Iterator[SmallDisks]:
    """Small file systems in memory to plug in and pull out."""
    with small_disks_below(tmp_path / "disks") as disks:
        yield disks
