"""Which file may import what: the table of the three rings, as data.

Every Python file of the distribution falls under exactly one `Reach`; a file that falls under none
is in a place that the layout does not have. A new package or an edge with a library of its own is
a line here, and a decision. What a reach does not name, its files may not import.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

PACKAGES = ("dolmen", "namenode", "datanode", "fsspec_plugin")

STANDARD = frozenset(sys.stdlib_module_names)

#: The standard library without I/O, clock, chance and tasks.
PURE_STANDARD = frozenset(
    "__future__ abc array base64 binascii bisect collections contextlib copy dataclasses enum errno"
    " fractions functools hashlib heapq hmac itertools json math operator posixpath re stat"
    " statistics string struct textwrap types typing unicodedata zlib".split()
) | {"random.Random", "urllib.parse"}

#: What a loop gets from a port instead, so that the simulation can give it another one.
BEHIND_PORTS = frozenset(
    "concurrent fcntl mmap multiprocessing os random secrets select selectors shutil signal socket"
    " sqlite3 ssl subprocess tempfile threading time uuid".split()
)
LOOP_STANDARD = (STANDARD - BEHIND_PORTS) | {"random.Random"}

#: They compute and do nothing else.
PURE_LIBRARIES = frozenset({"msgspec", "xxhash"})
ALL_LIBRARIES = PURE_LIBRARIES | {"aiohttp", "click", "fsspec", "kazoo", "lmdb", "rich"}


@dataclass(frozen=True)
class Reach:
    """What one kind of file may import: our packages, the standard library, libraries."""

    ours: frozenset[str]
    standard: frozenset[str]
    libraries: frozenset[str] = PURE_LIBRARIES
    libraries_in_functions: frozenset[str] = frozenset()


PURE = Reach(frozenset({"dolmen.protocol"}), PURE_STANDARD)
RUNTIME = Reach(frozenset({"dolmen.protocol", "dolmen.runtime"}), STANDARD)
LOOP = Reach(RUNTIME.ours, LOOP_STANDARD)
PLUGIN = Reach(
    frozenset({"dolmen.client", "dolmen.protocol", "fsspec_plugin"}),
    STANDARD,
    PURE_LIBRARIES | {"fsspec"},
)
#: The command line, the local cluster and the simulation: imported by each other, the benchmarks
#: and tests alone.
OUTER = Reach(frozenset(PACKAGES), STANDARD, ALL_LIBRARIES)

#: They measure all of it, and nothing that is measured knows of them.
BENCHMARKS = replace(OUTER, ours=OUTER.ours | {"benchmarks"})

#: The files that know a library. Why several of them know HTTP: docs/decisions/0002.
HTTP = frozenset({"aiohttp", "yarl"})
EDGES = {
    "dolmen/runtime/http_control.py": HTTP,
    "dolmen/runtime/http_listener.py": HTTP,
    "dolmen/runtime/http_transport.py": HTTP,
    "dolmen/runtime/http_status.py": HTTP,
    "dolmen/runtime/http_metrics.py": frozenset({"prometheus_client"}),
    "dolmen/runtime/lmdb_key_value.py": frozenset({"lmdb"}),
    "namenode/election.py": frozenset({"kazoo"}),
    "namenode/zookeeper_edit_log.py": frozenset({"kazoo"}),
}


def reach_of(path: PurePosixPath) -> Reach | None:
    """What the file at `path`, relative to the root, may import; None where no file belongs."""
    reach = _reach_of_place(path)
    if reach is not None and str(path) in EDGES:
        return replace(reach, libraries=reach.libraries | EDGES[str(path)])
    return reach


def _reach_of_place(path: PurePosixPath) -> Reach | None:
    place = ".".join(path.with_suffix("").parts)
    if "core" in path.parts[:-1]:
        core = place[: place.index(".core") + len(".core")]
        return replace(PURE, ours=PURE.ours | {core})
    match path.parts:
        case ("dolmen", "__init__.py"):
            return replace(PURE, ours=frozenset())
        case ("dolmen", "protocol", *_):
            return PURE
        case ("dolmen", "runtime", *_):
            return RUNTIME
        case ("dolmen", "client", *_):
            return replace(LOOP, ours=LOOP.ours | {"dolmen.client"})
        case ("dolmen", "cli" | "simulation", *_) | ("dolmen", "local_cluster.py" | "__main__.py"):
            return OUTER
        case ("namenode" | "datanode" as package, "__main__.py"):
            return replace(RUNTIME, ours=RUNTIME.ours | {package})
        case ("namenode" | "datanode" as package, "webhdfs.py"):
            return replace(LOOP, ours=LOOP.ours | {package, "dolmen.client"})
        case ("namenode" | "datanode" as package, *_):
            return replace(LOOP, ours=LOOP.ours | {package})
        case ("benchmarks", _):
            return BENCHMARKS
        case ("fsspec_plugin", _):
            return replace(PLUGIN, libraries_in_functions=frozenset({path.stem}))
        case _:
            return None
