"""What the user said on the command line about clusters and settings, before or after the verb.

`--at` and `--user` may stand before the verb or after it; these options and the settings' flags put
themselves into one `Said` instead of becoming parameters of every command.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

from dolmen.cli.options import Command
from dolmen.runtime.settings import BY_NAME, SETTINGS, Settings
from dolmen.runtime.settings_sources import CONFIG_VARIABLE, load_settings

ALL_SETTINGS = tuple(setting.name for setting in SETTINGS)


@dataclass
class Said:
    """What was said, and nothing else: None and an empty mapping mean that nothing was."""

    at: str | None = None
    user: str | None = None
    config: Path | None = None
    flags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def now(cls) -> "Said":
        """What was said to the command that runs."""
        return click.get_current_context().ensure_object(cls)

    def settings(self) -> Settings:
        return load_settings(self.flags, os.environ, self.config)


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value is not None and param.name is not None:
        setattr(ctx.ensure_object(Said), param.name, value)


def _keep_flag(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and param.name is not None:
        ctx.ensure_object(Said).flags[param.name] = value


def connection_options(command: Command) -> Command:
    """Add --at and --user."""
    command = click.option(
        "--user",
        metavar="NAME",
        expose_value=False,
        callback=_keep,
        help="Act as this user [default: $DOLMEN_USER, else the login name].",
    )(command)
    return click.option(
        "--at",
        metavar="HOST:PORT",
        expose_value=False,
        callback=_keep,
        help="The cluster that paths without a URL belong to.",
    )(command)


def client_options(command: Command) -> Command:
    """Add what every verb that talks to a cluster takes."""
    return connection_options(
        config_option(settings_flags("retry_for", "connect_timeout")(command))
    )


def settings_options(command: Command) -> Command:
    """Add --config and the flags of all settings."""
    return config_option(settings_flags(*ALL_SETTINGS)(command))


def config_option(command: Command) -> Command:
    """Add --config."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        expose_value=False,
        callback=_keep,
        help=f"Read settings from this TOML file [default: ${CONFIG_VARIABLE}].",
    )(command)


def settings_flags(*names: str, default: str = "") -> Callable[[Command], Command]:
    """Add the flags of these settings, with their help and default from the table.

    `default` says where the value comes from if the table's default is not meant.
    """

    def add(command: Command) -> Command:
        # The last one first, which is the order in which decorators stack.
        for name in reversed(names):
            command = click.option(
                BY_NAME[name].flag,
                name,
                metavar=BY_NAME[name].unit.name.upper(),
                expose_value=False,
                callback=_keep_flag,
                help=f"{_summary(name)} [default: {default or BY_NAME[name].default_text}]",
            )(command)
        return command

    return add


def _summary(name: str) -> str:
    """What the setting is; why its value is what it is stands behind the colon in the table."""
    return BY_NAME[name].reason.partition(":")[0]
