import dataclasses
from pathlib import Path

import pytest

from dolmen.runtime.setting import Setting, SettingsError
from dolmen.runtime.settings import SETTINGS, Settings
from dolmen.runtime.settings_sources import load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dolmen.toml"


def setting(name: str) -> Setting:
    return next(row for row in SETTINGS if row.name == name)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("block_size", "128MiB"),
        ("replication", "3"),
        ("min_replicas", "2"),
        ("heartbeat_interval", "1s"),
        ("stale_after", "3s"),
        ("dead_after", "10s"),
        ("repair_rate", "512MiB"),
        ("delete_after", "1min"),
        ("scrub_period", "14d"),
        ("reserved_space", "1GiB"),
        ("lease_soft_limit", "1min"),
        ("lease_hard_limit", "20min"),
        ("safe_mode_threshold", "0.999"),
        ("safe_mode_quiet", "10s"),
        ("retry_for", "30s"),
        ("connect_timeout", "3s"),
    ],
)
def test_the_documented_defaults_hold(name: str, default: str) -> None:
    assert setting(name).default_text == default


def test_a_row_names_its_attribute_flag_and_environment_variable() -> None:
    row = setting("dead_after")
    assert row.attribute == "dead_after_ms"
    assert row.flag == "--dead-after"
    assert row.environment_variable == "DOLMEN_DEAD_AFTER"
    assert row.help.endswith("[default: 10s; allowed: 10ms to 1d]")


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_every_setting_gives_a_reason_and_keeps_its_own_limits(row: Setting) -> None:
    assert row.reason.endswith(".")
    assert getattr(Settings(), row.attribute) == row.default
    for value in (row.minimum, row.default, row.maximum):
        assert row.parse(row.unit.format(value), "in a test") == value


def test_a_flag_beats_the_environment_and_the_environment_beats_the_file(file: Path) -> None:
    file.write_text('dead_after = "1min"\nreplication = 5\nblock_size = "4MiB"\n')
    environment = {"DOLMEN_DEAD_AFTER": "30s", "DOLMEN_REPLICATION": "4", "HOME": "/root"}
    settings = load_settings({"dead_after": "3s"}, environment, file)
    assert settings.dead_after_ms == 3_000
    assert settings.replication == 4
    assert settings.block_size_bytes == 4 << 20
    assert settings.stale_after_ms == Settings().stale_after_ms


def test_the_environment_may_name_the_file_and_a_named_file_beats_that(file: Path) -> None:
    file.write_text("replication = 2\n")
    assert load_settings({}, {"DOLMEN_CONFIG": str(file)}, None).replication == 2
    other = file.with_name("other.toml")
    other.write_text("replication = 1\n")
    assert load_settings({}, {"DOLMEN_CONFIG": str(file)}, other).replication == 1


def test_toml_may_hold_plain_numbers_where_no_unit_is_needed(file: Path) -> None:
    file.write_text("block_size = 131072\nsafe_mode_threshold = 0.5\ncheckpoint_every = 1_000\n")
    settings = load_settings({}, {}, file)
    assert settings.block_size_bytes == 131_072
    assert settings.safe_mode_threshold == 0.5
    assert settings.checkpoint_every == 1_000


def test_an_empty_variable_counts_as_not_set() -> None:
    environment = {"DOLMEN_DEAD_AFTER": "", "DOLMEN_CONFIG": ""}
    assert load_settings({}, environment, None) == Settings()


@pytest.mark.parametrize("key", ["dead_afterr", "dead-after", "DEAD_AFTER", "dead_after_ms"])
def test_an_unknown_key_is_an_error_that_names_the_nearest_known_one(file: Path, key: str) -> None:
    file.write_text(f'{key} = "3s"\n')
    with pytest.raises(SettingsError, match=r"unknown setting .* nearest known one is dead_after"):
        load_settings({}, {}, file)


def test_an_unknown_flag_is_an_error_too() -> None:
    with pytest.raises(SettingsError, match=r"'blocksize' on the command line; .* block_size"):
        load_settings({"blocksize": "4MiB"}, {}, None)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("dead_after", "3", "'3' is not a duration"),
        ("dead_after", "1ms", "1ms is not allowed"),
        ("dead_after", "2d", "2d is not allowed"),
        ("block_size", "100000", "100000B is not allowed"),
        ("block_size", "0", "0B is not allowed"),
        ("replication", "0", "0 is not allowed"),
        ("replication", "513", "513 is not allowed"),
        ("safe_mode_threshold", "nan", "nan is not allowed"),
        ("safe_mode_threshold", "99.9", "99.9 is not allowed"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_its_origin_and_what_is_allowed(
    name: str, text: str, told: str
) -> None:
    row = setting(name)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, {row.environment_variable: text}, None)
    message = str(caught.value)
    assert message.startswith(f"{name}: {told}")
    assert f"from {row.environment_variable}" in message
    assert row.allowed in message


@pytest.mark.parametrize("value", ["true", "[1]", "{ a = 1 }", "1979-05-27"])
def test_a_value_of_a_foreign_kind_is_refused(file: Path, value: str) -> None:
    file.write_text(f"replication = {value}\n")
    with pytest.raises(SettingsError, match=r"replication: .* is not a whole number"):
        load_settings({}, {}, file)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"stale_after": "1s"}, "stale_after must be longer than heartbeat_interval"),
        ({"lease_hard_limit": "1min"}, "lease_hard_limit must be longer than lease_soft_limit"),
        ({"retry_for": "10min"}, "answered_life must be longer than retry_for"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(flags: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        load_settings(flags, {}, None)
    assert "(the default)" in str(caught.value)
    assert f"(from {setting(next(iter(flags))).flag})" in str(caught.value)


def test_settings_made_in_a_program_are_checked_too() -> None:
    assert dataclasses.replace(Settings(), dead_after_ms=50).dead_after_ms == 50
    with pytest.raises(SettingsError, match="given in the program"):
        Settings(replication=0)
    with pytest.raises(SettingsError, match="heartbeat_interval"):
        Settings(stale_after_ms=500)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"dolmen\.toml: No such file"):
        load_settings({}, {}, file)


@pytest.mark.parametrize("content", [b"dead_after = 10s", b"\xff\xfe", b"["])
def test_a_file_that_is_no_toml_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"dolmen\.toml is not valid TOML"):
        load_settings({}, {}, file)


def test_a_file_that_is_far_too_long_is_not_read_whole(file: Path) -> None:
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(SettingsError, match="is no settings file"):
        load_settings({}, {}, file)
