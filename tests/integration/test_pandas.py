"""pandas on `dolmen://`: CSV, Parquet and the rest, by URL alone."""

from collections.abc import Iterator

import numpy
import pandas
import pytest
from pandas.testing import assert_frame_equal

from dolmen.local_cluster import LocalCluster
from fsspec_plugin import DolmenFileSystem


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size="1MiB") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def frame() -> pandas.DataFrame:
    chance = numpy.random.default_rng(1)
    count = 200_000
    return pandas.DataFrame(
        {
            "carrier": chance.choice(["AA", "BB", "CC"], count),
            "delay": chance.normal(size=count),
            "day": chance.integers(1, 366, count),
        }
    )


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.csv.xz", "x.csv.zip"])
def test_csv_comes_back_as_it_went(
    cluster: LocalCluster, frame: pandas.DataFrame, name: str
) -> None:
    some = frame[:20_000]
    url = f"{cluster.url}/csv/{name}"
    some.to_csv(url, index=False)
    assert_frame_equal(pandas.read_csv(url), some)
    assert_frame_equal(pandas.read_csv(url, nrows=5), some[:5])


def test_parquet_comes_back_as_it_went(cluster: LocalCluster, frame: pandas.DataFrame) -> None:
    url = f"{cluster.url}/parquet/x.parquet"
    frame.to_parquet(url, row_group_size=20_000)
    assert_frame_equal(pandas.read_parquet(url), frame)
    assert_frame_equal(pandas.read_parquet(url, columns=["delay"]), frame[["delay"]])
    first = pandas.read_parquet(url, filters=[("day", "<", 10)])
    assert_frame_equal(first, frame[frame.day < 10].reset_index(drop=True))
    assert cluster.filesystem().find("/parquet") == ["/parquet/x.parquet"]


def test_a_partitioned_table_comes_back(cluster: LocalCluster, frame: pandas.DataFrame) -> None:
    url = f"{cluster.url}/partitioned"
    frame.to_parquet(url, partition_cols=["carrier"])
    back = pandas.read_parquet(url)
    assert len(back) == len(frame)
    assert back.groupby("carrier", observed=True).delay.mean().to_dict() == pytest.approx(
        frame.groupby("carrier").delay.mean().to_dict()
    )


def test_other_formats_come_back(cluster: LocalCluster, frame: pandas.DataFrame) -> None:
    some = frame[:1000]
    some.to_json(f"{cluster.url}/x.json", orient="records", lines=True)
    some.to_pickle(f"{cluster.url}/x.pickle.gz")
    some.to_feather(f"{cluster.url}/x.feather")
    assert_frame_equal(pandas.read_json(f"{cluster.url}/x.json", lines=True), some)
    assert_frame_equal(pandas.read_pickle(f"{cluster.url}/x.pickle.gz"), some)
    assert_frame_equal(pandas.read_feather(f"{cluster.url}/x.feather"), some)


def test_options_name_the_user(cluster: LocalCluster, frame: pandas.DataFrame) -> None:
    frame[:10].to_csv(f"{cluster.url}/owned.csv", storage_options={"user": "ada"})
    assert cluster.filesystem().info("/owned.csv")["owner"] == "ada"


def test_what_is_missing_is_file_not_found(cluster: LocalCluster) -> None:
    for read in (pandas.read_csv, pandas.read_parquet, pandas.read_pickle):
        with pytest.raises(FileNotFoundError):
            read(f"{cluster.url}/nope")


class CountingFileSystem(DolmenFileSystem):
    """Counts what it asks the namenode and fetches."""

    protocol = "dolmen"
    asked = 0
    fetched_bytes = 0

    async def _info(self, path: object, **kwargs: object) -> dict[str, object]:
        type(self).asked += 1
        return dict(await super()._info(path, **kwargs))


def test_parquet_asks_the_namenode_little(cluster: LocalCluster, frame: pandas.DataFrame) -> None:
    url = f"{cluster.url}/few/x.parquet"
    frame.to_parquet(url)
    plain = cluster.filesystem()
    counting = CountingFileSystem(plain.host, plain.port)
    CountingFileSystem.asked = 0
    back = pandas.read_parquet(f"{plain.authority}/few/x.parquet", filesystem=counting)
    assert len(back) == len(frame)
    assert CountingFileSystem.asked <= 6
