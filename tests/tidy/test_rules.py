"""The rules fire: each on a small tree that breaks it, and none on one that does not."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tidy import rules


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dolmen/protocol/tokens.py", "import hashlib, msgspec, xxhash"),
        ("dolmen/protocol/tokens.py", "from dolmen.protocol import errors"),
        ("dolmen/runtime/disk.py", "import asyncio, os, time\nfrom dolmen.protocol import errors"),
        ("dolmen/runtime/http_transport.py", "import aiohttp.web"),
        ("dolmen/runtime/lmdb_key_value.py", "import lmdb"),
        ("dolmen/client/core/write_plan.py", "from dolmen.client.core.errors import Broken"),
        ("dolmen/client/writer.py", "import asyncio\nfrom dolmen.runtime import transport"),
        ("dolmen/cli/files.py", "from dolmen.local_cluster import LocalCluster\nimport click"),
        ("dolmen/simulation/cluster.py", "import datanode.node, namenode.node, random"),
        ("dolmen/local_cluster.py", "from namenode.node import Namenode"),
        ("dolmen/__main__.py", "from dolmen.cli import main"),
        ("namenode/core/placement.py", "from random import Random\nimport namenode.core.edits"),
        ("namenode/node.py", "from namenode.core import edits\nfrom dolmen import __version__"),
        ("namenode/election.py", "import kazoo.client"),
        ("namenode/webhdfs.py", "from dolmen.client import Client"),
        ("datanode/__main__.py", "import os, signal\nfrom datanode.node import Datanode"),
        ("benchmarks/echo.py", "import aiohttp, time\nfrom benchmarks import sizes, peers"),
        ("fsspec_plugin/filesystem.py", "import fsspec.asyn\nfrom dolmen.client import Client"),
        ("fsspec_plugin/dask.py", "def read():\n    import dask.dataframe"),
    ],
)
def test_an_import_that_points_inward_is_fine(tmp_path: Path, path: str, source: str) -> None:
    assert rules.import_problems(tree(tmp_path, {path: source})) == []


@pytest.mark.parametrize(
    ("path", "source", "name"),
    [
        ("dolmen/__init__.py", "import dolmen.client", "dolmen.client"),
        ("dolmen/protocol/tokens.py", "import time", "time"),
        ("dolmen/protocol/tokens.py", "from os import path", "os.path"),
        ("dolmen/protocol/tokens.py", "from dolmen.runtime import disk", "dolmen.runtime.disk"),
        ("dolmen/protocol/tokens.py", "from . import errors", "..errors"),
        ("dolmen/runtime/disk.py", "import aiohttp", "aiohttp"),
        ("dolmen/runtime/http_transport.py", "import lmdb", "lmdb"),
        ("dolmen/runtime/disk.py", "import dolmen.client", "dolmen.client"),
        ("dolmen/client/core/read_plan.py", "import asyncio", "asyncio"),
        ("dolmen/client/core/read_plan.py", "import dolmen.client.reader", "dolmen.client.reader"),
        ("dolmen/client/reader.py", "import time", "time"),
        ("dolmen/client/reader.py", "import namenode.node", "namenode.node"),
        ("dolmen/client/reader.py", "import dolmen.simulation.faults", "dolmen.simulation.faults"),
        ("dolmen/simulation/faults.py", "import hypothesis", "hypothesis"),
        ("dolmen/cli/files.py", "import tests.conftest", "tests.conftest"),
        ("namenode/core/leases.py", "from random import choice", "random.choice"),
        ("namenode/core/leases.py", "def now():\n    import time", "time"),
        ("namenode/core/leases.py", "import namenode.node", "namenode.node"),
        ("namenode/core/leases.py", "import namenode.corequisites", "namenode.corequisites"),
        ("namenode/node.py", "import threading", "threading"),
        ("namenode/node.py", "import kazoo", "kazoo"),
        ("namenode/node.py", "import dolmen.client", "dolmen.client"),
        ("namenode/node.py", "import datanode.node", "datanode.node"),
        ("namenode/node.py", "import dolmen.local_cluster", "dolmen.local_cluster"),
        ("datanode/node.py", "import namenode.node", "namenode.node"),
        ("datanode/node.py", "if True:\n    import fsspec_plugin", "fsspec_plugin"),
        ("fsspec_plugin/filesystem.py", "import dolmen.runtime.disk", "dolmen.runtime.disk"),
        ("benchmarks/echo.py", "import tests.conftest", "tests.conftest"),
        ("dolmen/cli/files.py", "import benchmarks.sizes", "benchmarks.sizes"),
        ("fsspec_plugin/filesystem.py", "import dask", "dask"),
        ("fsspec_plugin/dask.py", "import dask", "dask"),
        ("fsspec_plugin/dask.py", "def read():\n    import polars", "polars"),
    ],
)
def test_any_other_import_is_named_with_its_place(
    tmp_path: Path, path: str, source: str, name: str
) -> None:
    line = source.count("\n") + 1
    problems = rules.import_problems(tree(tmp_path, {path: source}))
    assert problems == [f"{path}:{line} may not import {name}"]


@pytest.mark.parametrize("path", ["dolmen/extras/x.py", "dolmen/tools.py", "fsspec_plugin/a/b.py"])
def test_a_file_in_no_known_place_is_named(tmp_path: Path, path: str) -> None:
    problems = rules.import_problems(tree(tmp_path, {path: ""}))
    assert problems == [f"{path} is in no place that the layout knows"]


def test_a_slow_library_is_found_through_any_chain_of_imports(tmp_path: Path) -> None:
    files = {
        "dolmen/cli/__init__.py": "from dolmen.client import Client",
        "dolmen/client/__init__.py": "import dolmen.runtime.http_transport",
        "dolmen/runtime/http_transport.py": "import aiohttp",
    }
    assert rules.slow_start_problems(tree(tmp_path, files)) == [
        "importing dolmen.cli loads aiohttp: dolmen.cli → dolmen.client → "
        "dolmen.runtime.http_transport"
    ]


def test_a_slow_library_may_be_loaded_when_a_command_runs(tmp_path: Path) -> None:
    files = {
        "dolmen/cli/__init__.py": "def main():\n    import dolmen.cli.files",
        "dolmen/cli/files.py": "import typing\nif typing.TYPE_CHECKING:\n    import rich",
    }
    assert rules.slow_start_problems(tree(tmp_path, files)) == []
    tree(tmp_path, {"dolmen/cli/files.py": "import rich.progress"})
    assert rules.slow_start_problems(tmp_path) == [
        "dolmen/cli/files.py loads rich.progress when it is imported"
    ]


def test_a_test_that_patches_or_runs_a_core_on_a_loop_is_named(tmp_path: Path) -> None:
    files = {
        "tests/integration/test_a.py": "import asyncio\nfrom unittest.mock import patch",
        "tests/unit/namenode/core/test_b.py": "import asyncio",
    }
    assert rules.problems_in_tests(tree(tmp_path, files)) == [
        "tests/integration/test_a.py:2 may not import unittest.mock.patch",
        "tests/unit/namenode/core/test_b.py:1 may not import asyncio",
    ]


@pytest.mark.parametrize("path", ["namenode/utils.py", "tests/helpers/x.py", "dolmen/cli/base.py"])
def test_a_name_that_says_nothing_is_named(tmp_path: Path, path: str) -> None:
    assert rules.name_problems(tree(tmp_path, {path: ""})) == [
        f"{path} has a name that says nothing"
    ]


def test_sizes_are_counted(tmp_path: Path) -> None:
    source = (
        "class A:\n"
        "    async def f(self, a, /, b, *c, d=1, **e):\n"
        "        def inner():\n"
        "            return a\n"
        "        return inner\n"
    )
    tree(tmp_path, {"namenode/node.py": source})
    assert rules.file_lengths(tmp_path) == {"namenode/node.py": 5}
    assert rules.functions(tmp_path, "namenode") == [
        rules.Function("namenode/node.py:2", "f", lines=4, parameters=5),
        rules.Function("namenode/node.py:3", "inner", lines=2, parameters=0),
    ]
