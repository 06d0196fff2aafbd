"""What a drill says of a report, and the bytes it turns into others."""

import asyncio
import time
from pathlib import Path
from random import Random

import msgspec
import pytest

from dolmen.cli.drill_faults import FLIPPED_BYTES, flip_bytes
from dolmen.cli.drill_watch import Watch, ailments
from dolmen.client import Client
from dolmen.protocol.operator_messages import ClusterReport, DatanodeReport


def datanode(address: str, admin_state: str = "IN_SERVICE") -> DatanodeReport:
    return DatanodeReport(address, address, "h", "/r", "LIVE", admin_state, 0, 0, 0, 0.0)


WHOLE = ClusterReport(
    version="1",
    safe_mode=False,
    live_datanodes=2,
    stale_datanodes=0,
    dead_datanodes=0,
    files=1,
    blocks=1,
    capacity_bytes=0,
    used_bytes=0,
    under_replicated_blocks=0,
    over_replicated_blocks=0,
    mis_replicated_blocks=0,
    missing_blocks=0,
    corrupt_replicas=0,
    pending_transfers=0,
    datanodes=(datanode("a"), datanode("b")),
)


def test_a_whole_cluster_has_no_ailments() -> None:
    assert ailments(WHOLE, 2) == []


def test_everything_that_is_not_as_it_should_be_is_named_and_counted() -> None:
    assert ailments(WHOLE, 4) == ["2 datanodes away"]
    for field, words in {
        "missing_blocks": "1 block missing",
        "corrupt_replicas": "1 replica corrupt",
        "under_replicated_blocks": "1 block under-replicated",
        "over_replicated_blocks": "1 block over-replicated",
        "mis_replicated_blocks": "1 block mis-replicated",
        "pending_transfers": "1 copy under way",
    }.items():
        assert ailments(msgspec.structs.replace(WHOLE, **{field: 1}), 2) == [words]
    two = msgspec.structs.replace(WHOLE, pending_transfers=2, safe_mode=True)
    assert ailments(two, 2) == ["safe mode", "2 copies under way"]


def test_a_datanode_that_leaves_or_rests_is_an_ailment_and_one_that_has_left_is_none() -> None:
    resting = msgspec.structs.replace(WHOLE, datanodes=(datanode("a", "MAINTENANCE"),))
    assert ailments(resting, 2) == ["1 datanode not in service"]
    left = msgspec.structs.replace(WHOLE, datanodes=(datanode("a", "DECOMMISSIONED"),))
    assert ailments(left, 2) == []


def test_flipped_bytes_are_others_in_one_place_and_the_file_keeps_its_length(
    tmp_path: Path,
) -> None:
    for length in (1, FLIPPED_BYTES, 1000):
        file = tmp_path / "f"
        before = Random(length).randbytes(length)
        file.write_bytes(before)
        at = flip_bytes(file, Random(1))
        after = file.read_bytes()
        differing = [i for i in range(length) if before[i] != after[i]]
        assert len(after) == length
        assert differing == list(range(at, min(length, at + FLIPPED_BYTES)))


class Reporter(Client):
    """Gives one report after the other."""

    def __init__(self, *reports: ClusterReport) -> None:
        self.reports = list(reports)

    async def report(self) -> ClusterReport:
        return self.reports.pop(0)


def test_what_changes_is_told_and_that_nobody_has_noticed_a_fault_yet_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = msgspec.structs.replace(datanode("b"), state="STALE")
    away = msgspec.structs.replace(WHOLE, live_datanodes=1, datanodes=(datanode("a"), silent))
    seen = Reporter(WHOLE, away, away, WHOLE)
    watch = Watch(seen, ["a", "b"])
    deadline = time.monotonic() + 60
    assert asyncio.run(watch.until(lambda report: report is WHOLE and not seen.reports, deadline))
    told = [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "datanode 1 is STALE; 1 datanode away",
        "datanode 1 is LIVE; every block has all its replicas",
    ]
