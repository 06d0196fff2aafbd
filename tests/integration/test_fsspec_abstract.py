"""fsspec's own conformance suite, in both forms of a path."""

from collections.abc import Iterator
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests import abstract

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=1, replication=1) as cluster:
        yield cluster


class DolmenFixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, cluster: LocalCluster) -> DolmenFileSystem:
        return cluster.filesystem()

    @pytest.fixture(params=["with authority", "without authority"])
    def fs_path(self, fs: DolmenFileSystem, request: pytest.FixtureRequest) -> Iterator[str]:
        authority = fs.authority if request.param == "with authority" else ""
        path = f"{authority}/abstract"
        fs.makedirs(path, exist_ok=True)
        yield path
        fs.rm(path, recursive=True)

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: Any) -> str:
        return str(make_path_posix(str(tmp_path)))


class TestCopy(abstract.AbstractCopyTests, DolmenFixtures):
    pass


class TestGet(abstract.AbstractGetTests, DolmenFixtures):
    pass


class TestPut(abstract.AbstractPutTests, DolmenFixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, DolmenFixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, DolmenFixtures):
    pass
