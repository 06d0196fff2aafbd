"""Where settings come from: a flag beats the environment, the environment beats the file."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dolmen.runtime.setting import Setting, SettingsError
from dolmen.runtime.settings import BY_NAME, SETTINGS, Settings, check_relations

CONFIG_VARIABLE = "DOLMEN_CONFIG"

FILE_BYTES_MAX = 1 << 20
"""A settings file has some dozens of lines; what is longer was named by mistake."""


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
    check_relations({name: row.default for name, row in BY_NAME.items()} | values, origins)
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
