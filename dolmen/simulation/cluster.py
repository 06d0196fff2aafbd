"""A whole cluster in one event loop: a namenode, datanodes and clients, each a process of its own.

The processes are the real ones; the machines, the network between them and the clock are not.
Whatever an event loop or a server would have logged as an unforeseen exception is a finding.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from datanode.node import Datanode
from datanode.options import DatanodeOptions
from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.key_value import KeyValue
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings
from dolmen.simulation.lives import ClientProcess, Lives, Process, Work
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name
from dolmen.simulation.sim_machine import SimMachine
from dolmen.simulation.sim_network import Conditions, SimNetwork
from dolmen.simulation.sim_operations import DiskTimes
from dolmen.simulation.trace import Trace
from namenode.core.tables import DURABLE_TABLES
from namenode.node import Namenode, NamenodeOptions

DIRECTORY = "/data"
SECRET_FILE = "/secret"
SECRET = b"s" * 32
NAMENODE_PORT = 9870
NAMENODE_ADDRESS = f"{NAMENODE}:{NAMENODE_PORT}"
DATANODE_PORT = 9864
INSPECTOR = "inspector"

SETTINGS = Settings(
    segment_size_bytes=64 * 1024,
    delete_after_ms=5_000,  # what is deleted goes within the run, and within the wait after it
    block_token_life_ms=20_000,
    lease_soft_limit_ms=40_000,
    lease_hard_limit_ms=60_000,
    hash_after_ms=4_000,
    scrub_period_ms=300_000,
)
"""Times as by default, but where a run would be too short to see them pass."""


def volume_directory(index: int) -> str:
    """Return the directory of one of a datanode's volumes."""
    return f"{DIRECTORY}-{index}" if index else DIRECTORY


class SimCluster:
    """All machines and processes of a run; `found` says what must not have happened."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan = plan
        self.network = _network(plan, trace)
        self.trace = trace
        self.settings = replace(
            SETTINGS,
            block_size_bytes=plan.block_size_bytes,
            inline_limit_bytes=plan.inline_limit_bytes,
            checkpoint_every=plan.checkpoint_every,
        )
        self.found: list[tuple[str, BaseException | None]] = []
        self.finding = asyncio.Event()
        """Set with the first finding."""
        self.lives: dict[str, Lives] = {}
        self._inspecting = SimMachine(
            INSPECTOR, self.network, plan.seed, hosts=self._hosts_of_client(INSPECTOR)
        )
        self.namenode = self._add(NAMENODE, self._make_namenode)
        self.datanodes = [self._add_datanode(index) for index in range(plan.datanodes)]
        asyncio.get_running_loop().set_exception_handler(self._unforeseen)

    async def start(self) -> None:
        """Start the namenode and all datanodes."""
        await self.namenode.start()
        for datanode in self.datanodes:
            await datanode.start()

    async def stop(self) -> None:
        """Stop all daemons cleanly, the datanodes first."""
        for lives in (*self.datanodes, self.namenode):
            await lives.stop()

    def add_client(self, index: int, work: Work) -> Lives:
        """Add a client on the host of a datanode, which is to do `work` in each of its lives."""
        datanode = datanode_name(index % self.plan.datanodes)
        options = self._client_options(host=datanode)
        return self._add(
            client_name(index),
            lambda machine: ClientProcess(machine, options, work),
            self._hosts_of_client(datanode),
        )

    def inspector(self) -> Client:
        """Return a client that looks, in the caller's own task."""
        machine = self._inspecting.begin_life()  # another life, and another client to the namenode
        return Client(machine, self._client_options(host=INSPECTOR))

    def open_namenode_tables(self, *, read_only: bool = False) -> KeyValue:
        """Return the namenode's durable tables; while it runs, only to read."""
        path = f"{DIRECTORY}/namespace"
        return self.namenode.machine.tables.open(path, DURABLE_TABLES, read_only=read_only)

    def find(self, what: str, error: BaseException | None) -> None:
        """Something happened that must not."""
        error = root_of(error)
        self.trace.record("finding", f"{what}: {error!r}")
        self.found.append((what, error))
        self.finding.set()

    def check_invariants(self) -> None:
        """Raise unless all that the running daemons know fits together."""
        for lives in (self.namenode, *self.datanodes):
            if lives.is_running and isinstance(lives.process, Namenode | Datanode):
                lives.process.check_invariants()

    def report(self) -> ClusterReport | None:
        """Return what the namenode would report, without asking it; None if it is away."""
        namenode = self.namenode
        if not (namenode.is_up and namenode.has_started):
            return None
        assert isinstance(namenode.process, Namenode)
        return namenode.process.report()

    def _add_datanode(self, index: int) -> Lives:
        lives = self._add(datanode_name(index), self._datanode_maker(index))
        for volume in range(self.plan.volumes):
            lives.machine.add_volume(volume_directory(volume))
        return lives

    def _hosts_of_client(self, own: str) -> Sequence[str]:
        if self.plan.one_host:
            return [datanode_name(index) for index in range(self.plan.datanodes)]
        return [own] if self.plan.local_clients else []

    def _add(
        self, name: str, make: Callable[[Machine], Process], hosts: Sequence[str] = ()
    ) -> Lives:
        pace = self.plan.pace
        times = DiskTimes(pace.operation_ms / 1000, pace.sync_ms / 1000, pace.disk_bytes_per_s)
        machine = SimMachine(name, self.network, self.plan.seed, times, hosts)
        machine.plant(SECRET_FILE, SECRET)
        lives = self.lives[name] = Lives(machine, make, self, self.trace)
        return lives

    def _make_namenode(self, machine: Machine) -> Namenode:
        options = NamenodeOptions(
            directory=DIRECTORY,
            host=NAMENODE,
            port=NAMENODE_PORT,
            secret_file=SECRET_FILE,
            settings=self.settings,
            insecure=True,
        )
        return Namenode(machine, options)

    def _datanode_maker(self, index: int) -> Callable[[Machine], Datanode]:
        options = DatanodeOptions(
            directories=tuple(volume_directory(index) for index in range(self.plan.volumes)),
            namenode=NAMENODE_ADDRESS,
            host=datanode_name(index),
            port=DATANODE_PORT,
            rack=f"/rack-{index % self.plan.racks}",
            secret_file=SECRET_FILE,
            settings=self.settings,
        )
        return lambda machine: Datanode(machine, options)

    def _client_options(self, host: str) -> ClientOptions:
        return ClientOptions.of(self.settings, NAMENODE_ADDRESS, user="ann", host=host)

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        self.find(str(context["message"]), error if isinstance(error, BaseException) else None)


def _network(plan: Plan, trace: Trace) -> SimNetwork:
    conditions = Conditions(
        delay_max_s=plan.pace.delay_max_ms / 1000,
        bytes_per_s=plan.pace.network_bytes_per_s,
        reset_chance=plan.pace.reset_chance,
    )
    return SimNetwork(Random(f"{plan.seed} network"), conditions, trace)


def root_of(error: BaseException | None) -> BaseException | None:
    """Return the first error in a group of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
