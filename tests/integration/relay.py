"""A relay before a daemon, which can lose what the daemon answers."""

import contextlib
import socket
import threading
from collections.abc import Iterator

RECEIVED_BYTES = 64 * 1024


class Relay:
    """Passes bytes on, both ways; each connection has two threads."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._port = port
        self._to_lose = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = [self._listening]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_replies(self, count: int) -> None:
        """Pass the next `count` messages of clients on, and close instead of bringing a reply."""
        self._to_lose = count

    def close(self) -> None:
        """Close everything."""
        for one in self._open:
            _end(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                daemon = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, daemon]
                threading.Thread(target=self._ask, args=(client, daemon), daemon=True).start()

    def _ask(self, client: socket.socket, daemon: socket.socket) -> None:
        """Bring what the client says; its replies are brought by another thread, unless lost."""
        back = threading.Thread(target=_pass_on, args=(daemon, client), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while data := client.recv(RECEIVED_BYTES):
                if self._to_lose:
                    self._to_lose -= 1
                    client.shutdown(socket.SHUT_RDWR)  # nothing reaches it any more
                    daemon.sendall(data)
                    break
                daemon.sendall(data)
        if self._listening.fileno() >= 0:
            daemon.shutdown(socket.SHUT_WR)
        back.join()
        _end(client)
        _end(daemon)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    while True:
        try:
            data = source.recv(RECEIVED_BYTES)
            if not data:
                break
        except OSError:
            break
        with contextlib.suppress(OSError):  # who does not listen any more has it done all the same
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def relay_to(port: int) -> Iterator[Relay]:
    """A relay to a port of this host, closed at the end."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()
