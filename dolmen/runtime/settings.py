"""Every setting of Dolmen, in one table.

The fields of `Settings` are the table: default, limits and the reason for the value stand in one
place, and the flag (`--dead-after`), the environment variable (`DOLMEN_DEAD_AFTER`), the TOML key
(`dead_after`) and the help text are made from it. An attribute ends with its unit (`dead_after_ms`,
`block_size_bytes`); the public name does not, because a value that is written says its own.

A flag beats the environment, the environment beats the file. A `Settings` that exists is valid:
limits and relations are checked whenever one is made, so no reader of a setting checks it again.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dolmen.runtime.units import (
    COUNT,
    DURATION,
    FRACTION,
    SIZE,
    Unit,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

__all__ = [
    "CONFIG_VARIABLE",
    "SETTINGS",
    "Setting",
    "Settings",
    "SettingsError",
    "format_duration",
    "format_size",
    "load_settings",
    "named_settings",
    "parse_duration",
    "parse_size",
]

CONFIG_VARIABLE = "DOLMEN_CONFIG"

#: A settings file has some dozens of lines; what is longer was named by mistake.
FILE_BYTES_MAX = 1 << 20

Value = int | float


class SettingsError(ValueError):
    """A setting cannot be used. Says which, its value, what is allowed and where it came from."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table. The values are in the attribute's unit: bytes, milliseconds, pieces."""

    name: str
    unit: Unit
    default: Value
    minimum: Value
    maximum: Value
    multiple_of: int
    reason: str

    @property
    def attribute(self) -> str:
        return self.name + self.unit.suffix

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def environment_variable(self) -> str:
        return "DOLMEN_" + self.name.upper()

    @property
    def default_text(self) -> str:
        return self.unit.format(self.default)

    @property
    def allowed(self) -> str:
        """The limits, as text: `64KiB to 2GiB, a multiple of 64KiB`."""
        limits = f"{self.unit.format(self.minimum)} to {self.unit.format(self.maximum)}"
        if self.multiple_of == 1:
            return limits
        return f"{limits}, a multiple of {self.unit.format(self.multiple_of)}"

    @property
    def help(self) -> str:
        return f"{self.reason} [default: {self.default_text}; allowed: {self.allowed}]"

    def parse(self, text: str, origin: str) -> Value:
        """The value of `text`, within the limits; `origin` tells an error where it stood."""
        try:
            value = self.unit.parse(text)
        except ValueError as error:
            message = f"{self.name}: {error} ({origin}; allowed: {self.allowed})"
            raise SettingsError(message) from None
        self.check(value, origin)
        return value

    def check(self, value: Value, origin: str) -> None:
        within = self.minimum <= value <= self.maximum
        if not within or (self.multiple_of > 1 and value % self.multiple_of):
            raise SettingsError(
                f"{self.name}: {self.unit.format(value)} is not allowed"
                f" ({origin}; allowed: {self.allowed})"
            )


