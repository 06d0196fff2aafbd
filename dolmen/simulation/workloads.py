"""What clients do all the time: two tasks each, one in a directory of its own, one where all meet.

Every answer goes into a history (`history`), which says whether it may be. A refusal that the
history explains is fine; any other error is a finding, because the faults of a plan are no reason
for one: datanodes die one at a time, and the namenode is soon back.
"""

import asyncio
from collections.abc import Awaitable
from random import Random

from dolmen.client.client import Client
from dolmen.client.reader import Reader
from dolmen.client.writer import Writer
from dolmen.protocol.errors import (
    BlockMissing,
    DirectoryNotEmpty,
    DolmenError,
    NoSuchPath,
    PathExists,
    TooFewDatanodes,
)
from dolmen.simulation.activity import Activity
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.history import (
    DIRECTORY,
    Change,
    Delete,
    DirectoryHistory,
    Operation,
    Register,
    Rename,
    State,
    Versions,
    Write,
)
from dolmen.simulation.plan import Plan
from dolmen.simulation.trace import Trace

DIRECTORIES = ("p", "q")
NAMES = ("a", "b", "c", "d", "p/x", "p/y", "q/x")
"""Few, so that operations meet the same file again and again."""

WEIGHTS = {"write": 9, "read": 8, "delete": 2, "rename": 4, "list": 2, "replicate": 2}
"""How often a task does what in its own directory."""

RENAME_FILE_CHANCE = 0.7

REPLICATIONS = (2, 3, 3, 3, 4)
"""Not 1: the only replica may be on a datanode that is down. As far as there are datanodes."""

SHARED = "/shared"
SHARED_NAMES = tuple("xyz")

OPERATION_LIMIT_S = 150.0
"""Longer than anything may take: several phases of an operation may each wait `retry_for`."""

LENGTHS = (
    (0, 0),
    (1, 1),
    (17, 1000),
    (60_000, 70_000),
    (65_536, 65_536),
    (262_143, 262_145),
    (300_000, 700_000),
)
"""Around the lengths of chunks, segments and blocks."""

READ_WHOLE_CHANCE = 0.6

SLOW_STEP_BYTES = 50_000
SLOW_PAUSE_S = 1.0
"""A slow writer of a large file takes longer than most processes live between two deaths."""

GIVEN_UP = (BlockMissing, TooFewDatanodes)
"""How a write ends whose acknowledged bytes are nowhere any more: nothing was published."""

SHORTEST_PIPELINE = 2

PAUSE_S = 2.5
"""Between two operations of a task, on average."""


def draw_length(random: Random) -> int:
    """Return the length of a new file."""
    return random.randint(*random.choice(LENGTHS))


