"""What a drill sees of its cluster: what ails it by the namenode's report, told as it changes."""

import asyncio
import time
from collections.abc import Callable, Sequence

import click

from dolmen.client import Client
from dolmen.protocol.operator_messages import ClusterReport

#: Of no weight for the namenode beside its heartbeats.
POLL_S = 0.25

#: Counts of a repair change many times a second: a person follows a line each half second.
TELL_EVERY_S = 0.5


def ailments(report: ClusterReport, datanodes: int) -> list[str]:
    """Return what is not as it should be in a cluster of so many datanodes, in words."""
    resting = [d for d in report.datanodes if d.admin_state not in ("IN_SERVICE", "DECOMMISSIONED")]
    figures = (
        ("datanode", "away", datanodes - report.live_datanodes),
        ("datanode", "not in service", len(resting)),
        ("block", "missing", report.missing_blocks),
        ("replica", "corrupt", report.corrupt_replicas),
        ("block", "under-replicated", report.under_replicated_blocks),
        ("block", "mis-replicated", report.mis_replicated_blocks),
        ("block", "over-replicated", report.over_replicated_blocks),
        ("copy", "under way", report.pending_transfers),
    )
    found = [f"{_counted(count, noun)} {what}" for noun, what, count in figures if count > 0]
    return ["safe mode", *found] if report.safe_mode else found


def _counted(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun.removesuffix('y')}{'ies' if noun.endswith('y') else 's'}"


class Watch:
    """Tells what happens, with the time since the fault."""

    def __init__(self, client: Client, datanodes: Sequence[str]) -> None:
        """`datanodes` are the addresses of them all, by their index."""
        self._client = client
        self._addresses = tuple(datanodes)
        self._datanodes = len(self._addresses)
        self._began_s = time.monotonic()
        self._told: tuple[list[str], dict[str, str]] | None = None
        self._told_s = 0.0

    def restart_clock(self) -> None:
        """The fault happens now."""
        self._began_s = time.monotonic()

    def tell(self, line: str) -> None:
        """Tell one thing that happened."""
        click.echo(f"{time.monotonic() - self._began_s:6.1f} s  {line}")

    async def pause(self) -> None:
        """Wait a moment before looking again."""
        await asyncio.sleep(POLL_S)

    async def until(self, holds: Callable[[ClusterReport], bool], deadline: float) -> bool:
        """Tell what changes until it holds; False when time is over."""
        while True:
            report = await self._client.report()
            reached = holds(report)
            self._show(report, at_once=reached)
            if reached or time.monotonic() > deadline:
                return reached
            await self.pause()

    async def until_whole(self, deadline: float) -> bool:
        """Tell what changes until nothing ails the cluster; False when time is over."""
        return await self.until(lambda report: not ailments(report, self._datanodes), deadline)

    def _show(self, report: ClusterReport, *, at_once: bool) -> None:
        states = {datanode.address: datanode.state for datanode in report.datanodes}
        now = (ailments(report, self._datanodes), states)
        if self._told is None and not (now[0] or at_once) and set(states.values()) <= {"LIVE"}:
            self._told = now  # nobody has noticed the fault yet: that all is well is no news
        news = self._told is None or self._told[1] != states
        now_s = time.monotonic()
        if now == self._told or not (news or at_once or now_s - self._told_s >= TELL_EVERY_S):
            return
        before = {} if self._told is None else self._told[1]
        changed = [
            f"{self._name(address)} is {state}"
            for address, state in states.items()
            if before.get(address, "LIVE") != state
        ]
        self.tell("; ".join([*changed, ", ".join(now[0]) or "every block has all its replicas"]))
        self._told, self._told_s = now, now_s

    def _name(self, address: str) -> str:
        known = address in self._addresses
        return f"datanode {self._addresses.index(address)}" if known else f"the one at {address}"
