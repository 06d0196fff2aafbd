"""One run: a cluster, what its clients do, what goes wrong meanwhile, and what must hold.

A run is a function of its plan: no other chance, no other clock, and garbage is collected at set
times, because finalizers are part of what the code does. A run that fails says so with its plan and
with the command that runs it again.
"""

import asyncio
import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from dolmen.simulation import virtual_time
from dolmen.simulation.checkers import Healing, Invariants, Lasting, Namespace, Replay, Replicas
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.injection import Injection
from dolmen.simulation.lives import Lives
from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.trace import Trace
from dolmen.simulation.workloads import Workload

PULSE_S = 20.0
"""How often invariants are checked and garbage is collected during a run."""

SETTLE_S = 60.0
"""After the end of all processes: whatever still waits for a deadline has reached it."""

EXPECTED_TASKS = 2
"""The run's own: what runs it and what waits for findings."""

LINES_TOLD = 60
"""The last lines of the trace that a failure tells."""


class SimulationFailed(AssertionError):
    """A run found something; the message tells its story and how to see it again."""


@dataclass(frozen=True)
class Result:
    """What happened in a run that found nothing."""

    plan: Plan
    virtual_s: float
    steps: int
    operations: int
    """Those that were answered."""
    faults: int
    faults_in_flight: int
    """Those that hit a cluster at work."""
    files: int
    blocks: int
    digest: str


def simulate(plan: Plan) -> Result:
    """Run a plan to its end; SimulationFailed says what it found."""
    with _garbage_at_set_times():
        return virtual_time.run(_Run(plan).run_whole())


class _Run:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def run_whole(self) -> Result:
        """Run, and tell the story of whatever is found."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        self._loop = loop
        self._trace = Trace(loop.time)
        self._cluster = SimCluster(self._plan, self._trace)
        self._workload = Workload(self._plan, self._trace)
        running = asyncio.create_task(self._run())
        finding = asyncio.create_task(self._cluster.finding.wait())
        await asyncio.wait([running, finding], return_when=asyncio.FIRST_COMPLETED)
        finding.cancel()
        if running.done() and (error := running.exception()):
            self._cluster.find("the run ended", error)
        if self._cluster.found:
            running.cancel()
            what, cause = self._cluster.found[0]
            raise SimulationFailed(self._story(what, cause)) from cause
        return running.result()

    async def _run(self) -> Result:
        await self._cluster.start()
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
        injection = Injection(self._cluster, self._workload.activity, self)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pulse())
            group.create_task(injection.run(self._plan.faults))

    def power_goes(self, lives: Lives) -> Callable[[], None]:
        """A machine is about to lose power: return what compares it with what it was."""
        self._workload.power_losses.append((self._loop.time(), lives.machine.name))
        return Lasting(lives).check

    async def _pulse(self) -> None:
        while self._loop.time() < self._plan.seconds:
            await asyncio.sleep(PULSE_S)
            gc.collect()
            Invariants(self._cluster).check()
            self._trace.record("run", f"{self._loop.steps} steps")

    # ------------------------------------------------------------ after it

    async def _check_all(self) -> Result:
        """Look at everything, first at work, then stopped."""
        async with self._cluster.inspector() as inspector:
            healed = await Healing(self._cluster).wait(inspector)
            self._trace.record("run", f"healed: {healed.blocks} blocks")
            report = await Namespace(self._workload).check(inspector)
            replicas = Replicas(self._cluster)
            replicas.check(self._workload)
            replicas.check_counts(report)
            Invariants(self._cluster).check_at_rest()
            cluster_id = inspector.cluster.cluster_id
        await self._cluster.stop()
        await Replay(self._cluster).check(cluster_id)
        self._trace.record("run", f"over after {self._loop.steps} steps")
        return Result(
            plan=self._plan,
            virtual_s=self._loop.time(),
            steps=self._loop.steps,
            operations=self._workload.operations,
            faults=self._workload.activity.faults,
            faults_in_flight=self._workload.activity.faults_in_flight,
            files=report.files,
            blocks=report.blocks,
            digest=self._trace.digest(),
        )

    def _check_nothing_is_left(self) -> None:
        gc.collect()
        mine = {asyncio.current_task()}
        left = [task for task in asyncio.all_tasks() if task not in mine and not task.done()]
        waiting = sorted(repr(task.get_coro()) for task in left)
        if len(waiting) > EXPECTED_TASKS:
            raise CheckFailed(f"{len(waiting)} tasks are left behind: {waiting}")
        if failures := self._cluster.network.failures:
            raise CheckFailed(f"servers raised what they should not: {failures}")

    def _story(self, what: str, cause: BaseException | None) -> str:
        lines = "\n  ".join(self._trace.last_lines()[-LINES_TOLD:])
        plan = self._plan
        return (
            f"seed {plan.seed}: {what}: {type(cause).__name__}: {cause}\n"
            f"what came before:\n  {lines}\n"
            f"plan: {plan.encode()}\n"
            f"run it again: python -m dolmen.simulation {replay_options(plan)}"
        )


def replay_options(plan: Plan) -> str:
    """Return the options that run this plan again: short ones if the seed makes it."""
    if make_plan(plan.seed, plan.seconds, plan.datanodes) == plan:
        return f"--seed {plan.seed} --seconds {plan.seconds} --datanodes {plan.datanodes}"
    return f"--plan '{plan.encode()}'"


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
