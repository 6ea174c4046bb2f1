"""Ports of the loopback address, for programs that are told theirs before they start.

Where the environment variable ``SOFTSWITCH_PORTS`` names a file (for tests and benchmarks it does),
whoever is given a port has it to the end of its process: a server that is killed and started again
finds its port free, as nobody else who asks with that file is given the same meanwhile.

They are not of those that Linux gives to outgoing connections (``net.ipv4.ip_local_port_range``, by
default 32768 to 60999), if it leaves any: a port that the system itself names for "any" can become
the near end of somebody's connection before the program binds it.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

from softswitch.lab.children import LabError

HOST = "127.0.0.1"


def _not_ephemeral() -> range:
    """Below the ports that the system gives to outgoing connections, or else above them."""
    lowest, highest = 32768, 60999
    with suppress(OSError, ValueError):
        lowest, highest = map(int, EPHEMERAL.read_text().split())
    if lowest > 12_000:
        return range(10_000, min(lowest, 32_000))
    return range(highest + 1, 65_500) if highest < 63_000 else range(10_000, 32_000)


GIVEN = "SOFTSWITCH_PORTS"
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS = _not_ephemeral()


def _cycle() -> Iterator[int]:
    """From anywhere (other processes look too), and none again before all others were."""
    first = random.SystemRandom().randrange(len(PORTS))
    return (PORTS[(first + n) % len(PORTS)] for n in count())


_next = _cycle()


def bind(stack: ExitStack, transport: str, host: str, port: int) -> None:
    """Hold the port until the stack is left, as a server does that binds it. OSError if it is in
    use; connections in TIME_WAIT are no hindrance to servers, nor here."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    one = stack.enter_context(socket.socket(socket.AF_INET, kind))
    if transport != "udp":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((host, port))


class _Given:
    """What processes have been given: a byte of one file for each port, locked by its process and
    let go by the system at its end, whatever that is (`fcntl`(2), record locks)."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._process = 0

    def take(self, port: int) -> bool:
        """Whether no other process has it; from now on this one has."""
        if self._process != os.getpid():
            # Locks are not handed on by fork. The file of the other one stays open there and here:
            # a process that closes any of its own loses its locks.
            self._process = os.getpid()
            self._file = None
            path = os.environ.get(GIVEN)
            with suppress(OSError):
                if path:
                    how = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                    self._file = os.open(path, how, 0o600)
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, port)

    def let_go(self, port: int) -> None:
        """It is not used after all."""
        self._lock(fcntl.LOCK_UN, port)

    def _lock(self, how: int, port: int) -> bool:
        if self._file is None:
            return True
        try:
            fcntl.lockf(self._file, how, 1, port)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True
        return True


_given = _Given()
_asking = threading.Lock()
"""Of threads: a run of ports is of one of them."""


def _is_free(port: int) -> bool:
    if not _given.take(port):
        return False
    with ExitStack() as stack:
        try:
            for transport in ("udp", "tcp"):
                bind(stack, transport, HOST, port)
        except OSError:
            _given.let_go(port)
            return False
    return True


def free_port(room: int = 1) -> int:
    """A port that is free for UDP and TCP, as are the ``room`` - 1 after it (a range of RTP ports,
    say); another one each time. LabError if there is none."""
    run = 0
    with _asking:
        for _ in range(len(PORTS) + room - 1):
            port = next(_next)
            run = run + 1 if run and port != PORTS[0] else 1
            if not _is_free(port):
                run = 0
            elif run == room:
                return port - room + 1
    raise LabError(f"no {room} free ports of {HOST} in {PORTS[0]} to {PORTS[-1]}")
