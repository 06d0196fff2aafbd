"""Clients of real clusters: their options from a settings table, and the machine they run on."""

from collections.abc import Mapping

from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.runtime.settings_sources import load_settings


def client_options(
    namenode: str,
    environment: Mapping[str, str],
    named: Mapping[str, str] | None = None,
    *,
    user: str | None = None,
    host: str | None = None,
) -> ClientOptions:
    """Return the options of a client of `namenode` (`host:port`).

    Settings come from `named` (`{"retry_for": "5s"}`), else the environment and the file that it
    names, else the defaults; SettingsError if one cannot be used.
    """
    settings = load_settings(named or {}, environment, None)
    return ClientOptions.of(settings, namenode, user=user, host=host)


def open_client(options: ClientOptions) -> Client:
    """Return a client on this process's real machine; it connects at its first call."""
    # Here, so that a program loads aiohttp only when it opens a client.
    from dolmen.runtime.real_machine import real_machine

    return Client(real_machine(), options)
