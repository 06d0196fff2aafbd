"""What makes a filesystem one of a cluster: identity, paths, clients, pickling and fork.

Instances are cached by fsspec by the arguments they were made with. Ours are made with one spelling
of each cluster, and with DOLMEN_URL already resolved: `port="9000"` and `port=9000` give one
instance, and a pickle means the same cluster on a machine with another environment. Nothing
connects before the first call. An instance that a fork brought along works in the child, with
connections of the child's own.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import fsspec.asyn
from fsspec.config import apply_config
from fsspec.spec import _Cached
from fsspec.utils import stringify_path

from dolmen.client import Client, loop_of_this_thread, run_here
from dolmen.client.opening import client_options, open_client
from dolmen.client.url import SCHEME
from dolmen.protocol.identifiers import parse_address
from fsspec_plugin.clients import Clients, Connected
from fsspec_plugin.paths import (
    AskedPath,
    ask,
    authority_of,
    names_port,
    parent_of,
    resolve_address,
    strip_protocol,
)
from fsspec_plugin.synchronous import cross, runs_here

T = TypeVar("T")

CLIENT_SETTINGS = (
    "retry_for",
    "connect_timeout",
    "segments_in_flight",
    "segment_size",
    "hedged_share",
    "read_memory",
    "write_memory",
    "short_circuit",
)
"""Settings that may be given as storage options, as text: `{"retry_for": "5s"}`."""

# A lock that another thread held at a fork stays locked in the child for ever.
os.register_at_fork(after_in_child=fsspec.asyn.reset_lock)


class OneInstanceForEachCluster(_Cached):
    """Makes every spelling of a cluster's address the same arguments."""

    def __call__(
        cls,  # noqa: N805 - what a metaclass makes are classes
        host: str | None = None,
        port: int | str | None = None,
        **options: Any,
    ) -> Any:
        if host:
            options |= {"host": host, "port": port}  # a port in the configuration is another host's
        elif port:
            options["port"] = port
        options = apply_config(cls, options)
        address = resolve_address(options.pop("host", None), options.pop("port", None))
        own_host, own_port = parse_address(address)
        return super().__call__(host=own_host, port=own_port, **options)


class ClusterAccess(fsspec.asyn.AsyncFileSystem, metaclass=OneInstanceForEachCluster):
    """One cluster, as seen by one user."""

    protocol = "dolmen"
    root_marker = "/"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str | None = None,
        host_label: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._pid: int = os.getpid()
        self.host = host
        self.port = port
        self.authority = resolve_address(host, port)
        self.user = user
        self.host_label = host_label
        self._settings = {
            name: str(options[name]) for name in CLIENT_SETTINGS if options.get(name) is not None
        }
        self._clients = Clients(self._make_client)
        self._fsid: str | None = None

    def _make_client(self) -> Client:
        return open_client(
            client_options(
                self.authority,
                os.environ,
                self._settings,
                user=self.user or os.environ.get("DOLMEN_USER"),
                host=self.host_label,
            )
        )

    # ------------------------------------------------------------ clients and loops

    async def _connected(self) -> Connected:
        return await self._clients.get()

    async def _client(self) -> Client:
        return (await self._clients.get()).client

    def _reached(self) -> Client | None:
        """The client that synchronous callers share, if their thread can call by it."""
        loop = self.loop
        if loop is None or runs_here(loop) or loop_of_this_thread() is not None:
            return None
        return self._clients.reached(loop)

    def _call(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that waits for nothing but calls to the namenode."""
        loop = self.loop
        if loop is None or self._reached() is None:
            return cross(loop, begin)
        return run_here(loop, begin())

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next call opens new ones."""
        await self._clients.close()

    async def __aenter__(self) -> "ClusterAccess":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """fsspec's own loop, in a forked child that of the child; None if `asynchronous`."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = None if self.asynchronous else fsspec.asyn.get_loop()
        return self._loop

    # ------------------------------------------------------------ identity

    @property
    def fsid(self) -> str:
        """The cluster's own identity, which it keeps at any address. Asks the namenode once."""
        if self._fsid is None:
            self._fsid = fsspec.asyn.sync(self.loop, self._get_fsid)
        return self._fsid

    async def _get_fsid(self) -> str:
        return f"dolmen-{await self._cluster_id()}"

    async def _cluster_id(self) -> str:
        client = await self._client()
        if not client.was_reached:
            await client.connect()
        return str(client.cluster.cluster_id)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        # Equal in all processes and without a call; `ukey` has the cluster's id.
        return ("dolmen", self.authority, self.user or "")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ClusterAccess)
            and type(other) is type(self)
            and other.authority == self.authority
            and other.storage_options == self.storage_options
        )

    def __hash__(self) -> int:
        return hash(self.__dask_tokenize__())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {SCHEME}{self.authority}>"

    # ------------------------------------------------------------ paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list | tuple):
            return [cls._strip_protocol(one) for one in path]
        return strip_protocol(stringify_path(path))

    def unstrip_protocol(self, name: Any) -> str:
        """Return the URL of a path, with the authority of its cluster."""
        path = self._strip_protocol(name)
        return f"{SCHEME}{self.authority}{path}" if path.startswith("/") else f"{SCHEME}{path}"

    @staticmethod
    def _get_kwargs_from_urls(path: Any) -> dict[str, Any]:
        url = stringify_path(path)
        address = authority_of(url)
        if address is None:
            return {}
        host, port = parse_address(address)
        return {"host": host, "port": port} if names_port(url) else {"host": host}

    @classmethod
    def _parent(cls, path: Any) -> str:
        return parent_of(cls._strip_protocol(path))

    def _ask(self, path: Any) -> AskedPath:
        return ask(stringify_path(path), self.authority)


def named(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of `options` that are wanted and given."""
    return {name: options[name] for name in names if options.get(name) is not None}
