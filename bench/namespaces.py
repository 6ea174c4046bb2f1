"""Two hosts on this machine, and the cable between them: network namespaces joined by a veth pair.

Needs root. Nothing of it is left when the block ends, whatever happened in it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_DEVICE = "cable"
_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceFailure(Exception):
    """A namespace could not be made or entered; the text has what the system says."""


def _ip(*arguments: str, tool: str = "ip") -> None:
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NamespaceFailure(f"{tool} {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    # os.setns exists from Python 3.12 on.
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise NamespaceFailure(f"setns: {os.strerror(ctypes.get_errno())}")


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace with loopback, and one end of the cable at ``address``."""

    namespace: str
    address: str

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens in the block, and processes that it starts, are there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(Path("/run/netns") / self.namespace, os.O_RDONLY)
            try:
                _enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)

    def pull(self) -> None:
        """Pull the cable at this host's end: the other end sees it as unplugged."""
        _ip("-n", self.namespace, "link", "set", _DEVICE, "down")

    def plug(self) -> None:
        """Plug it in again."""
        _ip("-n", self.namespace, "link", "set", _DEVICE, "up")

    def mute(self) -> None:
        """Drop all that this host sends into the cable; it hears the other end as before."""
        # A bucket too small for any packet: every kernel that has veth has this one.
        limits = ("rate", "8bit", "burst", "1", "latency", "1ms")
        device = ("dev", _DEVICE, "root")
        _ip("-n", self.namespace, "qdisc", "replace", *device, "tbf", *limits, tool="tc")

    def unmute(self) -> None:
        """Let it pass again."""
        _ip("-n", self.namespace, "qdisc", "del", "dev", _DEVICE, "root", tool="tc")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make two hosts joined by a cable; they and it are gone after the block.

    Raises NamespaceFailure, also if this is not root.
    """
    if os.geteuid() != 0:
        raise NamespaceFailure("network namespaces need root: run this as root (sudo)")
    hosts = (Host(f"sites-{os.getpid()}-a", "10.0.0.1"), Host(f"sites-{os.getpid()}-b", "10.0.0.2"))
    with ExitStack() as undo:
        for host in hosts:
            _ip("netns", "add", host.namespace)
            undo.callback(_ip, "netns", "del", host.namespace)
        one, other = (host.namespace for host in hosts)
        ends = ("type", "veth", "peer", "name", _DEVICE, "netns", other)
        _ip("link", "add", _DEVICE, "netns", one, *ends)
        for host in hosts:
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/30", "dev", _DEVICE)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            host.plug()
        yield hosts
