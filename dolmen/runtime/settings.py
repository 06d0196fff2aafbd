"""Every setting of Dolmen, in one table.

The fields of `Settings` are the table: default, limits and the reason for the value stand in one
place, and the flag (`--dead-after`), the environment variable (`DOLMEN_DEAD_AFTER`), the TOML key
(`dead_after`) and the help text are made from it. An attribute ends with its unit (`dead_after_ms`,
`block_size_bytes`); the public name does not, because a value that is written says its own.

A `Settings` that exists is valid: limits and relations are checked whenever one is made, so no
reader of a setting checks it again. Where its values come from: `settings_sources`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from dolmen.runtime.setting import Setting, SettingsError, Value, row
from dolmen.runtime.units import COUNT, DURATION, FRACTION, SIZE, SWITCH


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. `Settings()` are the defaults."""

    block_size_bytes: int = row(
        SIZE,
        "128MiB",
        ("64KiB", "2GiB"),
        "Greatest length of a block of a new file: large enough that a file has few blocks, small"
        " enough that one is copied within seconds; whole chunks, so that no block shares one.",
        multiple_of="64KiB",
    )
    inline_limit_bytes: int = row(
        SIZE,
        "8KiB",
        ("0B", "32KiB"),
        "Greatest length of a file that the namenode keeps itself, written and read by one call: as"
        " long as that costs it less than a block with its replicas does; 0 keeps none there.",
    )
    replication: int = row(
        COUNT,
        "3",
        ("1", "512"),
        "Wanted replicas of each block of a new file: with 3, one is lost and one more is being"
        " read while the file is still safe.",
    )
    min_replicas: int = row(
        COUNT,
        "2",
        ("1", "512"),
        "Durable replicas that a close waits for, as far as the file's replication and the number"
        " of datanodes allow: with 2, no single failure takes an acknowledged byte.",
    )
    heartbeat_interval_ms: int = row(
        DURATION,
        "1s",
        ("10ms", "1min"),
        "How often a datanode reports that it lives: several times within stale_after.",
    )
    stale_after_ms: int = row(
        DURATION,
        "3s",
        ("20ms", "10min"),
        "Silence after which a datanode is STALE and gets no new replica: longer than"
        " heartbeat_interval, so that one late heartbeat is forgiven.",
    )
    dead_after_ms: int = row(
        DURATION,
        "10s",
        ("10ms", "1d"),
        "Time as STALE after which a datanode is DEAD and its blocks are repaired: longer than a"
        " restart of a datanode takes, so that a restart copies nothing.",
    )
    repair_rate_bytes: int = row(
        SIZE,
        "512MiB",
        ("64KiB", "1TiB"),
        "Bytes per second that repair may move through one datanode: less than its disk and"
        " network, so that readers and writers keep a share.",
    )
    delete_after_ms: int = row(
        DURATION,
        "1min",
        ("10ms", "1d"),
        "How long the blocks of a deleted or replaced file are kept for those who read it: longer"
        " than opening a file and asking for its next blocks takes.",
    )
    hash_after_ms: int = row(
        DURATION,
        "1min",
        ("10ms", "1d"),
        "How long a file that grew, was cut or joined is left alone before its whole hash is"
        " computed again: longer than the pause between two appends, as each makes it void.",
    )
    scrub_period_ms: int = row(
        DURATION,
        "14d",
        ("1s", "365d"),
        "Time in which a datanode reads and verifies each of its replicas once: shorter than the"
        " time in which two replicas of one block are likely to rot.",
    )
    quarantine_age_ms: int = row(
        DURATION,
        "7d",
        ("10ms", "365d"),
        "How long a damaged replica is kept in quarantine: long enough that somebody can look at it"
        " or rescue bytes of it.",
    )
    quarantine_space_bytes: int = row(
        SIZE,
        "10GiB",
        ("0B", "1PiB"),
        "Space that the quarantine of one volume may take, at most 5 % of it; the oldest goes"
        " first: damage must not fill a disk.",
    )
    volume_check_interval_ms: int = row(
        DURATION,
        "5s",
        ("10ms", "1h"),
        "How often a datanode tries whether its volumes can be written, and whether a failed one is"
        " back: a disk that vanished is noticed and a new one used within seconds.",
    )
    reserved_space_bytes: int = row(
        SIZE,
        "1GiB",
        ("0B", "1PiB"),
        "Space on each volume that blocks never take, at most 5 % of the volume: room for"
        " checksums, logs and the file system itself, so that nothing meets a full disk.",
    )
    lease_soft_limit_ms: int = row(
        DURATION,
        "1min",
        ("10ms", "1d"),
        "Silence of a writer after which another one may take its file: longer than retry_for, so"
        " that a writer outlives a restart of the namenode.",
    )
    lease_hard_limit_ms: int = row(
        DURATION,
        "20min",
        ("20ms", "7d"),
        "Silence of a writer after which the namenode ends its file: longer than lease_soft_limit,"
        " so that a rival comes first and a writer that only pauses keeps its work.",
    )
    safe_mode_threshold: float = row(
        FRACTION,
        "0.999",
        ("0", "1"),
        "Share of the blocks that must have a replica for safe mode to end at once: below 1,"
        " because a few blocks that are gone for good must not hold the rest up.",
    )
    safe_mode_quiet_ms: int = row(
        DURATION,
        "10s",
        ("10ms", "1h"),
        "Time without a newly reported block after which safe mode ends all the same: longer than"
        " the pause between two block reports after a start.",
    )
    retry_for_ms: int = row(
        DURATION,
        "30s",
        ("10ms", "1h"),
        "How long a client that has lost its namenode repeats a call: longer than a restart of the"
        " namenode, so that a restart is a pause and not an error.",
    )
    connect_timeout_ms: int = row(
        DURATION,
        "3s",
        ("10ms", "1min"),
        "How long opening a connection may take: longer than two lost packets on a busy network"
        " cost, short enough that a wrong address is an error within 5 s.",
    )
    segment_size_bytes: int = row(
        SIZE,
        "4MiB",
        ("64KiB", "16MiB"),
        "Bytes that one request carries down a pipeline: large enough that the request costs"
        " little, small enough that sending one again does too; whole chunks, for their checksums.",
        multiple_of="64KiB",
    )
    segments_in_flight: int = row(
        COUNT,
        "4",
        ("1", "64"),
        "Segments a writer has on their way: enough that every datanode of a pipeline is busy;"
        " times segment_size, this is a writer's memory, as far as write_memory allows.",
    )
    read_memory_bytes: int = row(
        SIZE,
        "64MiB",
        ("1MiB", "64GiB"),
        "Memory of a client for what its readers fetch ahead, however many files are open: enough"
        " for a few that are read in order, and a little for each of 256.",
    )
    write_memory_bytes: int = row(
        SIZE,
        "64MiB",
        ("1MiB", "64GiB"),
        "Memory of a client for what its writers have on their way, however many files are open:"
        " enough for one writer at full speed, and a little for each of 256.",
    )
    hedged_share: float = row(
        FRACTION,
        "0.05",
        ("0", "1"),
        "Share of a client's reads that may be asked of a second replica because the first is late:"
        " enough for the slowest twentieth, too little to weigh on a cluster that is busy; 0 asks"
        " nobody twice.",
    )
    short_circuit: bool = row(
        SWITCH,
        "on",
        ("off", "on"),
        "Whether a client reads replicas of a datanode on its own host from their files, which the"
        " datanode passes it: many times faster than over a socket, and verified all the same.",
    )
    checkpoint_every: int = row(
        COUNT,
        "200000",
        ("1", "100000000"),
        "Edits after which the namenode writes a checkpoint: few enough that replaying them takes"
        " seconds, many enough that copying the namespace does not take its time.",
    )
    block_token_life_ms: int = row(
        DURATION,
        "10min",
        ("100ms", "1d"),
        "How long a block token opens its block: longer than reading or writing a block takes;"
        " deleted blocks are kept as long.",
    )
    answered_life_ms: int = row(
        DURATION,
        "10min",
        ("100ms", "7d"),
        "How long the reply to a change is kept for a caller that repeats it: longer than"
        " retry_for, so that no call is done twice.",
    )

    def __post_init__(self) -> None:
        values = {setting.name: getattr(self, setting.attribute) for setting in SETTINGS}
        for setting in SETTINGS:
            setting.check(values[setting.name], "given in the program")
        check_relations(values, {})


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(name=field.name.removesuffix(field.metadata["unit"].suffix), **field.metadata)
    for field in dataclasses.fields(Settings)
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}

#: (what must be longer, what it must be longer than, what breaks otherwise)
RELATIONS = (
    ("stale_after", "heartbeat_interval", "a healthy datanode would be STALE between heartbeats"),
    ("lease_hard_limit", "lease_soft_limit", "the namenode would end a file before a rival may"),
    ("answered_life", "retry_for", "a repeated call could be done twice"),
)


def check_relations(values: Mapping[str, Value], origins: Mapping[str, str]) -> None:
    """Raise SettingsError unless `values`, by name, fit each other; `origins` say where from."""
    for longer, shorter, otherwise in RELATIONS:
        if values[longer] <= values[shorter]:
            said = [
                f"{name} is {BY_NAME[name].unit.format(values[name])}"
                f" ({origins.get(name, 'the default')})"
                for name in (longer, shorter)
            ]
            raise SettingsError(
                f"{longer} must be longer than {shorter}, else {otherwise}: {', '.join(said)}"
            )
