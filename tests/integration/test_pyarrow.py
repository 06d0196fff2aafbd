"""PyArrow on Dolmen: by `fsspec+dolmen://` and by `filesystem=`."""

from collections.abc import Iterator

import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem

ROWS = 50_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size="1MiB") as cluster:
        yield cluster


@pytest.fixture
def fs(cluster: LocalCluster) -> Iterator[DolmenFileSystem]:
    fs = cluster.filesystem()
    yield fs
    for entry in fs.ls("/", detail=False):
        fs.rm(entry, recursive=True)


@pytest.fixture(scope="module")
def table() -> pyarrow.Table:
    return pyarrow.table(
        {"a": list(range(ROWS)), "k": ["xyz"[i % 3] for i in range(ROWS)], "b": [0.5] * ROWS}
    )


def test_a_url_is_read_and_written(
    cluster: LocalCluster, fs: DolmenFileSystem, table: pyarrow.Table
) -> None:
    url = f"fsspec+{cluster.url}/p.parquet"
    pyarrow.parquet.write_table(table, url)
    assert pyarrow.parquet.read_table(url).equals(table)
    assert pyarrow.parquet.read_table("/p.parquet", filesystem=fs, columns=["a"]).num_columns == 1
    assert pyarrow.parquet.read_metadata("/p.parquet", filesystem=fs).num_rows == ROWS


def test_a_dataset_is_written_read_and_replaced(fs: DolmenFileSystem, table: pyarrow.Table) -> None:
    for base in ("/ds", f"{fs.authority}/ds"):
        pyarrow.dataset.write_dataset(
            table,
            base,
            filesystem=fs,
            format="parquet",
            partitioning=["k"],
            partitioning_flavor="hive",
            existing_data_behavior="delete_matching",
        )
        dataset = pyarrow.dataset.dataset(base, filesystem=fs, partitioning="hive")
        found = dataset.to_table(filter=pyarrow.dataset.field("a") > 5)
        assert found.num_rows == ROWS - 6
        assert len(fs.find("/ds")) == 3


def test_the_filesystem_handler_of_pyarrow_works(fs: DolmenFileSystem) -> None:
    arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    arrow.create_dir("/d/e", recursive=True)
    with arrow.open_output_stream("/d/e/f") as stream:
        stream.write(b"0123456789" * 100_000)
    with arrow.open_input_file("/d/e/f") as file:
        file.seek(500_000)
        assert file.read(10) == b"0123456789"
        assert file.size() == 1_000_000
    info = arrow.get_file_info("/d/e/f")
    assert (info.type, info.size) == (pyarrow.fs.FileType.File, 1_000_000)
    assert info.mtime is not None
    assert arrow.get_file_info("/nope").type == pyarrow.fs.FileType.NotFound
    selector = pyarrow.fs.FileSelector("/d", recursive=True)
    assert [one.path for one in arrow.get_file_info(selector)] == ["/d/e", "/d/e/f"]
    arrow.move("/d/e/f", "/d/g")
    arrow.copy_file("/d/g", "/d/h")
    arrow.delete_file("/d/g")
    assert fs.find("/d") == ["/d/h"]
    arrow.delete_dir_contents("/d")
    assert fs.ls("/d") == []
    arrow.delete_dir("/d")
    assert not fs.exists("/d")
    with pytest.raises(FileNotFoundError):
        arrow.open_input_file("/nope")
