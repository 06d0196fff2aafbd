"""Dask on `dolmen://`: threads and processes read and write one cluster."""

from collections.abc import Iterator

import dask
import dask.bag
import dask.base
import dask.dataframe
import numpy
import pandas
import pytest
from dask.bytes.core import read_bytes
from distributed import Client
from distributed import LocalCluster as DaskCluster

from dolmen.local_cluster import LocalCluster

# Dask uses what pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")

ROWS = 120_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size="1MiB") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    with (
        DaskCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as workers,
        Client(workers) as client,
    ):
        yield client


@pytest.fixture(params=["threads", "processes"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "processes":
        with request.getfixturevalue("processes").as_current():
            yield "distributed"
    else:
        with dask.config.set(scheduler="threads"):
            yield "threads"


@pytest.fixture(scope="module")
def frame() -> pandas.DataFrame:
    chance = numpy.random.default_rng(1)
    return pandas.DataFrame(
        {
            "carrier": chance.choice(["AA", "BB", "CC"], ROWS),
            "delay": chance.normal(size=ROWS),
            "day": chance.integers(1, 366, ROWS),
        }
    )


def mean_delays(frame: pandas.DataFrame) -> dict[str, float]:
    return dict(frame.groupby("carrier", observed=True).delay.mean())


def test_csv_is_read_in_blocks(
    cluster: LocalCluster, frame: pandas.DataFrame, scheduler: str
) -> None:
    for part in range(3):
        frame[part::3].to_csv(f"{cluster.url}/{scheduler}/{part}.csv", index=False)
    read = dask.dataframe.read_csv(f"{cluster.url}/{scheduler}/*.csv", blocksize="500kB")
    assert read.npartitions > 3
    assert mean_delays(read.compute(scheduler=scheduler)) == pytest.approx(mean_delays(frame))
    assert read.day.sum().compute(scheduler=scheduler) == frame.day.sum()


def test_parquet_is_written_and_read(
    cluster: LocalCluster, frame: pandas.DataFrame, scheduler: str
) -> None:
    url = f"{cluster.url}/{scheduler}/table"
    for _ in range(2):
        parts = dask.dataframe.from_pandas(frame, npartitions=5)
        parts.to_parquet(url, overwrite=True, compute_kwargs={"scheduler": scheduler})
    read = dask.dataframe.read_parquet(url)
    assert len(cluster.filesystem().find(f"/{scheduler}/table")) == 5
    result = read.groupby("carrier").delay.mean().compute(scheduler=scheduler)
    assert dict(result) == pytest.approx(mean_delays(frame))


def test_lines_are_read_in_blocks(cluster: LocalCluster, scheduler: str) -> None:
    fs = cluster.filesystem()
    lines = [f"line {index}: " + "x" * (1 + index % 50) for index in range(3000)]
    fs.write_text(f"/{scheduler}/a.txt", "\n".join(lines) + "\n")
    fs.write_text(f"/{scheduler}/b.txt", "one\n")
    bag = dask.bag.read_text(f"{cluster.url}/{scheduler}/*.txt", blocksize=3000)
    assert bag.count().compute(scheduler=scheduler) == 3001
    written = bag.map(str.rstrip).to_textfiles(
        f"{cluster.url}/{scheduler}/out/*.txt.gz", compute=False
    )
    dask.base.compute(written, scheduler=scheduler)
    again = dask.bag.read_text(f"{cluster.url}/{scheduler}/out/*.txt.gz")
    found = again.map(str.rstrip).compute(scheduler=scheduler)
    assert sorted(found) == sorted([*lines, "one"])


def test_keys_of_blocks_change_with_the_file_alone(cluster: LocalCluster) -> None:
    fs = cluster.filesystem()

    def keys() -> list[str]:
        _, [blocks] = read_bytes(f"{cluster.url}/named", blocksize=1000, sample=False)
        return [block.key for block in blocks]

    fs.pipe_file("/named", b"x" * 5000)
    before = keys()
    assert keys() == before
    fs.pipe_file("/named", b"x" * 5000)
    assert not set(keys()) & set(before)
