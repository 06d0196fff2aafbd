"""When a local cluster is ready: it answers, all its datanodes are there, safe mode is over."""

import asyncio
import time
from pathlib import Path

from dolmen.cli.bring_up import check_running
from dolmen.cli.cluster_file import Cluster, locked, read_cluster, write_cluster
from dolmen.cli.log_files import last_lines, last_log_of
from dolmen.client import Client, ClientOptions
from dolmen.protocol.errors import StartRefused, TryAgain, Unreachable
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.real_machine import real_machine

#: Of no weight beside what a process needs to start.
POLL_S = 0.05

#: One attempt: the namenode is on this machine, it answers at once or not yet.
ATTEMPT_MS = 1000


async def await_ready(directory: Path, cluster: Cluster, deadline: float) -> list[str]:
    """Wait until the cluster is ready, and return nothing; or what it lacks when time is over.

    StartRefused as soon as one of its processes has ended.
    """
    options = ClientOptions(
        namenode=cluster.namenode.address, retry_for_ms=ATTEMPT_MS, connect_timeout_ms=ATTEMPT_MS
    )
    async with Client(real_machine(), options) as client:
        while True:
            check_running(directory, cluster)
            report = await _report(client, deadline)
            lacking = _lacking(directory, cluster, report)
            if not lacking:
                _keep_cluster_id(directory, cluster, client.cluster.cluster_id)
                return []
            if time.monotonic() > deadline:
                return lacking
            await asyncio.sleep(POLL_S)


async def _report(client: Client, deadline: float) -> ClusterReport | None:
    try:
        async with asyncio.timeout(max(POLL_S, deadline - time.monotonic())):
            return await client.report()
    except (Unreachable, TryAgain, TimeoutError):
        return None


def _lacking(directory: Path, cluster: Cluster, report: ClusterReport | None) -> list[str]:
    if report is None:
        log = last_log_of(directory, "namenode", 0)
        return [f"the namenode does not answer; the end of {log}:", *_quoted(log)]
    live = {datanode.address for datanode in report.datanodes if datanode.state == "LIVE"}
    lacking = []
    for index, member in enumerate(cluster.datanodes):
        if member.address not in live:
            log = last_log_of(directory, "datanode", index)
            lacking += [f"datanode {index} has not registered; the end of {log}:", *_quoted(log)]
    if not lacking and report.safe_mode:
        lacking = ["the namenode is in safe mode: it waits for the datanodes' block reports"]
    return lacking


def _quoted(log: Path) -> list[str]:
    return [f"  {line}" for line in last_lines(log)]


def _keep_cluster_id(directory: Path, cluster: Cluster, cluster_id: str) -> None:
    """Remember which cluster this is; refuse one that is not what it was."""
    if cluster.cluster_id == cluster_id:
        return
    if cluster.cluster_id:
        raise StartRefused(
            f"the namenode at {cluster.namenode.address} is of cluster {cluster_id}, and"
            f" {directory} holds cluster {cluster.cluster_id}"
        )
    with locked(directory):
        stored = read_cluster(directory)
        if stored is not None:
            stored.cluster_id = cluster_id
            write_cluster(directory, stored)
