"""The figures of `dolmen report`."""

import msgspec

from dolmen.protocol.operator_messages import ClusterReport, DatanodeReport
from namenode.core.assessment import Assessor
from namenode.core.conditions import UNDER_REPLICATED, Condition
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.departures import Departures, Progress
from namenode.core.records import AdminState, Meta
from namenode.core.safe_mode import SafeMode


class Figures(msgspec.Struct, frozen=True):
    """Where the figures come from."""

    meta: Meta
    datanodes: Datanodes
    assessor: Assessor
    safe_mode: SafeMode
    pending_transfers: int
    software_version: str
    departures: Departures


def build(figures: Figures) -> ClusterReport:
    """Return the report. While safe mode waits for reports, what nobody has reported is missing."""
    conditions = figures.assessor.conditions
    datanodes = figures.datanodes
    live = [d for d in datanodes if d.liveness is Liveness.LIVE]
    starting = figures.safe_mode.starting
    return ClusterReport(
        version=figures.software_version,
        safe_mode=figures.safe_mode.reason() is not None,
        live_datanodes=len(live),
        stale_datanodes=datanodes.count(Liveness.STALE),
        dead_datanodes=sum(
            datanode.liveness is Liveness.DEAD
            and datanode.admin_state is not AdminState.DECOMMISSIONED
            for datanode in datanodes
        ),
        files=figures.meta.files,
        blocks=figures.meta.blocks,
        capacity_bytes=sum(_capacity_bytes(datanode) for datanode in live),
        used_bytes=sum(_used_bytes(datanode) for datanode in live),
        under_replicated_blocks=(
            conditions.count(*UNDER_REPLICATED) - len(figures.assessor.unpublished)
        ),
        over_replicated_blocks=conditions.count(Condition.OVER_REPLICATED),
        mis_replicated_blocks=conditions.count(Condition.MIS_REPLICATED),
        missing_blocks=(
            figures.safe_mode.missing() if starting else conditions.count(Condition.MISSING)
        ),
        corrupt_replicas=sum(len(found) for found in figures.assessor.corrupt.values()),
        pending_transfers=figures.pending_transfers,
        datanodes=tuple(
            describe(datanode, datanodes, figures.departures.progress(datanode))
            for datanode in sorted(datanodes, key=lambda datanode: datanode.number)
        ),
        free_bytes=sum(_free_bytes(datanode) for datanode in live),
        inline_files=figures.meta.inline_files,
        inline_bytes=figures.meta.inline_bytes,
        safe_mode_reason=figures.safe_mode.reason() or "",
    )


def describe(datanode: DatanodeState, datanodes: Datanodes, progress: Progress) -> DatanodeReport:
    """Return what is known of one datanode."""
    health = datanode.health
    heard_ms = datanode.heard_ms
    return DatanodeReport(
        id=datanode.datanode_id,
        address=datanode.address,
        host=datanode.host,
        rack=datanode.rack,
        state=datanode.liveness.name,
        admin_state=datanode.admin_state.name,
        capacity_bytes=_capacity_bytes(datanode),
        used_bytes=_used_bytes(datanode),
        blocks=sum(datanodes.replica_counts[number] for number in datanode.volumes),
        last_heartbeat_s=None if heard_ms is None else (datanodes.ran_ms - heard_ms) / 1000,
        free_bytes=_free_bytes(datanode),
        draining_blocks=progress.blocks,
        draining_open_blocks=progress.open_blocks,
        failed_volumes=health.failed_volumes,
        quarantined_replicas=health.quarantined_replicas,
        quarantined_bytes=health.quarantined_bytes,
        oldest_unverified_ms=health.oldest_unverified_ms,
    )


def _free_bytes(datanode: DatanodeState) -> int:
    return sum(volume.status.free_bytes for volume in datanode.volumes.values())


def _capacity_bytes(datanode: DatanodeState) -> int:
    return sum(volume.status.capacity_bytes for volume in datanode.volumes.values())


def _used_bytes(datanode: DatanodeState) -> int:
    return sum(volume.status.used_bytes for volume in datanode.volumes.values())
