"""One run: a cluster, what its clients do, what goes wrong meanwhile, and what must hold.

A run is a function of its plan: no other chance, no other clock, and garbage is collected at set
times, because finalizers are part of what the code does. A run that fails says so with its plan and
with the command that runs it again.
"""

import asyncio
import gc
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from dolmen.simulation import virtual_time
from dolmen.simulation.checkers.acknowledged_bytes import Lasting
from dolmen.simulation.checkers.disks import find_blocks
from dolmen.simulation.checkers.suite import Checkers
from dolmen.simulation.chronicle import ChronicleLog
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.faults import Rot
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.injection import Injection
from dolmen.simulation.lives import Lives
from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.trace import Trace
from dolmen.simulation.workloads.mix import Workload

PULSE_S = 20.0
"""How often invariants are checked and young garbage is collected during a run."""

PULSES_PER_COLLECTION = 15
"""So many times rarer all garbage is: that walks through everything that lives."""

YOUNG, WHOLE = 1, 2
"""Generations of garbage."""

OBSERVED_TIMES = 480
OBSERVED_EVERY_AT_LEAST_S = 0.5
"""How often a watch is told how things are: as often as a drawing of the run has pixels, but never
less often than there is a pulse."""

SETTLE_S = 60.0
"""After the end of all processes: whatever still waits for a deadline has reached it."""

SCRUBS = 1.2
"""So many periods after it rotted a replica has been scrubbed, also if its datanode restarted."""

LINES_TOLD = 80
"""The last events that a failure tells: of the path or block that it is about, else of all."""


class SimulationFailed(AssertionError):
    """A run found something; the message tells its story and how to see it again."""

    def __init__(self, story: str, digest: str) -> None:
        super().__init__(story)
        self.digest = digest


@dataclass(frozen=True)
class Moment:
    """How far a run is."""

    virtual_s: float
    operations: int
    faults: int
    faults_in_flight: int
    datanodes_down: int = 0
    """Those that do not run, or stand still."""
    under_replicated: int | None = None
    """Blocks, by the namenode's count; None while there is no namenode to ask."""


Watch = Callable[[Moment], None]
"""Told now and then how far a run is; the run does not depend on it."""


def _nobody(_: Moment) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Result:
    """What happened in a run that found nothing."""

    plan: Plan
    virtual_s: float
    steps: int
    operations: int
    """Those that were answered."""
    acknowledged: dict[str, int]
    """The same, by kind."""
    failed: dict[str, int]
    """Those that failed for want of datanodes or of a namenode, by kind."""
    unchecked: list[str]
    """Realms of the namespace in which too many answers were lost at once to check the others."""
    faults: int
    faults_in_flight: int
    """Those that hit a cluster at work."""
    faults_in_growth: int
    """Those of them that hit files being appended to, followed, cut or joined."""
    toll: dict[str, int]
    """What faults did to single messages, disk operations and reads, and how many hit files that
    grow."""
    files: int
    blocks: int
    digest: str


def simulate(plan: Plan, watch: Watch = _nobody) -> Result:
    """Run a plan to its end; SimulationFailed says what it found."""
    with _garbage_at_set_times():
        return virtual_time.run(_Run(plan, watch).run_whole())


