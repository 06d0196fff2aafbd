"""Open files passed between processes of one host, over Unix sockets.

Names are of Linux's abstract namespace: nothing is left on a disk, whoever shares the network
namespace can connect, and anybody may have taken a name first. So neither side believes the other:
requests carry proof, and what is read from a passed file is verified by whoever reads it. Sockets
are SOCK_SEQPACKET, whose messages stay whole.

Reading what the page cache holds costs less than going to a thread for it: it is tried in place
with RWF_NOWAIT, which never waits for the device. Threads read into memory of their own, as nobody
can stop one whose caller has gone on.

A child of a fork has the descriptors too. It closes them: it would not hear when they are revoked,
and would keep what is deleted.
"""

import asyncio
import contextlib
import errno
import os
import socket
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dolmen.protocol.errors import PeerLost, StartRefused
from dolmen.runtime.disk import DiskFile
from dolmen.runtime.file_passing import (
    FILES_LIMIT,
    MESSAGE_LIMIT_BYTES,
    Channel,
    FileListener,
    FileService,
    PassedFile,
    Receiver,
)
from dolmen.runtime.thread_disk import ThreadFile

CONNECTIONS_MAX = 256
"""Of one listener. Each may have requests under way, which have files open."""

BACKLOG = 64

TURN_MESSAGES = 16
"""Taken from one connection before others have their turn."""

THREADS = 8
"""For what is not in memory: a disk that hangs holds up no more than these."""


_NOT_AT_ONCE = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF)


class UnixFilePassing:
    """Passes files by way of the kernel; one for each process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passed-file")

    async def listen(self, name: str, service: FileService) -> FileListener:
        listening = _socket()
        try:
            listening.bind(_address(name))
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            raise StartRefused(f"nobody can connect to {name} on this host: {error}") from error
        return UnixFileListener(self, listening, service)

    async def connect(self, name: str, receiver: Receiver) -> Channel:
        connecting = _socket()
        try:
            connecting.connect(_address(name))
        except OSError as error:
            connecting.close()
            raise PeerLost(f"nobody listens as {name} on this host: {error}") from error
        channel = UnixChannel(self, connecting)
        channel.begin(receiver)
        return channel

    def take(self, descriptor: int) -> "PassedDescriptor":
        """Return a descriptor that was received as a file."""
        return PassedDescriptor(descriptor, self._threads)


class UnixFileListener:
    """A listening socket, and the connections that came over it."""

    def __init__(
        self, passing: UnixFilePassing, listening: socket.socket, service: FileService
    ) -> None:
        self._passing = passing
        self._listening = listening
        self._service = service
        self._channels: weakref.WeakSet[UnixChannel] = weakref.WeakSet()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listening, self._accept)
        _inherited_by_a_fork.add(self)

    def close(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()
        for channel in list(self._channels):
            channel.close()

    def forget(self) -> None:
        """This is a child of the process that listens: the name is not to outlive that."""
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # who is gone again, or no descriptor is free
            accepted, _ = self._listening.accept()
            accepted.setblocking(False)
            channel = UnixChannel(self._passing, accepted)
            if sum(each.is_open for each in self._channels) >= CONNECTIONS_MAX:
                channel.close()
                return
            self._channels.add(channel)
            channel.begin(self._service.open_session(channel))


class UnixChannel:
    """One end of a connection."""

    def __init__(self, passing: UnixFilePassing, connected: socket.socket) -> None:
        self._passing = passing
        self._socket = connected
        self._receiver: Receiver | None = None
        self._loop = asyncio.get_running_loop()
        _inherited_by_a_fork.add(self)

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._receiver is not None

    def begin(self, receiver: Receiver) -> None:
        """Take messages from now on."""
        self._receiver = receiver
        self._loop.add_reader(self._socket, self._readable)

    def send(self, payload: bytes, files: Sequence[DiskFile] = ()) -> None:
        if self._receiver is None:
            return
        try:
            socket.send_fds(self._socket, [payload], [_descriptor_of(file) for file in files])
        except OSError:  # it is full, because nobody reads, or its other end is closed
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # noticed behind what has come already

    def close(self) -> None:
        if self._receiver is not None:
            self._receiver = None
            self._loop.remove_reader(self._socket)
        self._socket.close()

    def forget(self) -> None:
        """This is a child of the process whose connection it is."""
        self._receiver = None
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(TURN_MESSAGES):
            try:
                payload, files = self._receive()
            except BlockingIOError:
                return
            except OSError:
                payload, files = b"", []
            if self._receiver is None:
                return
            if not payload:
                self._lose()
                return
            self._receiver.received(payload, files)

    def _receive(self) -> tuple[bytes, list[PassedFile]]:
        """Return the next message; empty at the end."""
        payload, descriptors, flags, _ = socket.recv_fds(
            self._socket, MESSAGE_LIMIT_BYTES, FILES_LIMIT, socket.MSG_CMSG_CLOEXEC
        )
        files: list[PassedFile] = [self._passing.take(one) for one in descriptors]
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise OSError(errno.EMSGSIZE, "a message was cut off")
        return payload, files

    def _lose(self) -> None:
        receiver = self._receiver
        self.close()
        if receiver is not None:
            receiver.lost()


class PassedDescriptor:
    """A descriptor that another process opened, closed with the last reference to it: a thread
    that is just reading has one."""

    def __init__(self, descriptor: int, threads: ThreadPoolExecutor) -> None:
        self._descriptor = descriptor
        self._threads = threads
        _inherited_by_a_fork.add(self)

    def read_at_once(self, offset: int, buffer: memoryview) -> int:
        try:
            return os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in _NOT_AT_ONCE:
                return 0
            raise

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._threads, self._read, offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def forget(self) -> None:
        """This is a child of the process to which the file was passed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _read(self, offset: int, length: int) -> memoryview:
        buffer = memoryview(bytearray(length))
        done = 0
        while done < length:
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if not count:
                break
            done += count
        return buffer[:done]

    def __del__(self) -> None:
        self.forget()


_inherited_by_a_fork: weakref.WeakSet[UnixFileListener | UnixChannel | PassedDescriptor] = (
    weakref.WeakSet()
)


def _forget_what_was_inherited() -> None:
    for one in list(_inherited_by_a_fork):
        one.forget()


os.register_at_fork(after_in_child=_forget_what_was_inherited)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)


def _address(name: str) -> str:
    return f"\0dolmen-{name}"


def _descriptor_of(file: DiskFile) -> int:
    assert isinstance(file, ThreadFile), "only files of this process's own disks can be passed"
    return file.fileno()