class Workload:
    """Everything that all clients do, and what they know."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        seed, clients = plan.seed, plan.clients
        self.versions = Versions(seed)
        self.replications = [wanted for wanted in REPLICATIONS if wanted <= plan.datanodes]
        self.registers = {name: Register(f"{SHARED}/{name}") for name in SHARED_NAMES}
        self.owned = [OwnedDirectory(self, index, seed) for index in range(clients)]
        self.shared = [SharedDirectory(self, index, seed) for index in range(clients)]
        self.over = asyncio.Event()
        """Set when no further operation is to begin."""
        self.activity = Activity()
        self.operations = 0
        self.power_losses: list[tuple[float, str]] = []
        """When each machine lost its power."""
        self._trace = trace

    async def run(self, index: int, client: Client) -> None:
        """What one client does in one life."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.owned[index], client))
            group.create_task(self._repeat(self.shared[index], client))

    async def _repeat(self, task: "OwnedDirectory | SharedDirectory", client: Client) -> None:
        while not self.over.is_set():
            name, operation = task.next_operation(client)
            try:
                with self.activity.operation():
                    async with asyncio.timeout(OPERATION_LIMIT_S):
                        result = await operation
            except TimeoutError:
                raise CheckFailed(f"{name} hangs for more than {OPERATION_LIMIT_S} s") from None
            except DolmenError as error:
                raise CheckFailed(f"{name} failed: {type(error).__name__}: {error}") from error
            self.operations += 1
            self._trace.record(name, result)
            await asyncio.sleep(task.random.expovariate(1 / PAUSE_S))

    def may_give_up(self, started_s: float) -> bool:
        """Return whether a write since then may have lost what no disk had synced: more machines
        lost power than a pipeline in trouble has members."""
        hosts = {name for when_s, name in self.power_losses if when_s >= started_s}
        return len(hosts) >= SHORTEST_PIPELINE

    async def read(self, client: Client, path: str, random: Random | None = None) -> int | None:
        """Read a file, with chance in ranges; return the version, None if there is no file."""
        try:
            reader = await client.open_reader(path)
        except NoSuchPath:
            return None
        async with reader:
            if random is None or random.random() < READ_WHOLE_CHANCE:
                contents = await reader.read_at(0, reader.length_bytes)
            else:
                contents = await _read_in_ranges(reader, random)
        version = self.versions.identify(contents)
        if version is None or self.versions.get(version).content_hash != reader.info.content_hash:
            raise CheckFailed(
                f"{path}, inode {reader.info.inode_id}: {len(contents)} bytes were read that nobody"
                f" wrote, or not the version that was opened ({version})"
            )
        return version


class OwnedDirectory:
    """One task's directory: whatever is there, this task has done."""

    def __init__(self, workload: Workload, index: int, seed: int) -> None:
        self.path = f"/own-{index}"
        self.random = Random(f"{seed} {self.path}")
        self.history = DirectoryHistory(self.path)
        self._workload = workload

    def next_operation(self, client: Client) -> tuple[str, Awaitable[str]]:
        """Draw an operation; return its name and the operation."""
        if not self.history.is_certain:
            return f"list {self.path}", self._list(client)
        name = self.random.choice(NAMES)
        kind = self.random.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        return f"{kind} {self.path}/{name}", self._operation(client, kind, name)

    def _operation(self, client: Client, kind: str, name: str) -> Awaitable[str]:
        random = self.random
        match kind:
            case "write":
                return self._write(client, name)
            case "read":
                return self._read(client, name)
            case "list":
                return self._list(client)
            case "replicate":
                wanted = random.choice(self._workload.replications)
                path = f"{self.path}/{name}"
                return self._done(Change(name), client.set_attributes(path, replication=wanted))
            case "delete":
                return self._delete(client, random.choice((name, name, *DIRECTORIES)))
        among = NAMES if random.random() < RENAME_FILE_CHANCE else DIRECTORIES
        return self._rename(client, random.choice(among), random.choice(among))

    def observe(self, found: dict[str, bytes]) -> None:
        """This is there, by name the content hash: raise unless that may be.

        A directory's is empty.
        """

        def fits(state: State) -> bool:
            return found == {name: self._hash(version) for name, version in state.items()}

        self.history.observed(f"entries {sorted(found)}", fits)

    def _hash(self, version: int) -> bytes:
        if version == DIRECTORY:
            return b""
        return self._workload.versions.get(version).content_hash

    async def _write(self, client: Client, name: str) -> str:
        version, contents = self._workload.versions.draw(draw_length(self.random))
        exclusive = self.random.random() < 0.2
        operation = Write(name, version.number, exclusive)
        path = f"{self.path}/{name}"
        replication = self.random.choice(self._workload.replications)
        opening = client.open_writer(path, replication=replication, exclusive=exclusive)
        writing = write_somehow(opening, contents, self.random)
        return await self._done(operation, writing)

    async def _delete(self, client: Client, name: str) -> str:
        deleting = client.delete(f"{self.path}/{name}", recursive=True)
        return await self._done(Delete(name), deleting)

    async def _rename(self, client: Client, source: str, target: str) -> str:
        renaming = client.rename(f"{self.path}/{source}", f"{self.path}/{target}")
        return await self._done(Rename(source, target), renaming)

    async def _done(self, operation: Operation, doing: Awaitable[object]) -> str:
        """Do it, and note what is known of it in the end."""
        started_s = _now_s()
        try:
            await doing
        except (NoSuchPath, PathExists, DirectoryNotEmpty) as error:
            self.history.refused(operation, error)
            return f"{operation} refused"
        except BaseException as error:
            if isinstance(error, GIVEN_UP) and self._workload.may_give_up(started_s):
                return f"{operation} given up: {type(error).__name__}"
            self.history.left_open(operation)
            raise  # its process is dying, or this is a finding
        self.history.succeeded(operation)
        return f"{operation}"

    async def _read(self, client: Client, name: str) -> str:
        version = await self._workload.read(client, f"{self.path}/{name}", self.random)
        hash_read = None if version is None else self._hash(version)

        def fits(state: State) -> bool:
            there = state.get(name)
            return hash_read == (None if there is None else self._hash(there))

        self.history.observed(f"version {version} of {name}", fits)
        return f"{name} is {version}"

    async def _list(self, client: Client) -> str:
        try:
            entries = [entry async for entry in client.walk_tree(self.path)]
        except NoSuchPath:
            entries = []
        found = {entry.path[len(self.path) + 1 :]: entry.content_hash for entry in entries}
        self.observe(found)
        return f"{len(found)} entries"


