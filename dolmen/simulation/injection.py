"""Lets the faults of a plan happen to a cluster, each as its kind says.

A fault whose process does not run, or that would take more than a run may take (`Census`), is
spared: it does not happen, and does not count. A spared fault is told in the trace, so that a plan
whose faults are all spared does not look like a test.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dolmen.simulation import faults
from dolmen.simulation.activity import Activity
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.disk_faults import DiskFaults
from dolmen.simulation.faults import AnyFault
from dolmen.simulation.network_faults import NetworkFaults
from dolmen.simulation.process_faults import ProcessFaults, Witness


class Injection:
    """Everything that can go wrong with one cluster."""

    def __init__(self, cluster: SimCluster, activity: Activity, witness: Witness) -> None:
        self._trace = cluster.trace
        self._activity = activity
        processes = ProcessFaults(cluster, witness)
        network, disks = NetworkFaults(cluster), DiskFaults(cluster)
        self._ways: dict[type[AnyFault], Callable[[Any], Awaitable[bool]]] = {
            faults.Kill: processes.kill,
            faults.PowerLoss: processes.power_loss,
            faults.Blackout: processes.blackout,
            faults.RollingRestart: processes.rolling_restart,
            faults.Pause: processes.pause,
            faults.ClockJump: processes.clock_jump,
            faults.ClockDrift: processes.clock_drift,
            faults.Cut: network.cut,
            faults.Isolation: network.isolation,
            faults.SlowLink: network.slow_link,
            faults.PacketLoss: network.packet_loss,
            faults.Resets: network.resets,
            faults.HalfOpen: network.half_open,
            faults.ReadErrors: disks.read_errors,
            faults.FullDisk: disks.full_disk,
            faults.SlowDisk: disks.slow_disk,
            faults.HungDisk: disks.hung_disk,
            faults.FailedSync: disks.failed_sync,
            faults.Rot: disks.rot,
            faults.LostVolume: disks.lost_volume,
        }

    async def run(self, plan_faults: tuple[AnyFault, ...]) -> None:
        """Let each happen at its time; returns when all are over."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for fault in plan_faults:
                await asyncio.sleep(fault.at_ms / 1000 - loop.time())
                group.create_task(self._suffer(fault))

    async def _suffer(self, fault: AnyFault) -> None:
        with self._activity.fault() as this:
            self._trace.record("fault", f"{fault}")
            this.happened = await self._ways[type(fault)](fault)
        if not this.happened:
            self._trace.record("fault", f"spared: {fault}")