class _Run:
    def __init__(self, plan: Plan, watch: Watch) -> None:
        self._plan = plan
        self._watch = watch

    async def run_whole(self) -> Result:
        """Run, and tell the story of whatever is found."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        self._loop = loop
        self._trace = Trace(loop.time)
        self._cluster = SimCluster(self._plan, self._trace)
        self._workload = Workload(self._plan, self._trace)
        self._history = self._workload.history
        self._checkers = Checkers(self._cluster, self._workload)
        with daemons_heard(ChronicleLog(self._history.chronicle)):
            return await self._run_until_finding()

    async def _run_until_finding(self) -> Result:
        running = asyncio.create_task(self._run())
        finding = asyncio.create_task(self._cluster.finding.wait())
        await asyncio.wait([running, finding], return_when=asyncio.FIRST_COMPLETED)
        finding.cancel()
        if running.done() and (error := running.exception()):
            self._cluster.find("the run ended", error)
        if self._cluster.found:
            for lives in self._cluster.lives.values():
                lives.let_go()
            running.cancel()
            what, cause = self._cluster.found[0]
            raise SimulationFailed(self._story(what, cause), self._trace.digest()) from cause
        return running.result()

    async def _run(self) -> Result:
        await self._cluster.start()
        async with self._cluster.inspector() as inspector:
            await self._workload.set_up(inspector)
        await self._checkers.begin()
        clients = [self._client(index) for index in range(self._plan.clients)]
        for client in clients:
            await client.start()
        await self._let_go_wrong()
        self._workload.over.set()
        for client in clients:
            await client.stop()
        result = await self._check_all()
        await asyncio.sleep(SETTLE_S)
        self._check_nothing_is_left()
        return result

    def _client(self, index: int) -> Lives:
        return self._cluster.add_client(index, lambda client: self._workload.run(index, client))

    # ------------------------------------------------------------ during the run

    async def _let_go_wrong(self) -> None:
        """Let the faults of the plan happen, and the time of the plan pass."""
        injection = Injection(self._cluster, self._history.activity, self)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pulse())
            group.create_task(self._observe())
            group.create_task(injection.run(self._plan.faults))

    def power_goes(self, lives: Lives) -> Callable[[], None]:
        """A machine is about to lose power: return what compares it with what it was."""
        self._history.power_losses.append((self._loop.time(), lives.machine.name))
        return Lasting(lives).check

    async def _pulse(self) -> None:
        for pulse in itertools.count(1):
            if self._loop.time() >= self._plan.seconds:
                return
            await asyncio.sleep(PULSE_S)
            gc.collect(WHOLE if pulse % PULSES_PER_COLLECTION == 0 else YOUNG)
            self._checkers.check_now()
            await self._checkers.ask()
            self._trace.record("run", f"{self._loop.steps} steps")

    async def _observe(self) -> None:
        """Tell the watch how things are; also if nobody watches, so that it changes nothing."""
        every_s = max(OBSERVED_EVERY_AT_LEAST_S, self._plan.seconds / OBSERVED_TIMES)
        while self._loop.time() < self._plan.seconds:
            await asyncio.sleep(min(PULSE_S, every_s))
            self._watch(self._moment())

    def _moment(self) -> Moment:
        activity, report = self._history.activity, self._cluster.report()
        return Moment(
            virtual_s=self._loop.time(),
            operations=self._history.operations,
            faults=activity.faults,
            faults_in_flight=activity.faults_in_flight,
            datanodes_down=sum(not lives.is_up for lives in self._cluster.datanodes),
            under_replicated=None if report is None else report.under_replicated_blocks,
        )

    # ------------------------------------------------------------ after it

    async def _check_all(self) -> Result:
        """Look at everything, first at work, then stopped."""
        async with self._cluster.inspector() as inspector:
            await self._until_rot_is_found()
            await self._workload.finish(inspector)
            report = await self._checkers.check_at_rest(inspector)
            self._trace.record("run", f"healed: {report.blocks} blocks")
            cluster_id = inspector.cluster.cluster_id
        await self._checkers.check_idle()
        await self._cluster.stop()
        await self._checkers.check_stopped(cluster_id)
        self._trace.record("run", f"over after {self._loop.steps} steps")
        return Result(
            plan=self._plan,
            virtual_s=self._loop.time(),
            steps=self._loop.steps,
            operations=self._history.operations,
            acknowledged=dict(sorted(self._history.acknowledged.items())),
            failed=dict(sorted(self._history.failed.items())),
            unchecked=self._history.namespace.blind(),
            faults=self._history.activity.faults,
            faults_in_flight=self._history.activity.faults_in_flight,
            faults_in_growth=self._history.activity.faults_in_growth,
            toll=self._toll(),
            files=report.files,
            blocks=report.blocks,
            digest=self._trace.digest(),
        )

    def _toll(self) -> dict[str, int]:
        history = self._history
        toll = self._trace.toll | Counter(
            {
                "faults on files that grow": history.activity.faults_in_growth,
                "reads asked twice": history.extra_load.asked_twice,
                "races won by the second": history.extra_load.won_by_the_second,
            }
        )
        return dict(sorted(toll.items()))

    async def _until_rot_is_found(self) -> None:
        """What rots unseen is found by the next scrub, not before."""
        if any(isinstance(fault, Rot) for fault in self._plan.faults):
            await asyncio.sleep(SCRUBS * self._cluster.settings.scrub_period_ms / 1000)

    def _check_nothing_is_left(self) -> None:
        gc.collect()
        self._checkers.check_nothing_is_left()
        if failures := self._cluster.network.failures:
            raise CheckFailed(f"servers raised what they should not: {failures}")

    def _story(self, what: str, cause: BaseException | None) -> str:
        about = cause.about if isinstance(cause, CheckFailed) else ()
        events = self._trace.last_lines()
        if about:
            blocks = find_blocks(self._cluster, about)
            events = self._history.chronicle.story((*about, *blocks))
        lines = "\n  ".join(events[-LINES_TOLD:])
        plan = self._plan
        return (
            f"seed {plan.seed}: {what}: {type(cause).__name__}: {cause}\n"
            f"what came before:\n  {lines}\n"
            f"plan: {plan.encode()}\n"
            f"run it again: dolmen simulate {replay_options(plan)}"
        )


def replay_options(plan: Plan) -> str:
    """Return the options that run this plan again: short ones if the seed makes it."""
    if make_plan(plan.seed, plan.seconds, plan.datanodes) == plan:
        return f"--seed {plan.seed} --seconds {plan.seconds} --datanodes {plan.datanodes}"
    return f"--plan '{plan.encode()}'"


@contextmanager
def daemons_heard(handler: logging.Handler) -> Generator[None]:
    """Let `handler` hear what the daemons log."""
    loggers = [logging.getLogger(name) for name in ("namenode", "datanode")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextmanager
def _garbage_at_set_times() -> Generator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
