"""The control connection: greet, register, report, then heartbeats, and commands as they come.

Namenode and datanode prove to each other that they know the cluster's secret, over nonces of this
connection. Whatever breaks ends the connection, and a new one is opened after a pause with jitter,
so that a restarted namenode is not met by all datanodes at once. A namenode that refuses us for
good (another cluster, another secret, another version) ends the datanode; one of a lower epoch than
we have seen was deposed, and is not listened to.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from datanode.identity import Membership
from datanode.options import DatanodeOptions
from datanode.serving import Serving
from dolmen import __version__
from dolmen.protocol.client_messages import Done, LocatedBlocks
from dolmen.protocol.control_messages import (
    PROTOCOL_VERSION,
    Call,
    DatanodeCall,
    Greet,
    Greeting,
    Reply,
    decode_reply,
    encode_call,
)
from dolmen.protocol.datanode_messages import (
    AwaitCommands,
    Commands,
    FileHashed,
    HashFile,
    Heartbeat,
    HeartbeatTaken,
    LocateToHash,
    RegisterDatanode,
    Registered,
    ReportBlocks,
    ReportChanges,
    ReportTaken,
)
from dolmen.protocol.errors import (
    AccessDenied,
    DolmenError,
    InvalidRequest,
    StandbyNamenode,
    StartRefused,
    UnsupportedVersion,
    WrongCluster,
)
from dolmen.protocol.tokens import NONCE_BYTES
from dolmen.runtime.machine import Machine
from dolmen.runtime.transport import Connection

CALL_TIMEOUT_S = 10.0
"""For one control call: longer than a namenode takes to sync a batch on a busy disk."""

PATIENCE_MS = 10_000
"""How long a call for commands may wait: such calls cost little, and prove both ends alive."""

RETRY_FIRST_S = 0.05
RETRY_LAST_S = 1.0
"""Pauses between two attempts: a restart is noticed at once, a long absence costs little."""

LOG = logging.getLogger("datanode")

R = TypeVar("R", bound=Reply)


@dataclass(frozen=True)
class Profile:
    """What a datanode tells of itself when it registers."""

    address: str
    host_label: str
    rack: str


class _RegistrationRefused(Exception):
    """Both know the secret, and still the namenode does not take us in."""


class ControlLoop:
    """Keeps the connection to the namenode.

    `join` is called when a namenode has proved to be a good one: it returns what serves, and reads
    the volumes first if that was not done.
    """

    def __init__(
        self,
        machine: Machine,
        options: DatanodeOptions,
        member: Membership,
        profile: Profile,
        join: Callable[[str], Awaitable[Serving]],
    ) -> None:
        self._machine = machine
        self._namenode = options.namenode
        self._connect_timeout_s = options.settings.connect_timeout_ms / 1000
        self._member = member
        self._profile = profile
        self._join = join
        self._epoch = 0
        self._last_failure = ""
        self._refused_since_s: float | None = None
        self._forgive_s = options.settings.stale_after_ms / 1000 + RETRY_LAST_S
        self._pause_s = RETRY_FIRST_S
        self.registered = False
        self.attempted = asyncio.Event()
        """Set when the first attempt to register has ended, well or not."""

    async def run(self) -> None:
        """Stay connected until cancelled; StartRefused when the namenode does not want us."""
        while True:
            try:
                await self._converse()
            except _RegistrationRefused as refused:
                self._wait_or_give_up(refused)
            except (AccessDenied, WrongCluster, UnsupportedVersion) as error:
                raise StartRefused(f"refused by namenode {self._namenode}: {error}") from error
            except StartRefused:
                raise
            except DolmenError as error:
                self._tell_once(str(error))
            self.attempted.set()
            await asyncio.sleep(self._pause_s * (0.5 + self._machine.random.random()))
            self._pause_s = min(self._pause_s * 2, RETRY_LAST_S)

    def _tell_once(self, failure: str) -> None:
        """Log a failure, unless the attempt before ended the same way."""
        if failure != self._last_failure:
            LOG.warning("namenode %s: %s", self._namenode, failure)
        self._last_failure = failure

    def _wait_or_give_up(self, refused: "_RegistrationRefused") -> None:
        """A process that died a moment ago may still count as connected; a second one stays so."""
        now_s = asyncio.get_running_loop().time()
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        if now_s - self._refused_since_s > self._forgive_s:
            raise StartRefused(f"refused by namenode {self._namenode}: {refused}") from refused
        self._tell_once(str(refused))

    async def _converse(self) -> None:
        connection = await self._machine.transport.connect(self._namenode, self._connect_timeout_s)
        try:
            greeting, own_nonce = await self._greet(connection)
            serving = await self._join(greeting.cluster_id)
            registered = await self._register(connection, serving, greeting, own_nonce)
            LOG.info("registered with %s, epoch %d", self._namenode, registered.epoch)
            self._pause_s, self._last_failure = RETRY_FIRST_S, ""
            self.attempted.set()
            self.registered = True
            await self._serve(connection, serving, registered)
        finally:
            self.registered = False
            await connection.close()

    async def _serve(
        self, connection: Connection, serving: Serving, registered: Registered
    ) -> None:
        """Beat, report and take commands until the connection is lost."""
        try:
            await until_first_ends(
                self._send_heartbeats(connection, serving, registered.heartbeat_interval_ms / 1000),
                self._take_commands(connection, serving),
                self._report(connection, serving),
                self._hash(connection, serving),
                serving.watch.wait_changed(),
                connection.wait_closed(),
            )
        finally:
            serving.commands.connection_lost()

    async def _greet(self, connection: Connection) -> tuple[Greeting, bytes]:
        member = self._member
        own_nonce = self._machine.random.randbytes(NONCE_BYTES)
        greet = Greet(PROTOCOL_VERSION, "datanode", member.cluster_id, own_nonce)
        greeting = await self._call(connection, greet, Greeting)
        if greeting.protocol_version != PROTOCOL_VERSION:
            raise UnsupportedVersion(
                f"it speaks protocol {greeting.protocol_version}, this software"
                f" {PROTOCOL_VERSION}: use the same version of Dolmen"
            )
        if member.cluster_id and greeting.cluster_id != member.cluster_id:
            raise WrongCluster(
                f"it is of cluster {greeting.cluster_id}, this datanode of {member.cluster_id}:"
                " give the address of its own namenode, or an empty directory"
            )
        member.keys.check_membership("namenode", greeting.nonce, own_nonce, greeting.proof)
        self._check_epoch(greeting.epoch)
        return greeting, own_nonce

    async def _register(
        self, connection: Connection, serving: Serving, greeting: Greeting, own_nonce: bytes
    ) -> Registered:
        member = self._member
        serving.watch.told()
        request = RegisterDatanode(
            datanode_id=member.datanode_id,
            proof=member.keys.prove_membership("datanode", own_nonce, greeting.nonce),
            address=self._profile.address,
            host=self._profile.host_label,
            rack=self._profile.rack,
            highest_epoch=member.highest_epoch,
            software_version=__version__,
            storages=await serving.storages(),
        )
        try:
            registered = await self._call(connection, DatanodeCall(request), Registered)
        except AccessDenied as error:
            raise _RegistrationRefused(error.message) from error
        self._refused_since_s = None
        self._check_epoch(registered.epoch)
        await member.adopt(registered.epoch)
        self._epoch = registered.epoch
        return registered

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self._member.highest_epoch:
            raise StandbyNamenode(
                f"its epoch {epoch} is lower than {self._member.highest_epoch}: it was deposed"
            )

    async def _call(
        self, connection: Connection, call: Call, expected: type[R], patience_s: float = 0.0
    ) -> R:
        timeout_s = patience_s + CALL_TIMEOUT_S
        reply = decode_reply(await connection.call(encode_call(call), timeout_s))
        if not isinstance(reply, expected):
            raise InvalidRequest(f"it answered {type(reply).__name__}")
        return reply

    # ------------------------------------------------------------ while registered

    async def _send_heartbeats(
        self, connection: Connection, serving: Serving, interval_s: float
    ) -> None:
        while True:
            await asyncio.sleep(interval_s)
            serving.reporter.heartbeat()
            heartbeat = Heartbeat(await serving.storages(), serving.load, serving.health())
            taken = await self._call(connection, DatanodeCall(heartbeat), HeartbeatTaken)
            self._check_same_epoch(taken.epoch)

    async def _take_commands(self, connection: Connection, serving: Serving) -> None:
        wait = DatanodeCall(AwaitCommands(PATIENCE_MS))
        while True:
            taken = await self._call(connection, wait, Commands, PATIENCE_MS / 1000)
            self._check_same_epoch(taken.epoch)
            for command in taken.commands:
                if isinstance(command, HashFile):
                    serving.hasher.order(command)
                else:
                    serving.commands.take(command)

    def _check_same_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise StandbyNamenode(f"it went from epoch {self._epoch} to {epoch}: register again")

    async def _report(self, connection: Connection, serving: Serving) -> None:
        async def send(report: ReportBlocks | ReportChanges) -> None:
            await self._call(connection, DatanodeCall(report), ReportTaken)

        await serving.reporter.run(serving.store, send)

    async def _hash(self, connection: Connection, serving: Serving) -> None:
        async def locate(request: LocateToHash) -> LocatedBlocks:
            return await self._call(connection, DatanodeCall(request), LocatedBlocks)

        async def tell(hashed: FileHashed) -> None:
            await self._call(connection, DatanodeCall(hashed), Done)

        await serving.hasher.run(locate, tell)


async def until_first_ends(*steps: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends; cancel and await the others; raise what ended it."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