class SharedDirectory:
    """One client's part in the directory that all write."""

    def __init__(self, workload: Workload, index: int, seed: int) -> None:
        self.random = Random(f"{seed} {SHARED} {index}")
        self._index = index
        self._workload = workload

    def next_operation(self, client: Client) -> tuple[str, Awaitable[str]]:
        """Draw an operation; return its name and the operation."""
        name = self.random.choice(SHARED_NAMES)
        register = self._workload.registers[name]
        if self.random.random() < 0.4:
            return f"client-{self._index} writes {register.path}", self._write(client, register)
        return f"client-{self._index} reads {register.path}", self._read(client, register)

    async def _write(self, client: Client, register: Register) -> str:
        length_bytes = max(16, draw_length(self.random))  # two versions must not be alike
        version, contents = self._workload.versions.draw(length_bytes)
        started_s = _now_s()
        register.began(version.number, started_s)
        try:
            await write_somehow(client.open_writer(register.path), contents, self.random)
        except GIVEN_UP as error:
            if not self._workload.may_give_up(started_s):
                raise
            register.gave_up(version.number)
            return f"{version.number} given up: {type(error).__name__}"
        register.succeeded(version.number, _now_s())
        return f"{version.number}, {length_bytes} bytes"

    async def _read(self, client: Client, register: Register) -> str:
        started_s = _now_s()
        version = await self._workload.read(client, register.path, self.random)
        register.check_read(version, started_s)
        return f"{version}"


async def write_somehow(opening: Awaitable[Writer], contents: bytes, random: Random) -> None:
    """Write a file at once, or piece by piece with pauses in which processes may die."""
    step = random.choice((len(contents), SLOW_STEP_BYTES)) or 1
    async with await opening as writer:
        for start in range(0, len(contents), step):
            if start:
                await asyncio.sleep(random.expovariate(1 / SLOW_PAUSE_S))
            await writer.write(contents[start : start + step])


async def _read_in_ranges(reader: Reader, random: Random) -> bytearray:
    """Read a file in ranges with pauses, in which it may be replaced."""
    contents = bytearray()
    while len(contents) < reader.length_bytes:
        contents += await reader.read_at(len(contents), random.randint(1, reader.length_bytes))
        await asyncio.sleep(random.expovariate(1.0))
    return contents


def _now_s() -> float:
    return asyncio.get_running_loop().time()