def _row(
    unit: Unit, default: str, limits: tuple[str, str], reason: str, *, multiple_of: str = "1"
) -> Any:
    """A field of `Settings` that carries its row of the table, all but the name."""
    row = {
        "unit": unit,
        "default": unit.parse(default),
        "minimum": unit.parse(limits[0]),
        "maximum": unit.parse(limits[1]),
        "multiple_of": unit.parse(multiple_of) if unit is SIZE else 1,
        "reason": reason,
    }
    return dataclasses.field(default=row["default"], metadata=row)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. `Settings()` are the defaults."""

    block_size_bytes: int = _row(
        SIZE,
        "128MiB",
        ("64KiB", "2GiB"),
        "Greatest length of a block of a new file: large enough that a file has few blocks, small"
        " enough that one is copied within seconds; whole chunks, so that no block shares one.",
        multiple_of="64KiB",
    )
    replication: int = _row(
        COUNT,
        "3",
        ("1", "512"),
        "Wanted replicas of each block of a new file: with 3, one is lost and one more is being"
        " read while the file is still safe.",
    )
    min_replicas: int = _row(
        COUNT,
        "2",
        ("1", "512"),
        "Durable replicas that a close waits for, as far as the file's replication and the number"
        " of datanodes allow: with 2, no single failure takes an acknowledged byte.",
    )
    heartbeat_interval_ms: int = _row(
        DURATION,
        "1s",
        ("10ms", "1min"),
        "How often a datanode reports that it lives: several times within stale_after.",
    )
    stale_after_ms: int = _row(
        DURATION,
        "3s",
        ("20ms", "10min"),
        "Silence after which a datanode is STALE and gets no new replica: longer than"
        " heartbeat_interval, so that one late heartbeat is forgiven.",
    )
    dead_after_ms: int = _row(
        DURATION,
        "10s",
        ("10ms", "1d"),
        "Time as STALE after which a datanode is DEAD and its blocks are repaired: longer than a"
        " restart of a datanode takes, so that a restart copies nothing.",
    )
    repair_rate_bytes: int = _row(
        SIZE,
        "512MiB",
        ("64KiB", "1TiB"),
        "Bytes per second that repair may move through one datanode: less than its disk and"
        " network, so that readers and writers keep a share.",
    )
    delete_after_ms: int = _row(
        DURATION,
        "1min",
        ("10ms", "1d"),
        "How long the blocks of a deleted or replaced file are kept for those who read it: longer"
        " than opening a file and asking for its next blocks takes.",
    )
    scrub_period_ms: int = _row(
        DURATION,
        "14d",
        ("1s", "365d"),
        "Time in which a datanode reads and verifies each of its replicas once: shorter than the"
        " time in which two replicas of one block are likely to rot.",
    )
    reserved_space_bytes: int = _row(
        SIZE,
        "1GiB",
        ("0B", "1PiB"),
        "Space on each volume that blocks never take, at most 5 % of the volume: room for"
        " checksums, logs and the file system itself, so that nothing meets a full disk.",
    )
    lease_soft_limit_ms: int = _row(
        DURATION,
        "1min",
        ("10ms", "1d"),
        "Silence of a writer after which another one may take its file: longer than retry_for, so"
        " that a writer outlives a restart of the namenode.",
    )
    lease_hard_limit_ms: int = _row(
        DURATION,
        "20min",
        ("20ms", "7d"),
        "Silence of a writer after which the namenode ends its file: longer than lease_soft_limit,"
        " so that a rival comes first and a writer that only pauses keeps its work.",
    )
    safe_mode_threshold: float = _row(
        FRACTION,
        "0.999",
        ("0", "1"),
        "Share of the blocks that must have a replica for safe mode to end at once: below 1,"
        " because a few blocks that are gone for good must not hold the rest up.",
    )
    safe_mode_quiet_ms: int = _row(
        DURATION,
        "10s",
        ("10ms", "1h"),
        "Time without a newly reported block after which safe mode ends all the same: longer than"
        " the pause between two block reports after a start.",
    )
    retry_for_ms: int = _row(
        DURATION,
        "30s",
        ("10ms", "1h"),
        "How long a client that has lost its namenode repeats a call: longer than a restart of the"
        " namenode, so that a restart is a pause and not an error.",
    )
    connect_timeout_ms: int = _row(
        DURATION,
        "3s",
        ("10ms", "1min"),
        "How long opening a connection may take: longer than two lost packets on a busy network"
        " cost, short enough that a wrong address is an error within 5 s.",
    )
    segment_size_bytes: int = _row(
        SIZE,
        "4MiB",
        ("64KiB", "16MiB"),
        "Bytes that one request carries down a pipeline: large enough that the request costs"
        " little, small enough that sending one again does too; whole chunks, for their checksums.",
        multiple_of="64KiB",
    )
    segments_in_flight: int = _row(
        COUNT,
        "4",
        ("1", "64"),
        "Segments a writer has on their way: enough that every datanode of a pipeline is busy;"
        " times segment_size, this is a writer's memory.",
    )
    checkpoint_every: int = _row(
        COUNT,
        "200000",
        ("1", "100000000"),
        "Edits after which the namenode writes a checkpoint: few enough that replaying them takes"
        " seconds, many enough that copying the namespace does not take its time.",
    )
    block_token_life_ms: int = _row(
        DURATION,
        "10min",
        ("100ms", "1d"),
        "How long a block token opens its block: longer than reading or writing a block takes;"
        " deleted blocks are kept as long.",
    )
    answered_life_ms: int = _row(
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
        _check_relations(values, {})


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


def named_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None
) -> dict[str, tuple[str, str]]:
    """What was named of all settings, and only that: by name its text and where that stood."""
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    texts: dict[str, tuple[str, str]] = {}
    if file is not None:
        texts |= {name: (text, f"in {file}") for name, text in _read_file(file).items()}
    for setting in SETTINGS:
        if text := environment.get(setting.environment_variable):
            texts[setting.name] = (text, f"from {setting.environment_variable}")
    for name, text in flags.items():
        texts[name] = (text, f"from {_known(name, 'on the command line').flag}")
    return texts


def load_settings(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Path | None
) -> Settings:
    """Settings from `flags` (by name), else `environment`, else `file`, else the defaults.

    Without `file`, the one that DOLMEN_CONFIG names is read. An empty variable counts as not set.
    """
    texts = named_settings(flags, environment, file)
    values: dict[str, Any] = {
        name: BY_NAME[name].parse(text, origin) for name, (text, origin) in texts.items()
    }
    origins = {name: origin for name, (_, origin) in texts.items()}
    _check_relations({name: row.default for name, row in BY_NAME.items()} | values, origins)
    return Settings(**{BY_NAME[name].attribute: value for name, value in values.items()})


def _read_file(file: Path) -> dict[str, str]:
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {file}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError(f"{file} is no settings file: it is longer than 1MiB")
    try:
        table = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from None
    return {_known(key, f"in {file}").name: str(value) for key, value in table.items()}


def _known(name: str, place: str) -> Setting:
    """The setting called `name`, or an error that names the nearest one there is."""
    if name in BY_NAME:
        return BY_NAME[name]
    nearest = difflib.get_close_matches(name.replace("-", "_").lower(), BY_NAME, n=1, cutoff=0)
    raise SettingsError(f"unknown setting {name!r} {place}; the nearest known one is {nearest[0]}")


def _check_relations(values: Mapping[str, Value], origins: Mapping[str, str]) -> None:
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
