"""What a datanode tells of itself: everything in here is counted already.

Volumes are named by their directory, as an operator knows them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from datanode.core.volume_states import VolumeState
from datanode.exchanges import BlockService
from datanode.serving import Serving
from datanode.short_circuit import ShortCircuit
from datanode.verification import Tally
from datanode.volume import Volume
from dolmen import __version__
from dolmen.runtime.metrics import (
    Health,
    Kind,
    Metric,
    Sample,
    counter,
    counters,
    gauge,
    gauges,
)


@dataclass(frozen=True)
class Standing:
    """What the datanode knows of itself as a whole."""

    datanode_id: str
    cluster_id: str
    namenode: str
    registered: bool
    works: bool


@dataclass(frozen=True)
class DatanodeStatus:
    """The figures of one datanode. Before it has met its namenode it serves nothing."""

    service: BlockService
    serving: Callable[[], Serving | None]
    standing: Callable[[], Standing]

    def health(self) -> Health:
        """See Status: a datanode without its namenode goes on serving, and is well; one without a
        volume that it can write is not."""
        standing, serving = self.standing(), self.serving()
        volumes = serving.store.volumes if serving is not None else []
        usable = [volume for volume in volumes if volume.state is VolumeState.HEALTHY]
        return Health(
            standing.works and (serving is None or bool(usable)),
            {
                "role": "datanode",
                "version": __version__,
                "cluster_id": standing.cluster_id,
                "datanode_id": standing.datanode_id,
                "namenode": standing.namenode,
                "registered": standing.registered,
                "healthy_volumes": len(usable),
                "failed_volumes": len(serving.watch.failed) if serving is not None else 0,
            },
        )

    def metrics(self) -> Iterator[Metric]:
        """See Status."""
        figures = self.service.figures
        yield gauge(
            "dolmen_datanode_registered",
            "1 while it is registered with its namenode.",
            int(self.standing().registered),
        )
        yield gauge(
            "dolmen_datanode_exchanges_in_progress", "Exchanges under way.", self.service.load
        )
        yield from figures.timings.metrics("dolmen_datanode_exchanges", "kind", "exchanges")
        for name, help_text, values in (
            ("received", "Bytes of bodies taken.", figures.received_bytes),
            ("sent", "Bytes of bodies handed out.", figures.sent_bytes),
        ):
            yield counters(f"dolmen_datanode_{name}_bytes_total", help_text, "kind", values)
        serving = self.serving()
        if serving is not None:
            yield from _queues(serving)
            yield from _volumes(serving)
            yield from _care(serving)
            yield from _short_circuit(serving.short_circuit)


def _queues(serving: Serving) -> Iterator[Metric]:
    yield gauges(
        "dolmen_datanode_replicas",
        "Replicas by state; those that are not written any more are one number.",
        "state",
        serving.store.count_by_state(),
    )
    yield gauge(
        "dolmen_datanode_report_queue",
        "Changes that the namenode has not been told of yet.",
        serving.reporter.queued,
    )
    yield gauges(
        "dolmen_datanode_commands_queued",
        "Orders of the namenode that wait.",
        "command",
        {
            "transfer": serving.commands.queued_transfers,
            "remove": serving.commands.queued_removals,
        },
    )


def _volumes(serving: Serving) -> Iterator[Metric]:
    volumes = serving.store.volumes
    prefix = "dolmen_datanode_volume"
    for name, help_text, value_of in (
        ("capacity_bytes", "Size of the volume.", lambda one: one.capacity_bytes),
        ("used_bytes", "Taken by replicas.", lambda one: one.used_bytes),
        ("room_bytes", "What replicas may still take.", lambda one: one.room_bytes),
    ):
        yield gauges(f"{prefix}_{name}", help_text, "volume", _by_root(volumes, value_of))
    yield Metric(
        f"{prefix}_sync_seconds",
        Kind.HISTOGRAM,
        "How long syncs took, those of one step together.",
        tuple(Sample(one.sync_seconds, {"volume": one.root}) for one in volumes),
    )
    states: Mapping[str, int] = {
        state.value: sum(one.state is state for one in volumes) for state in VolumeState
    }
    states = {**states, VolumeState.FAILED.value: len(serving.watch.failed)}
    yield gauges("dolmen_datanode_volumes", "Volumes by state.", "state", states)
    for name, help_text, value_of in (
        ("replicas", "Damaged replicas put aside.", lambda one: one.quarantine.count),
        ("bytes", "What they take.", lambda one: one.quarantine.size_bytes),
    ):
        values = _by_root(volumes, value_of)
        yield gauges(f"dolmen_datanode_quarantine_{name}", help_text, "volume", values)


def _by_root(volumes: list[Volume], value_of: Callable[[Volume], int]) -> dict[str, float]:
    return {volume.root: value_of(volume) for volume in volumes}


def _care(serving: Serving) -> Iterator[Metric]:
    oldest_ms = serving.care.scrubber.oldest_unverified_ms()
    tally: Tally = serving.care.tally
    prefix = "dolmen_datanode_scrub"
    yield Metric(
        f"{prefix}_oldest_unverified_byte_seconds",
        Kind.GAUGE,
        "Since when the byte that was verified longest ago has not been; none if there is no byte.",
        () if oldest_ms is None else (Sample(oldest_ms / 1000, {}),),
    )
    yield counter(f"{prefix}_verified_replicas_total", "Replicas verified.", tally.replicas)
    yield counter(f"{prefix}_verified_bytes_total", "Their bytes.", tally.length_bytes)
    yield counter(f"{prefix}_damaged_total", "Replicas found damaged.", tally.damaged)


def _short_circuit(short_circuit: ShortCircuit) -> Iterator[Metric]:
    figures = short_circuit.figures
    prefix = "dolmen_datanode_short_circuit"
    yield gauge(
        f"{prefix}_readers", "Readers on this host that are connected.", short_circuit.readers
    )
    yield counter(f"{prefix}_passed_total", "Replicas passed to them as files.", figures.passed)
    yield counter(f"{prefix}_refused_total", "Replicas that were not.", figures.refused)
    yield counter(f"{prefix}_revoked_total", "Replicas that they were to give up.", figures.revoked)
