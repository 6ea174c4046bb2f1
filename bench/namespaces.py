"""Hosts on this machine: network namespaces joined by veth pairs, two by a cable, or by a NAT box.

Needs root. Nothing of it is left when the block ends, whatever happened in it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
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


def _ip(*arguments: str, tool: str = "ip", text: str = "") -> None:
    command = [tool, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NamespaceFailure(f"{tool} {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    # os.setns exists from Python 3.12 on.
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise NamespaceFailure(f"setns: {os.strerror(ctypes.get_errno())}")


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace with loopback, and one end of a cable at ``address`` and ``others``."""

    namespace: str
    address: str
    others: tuple[str, ...] = ()

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


def _need_root() -> None:
    if os.geteuid() != 0:
        raise NamespaceFailure("network namespaces need root: run this as root (sudo)")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make two hosts joined by a cable; they and it are gone after the block.

    Raises NamespaceFailure, also if this is not root.
    """
    _need_root()
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


_RULES = """
table ip nat
delete table ip nat
table ip nat {{
    chain incoming {{
        type nat hook prerouting priority dstnat
        {forward}
    }}
    chain outgoing {{
        type nat hook postrouting priority srcnat
        oifname outer meta l4proto {{ tcp, udp }} masquerade to :{ports}
    }}
    chain own {{
        type filter hook input priority filter
        iifname outer ct state new drop
    }}
}}
"""
# What comes in unasked is dropped, as such boxes do: nobody is told that there is nothing.
_FORWARD = "iifname outer meta l4proto {{ tcp, udp }} th dport {port} dnat to {host}"

_NETFILTER = 12  # NETLINK_NETFILTER, which Python's socket does not name
_FORGET = struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 1 | 4, 1, 0, 0, 0, 0)
"""To the kernel: connection tracking (subsystem 1), delete (2) all, and say whether that worked."""


@dataclass(frozen=True, slots=True)
class NatBox:
    """A router that writes its own address, and a port of its choice, into what goes outside.

    In comes only what answers that, from where it was sent to, and what is for ``forwarded``: a
    port, by UDP and TCP, that is ``inside``'s at its first address.
    """

    inside: Host
    outside: Host
    box: Host
    forwarded: int = 0

    @property
    def address(self) -> str:
        """Its address outside: all that outside sees of those inside."""
        return self.box.address

    def choose(self, first: int) -> None:
        """Give ports of the thousand from ``first`` on to what is new. What is known goes on."""
        forward = _FORWARD.format(port=self.forwarded, host=self.inside.address)
        rules = _RULES.format(
            forward=forward if self.forwarded else "", ports=f"{first}-{first + 999}"
        )
        _ip("netns", "exec", self.box.namespace, "nft", "-f", "-", text=rules)

    def forget(self, first: int) -> None:
        """Know nothing of what went through, as when it was switched off and on; then ``choose``.

        With the tool ``conntrack`` that would be ``conntrack -F``; the kernel is asked directly.
        """
        self.choose(first)
        with (
            self.box.inside(),
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel,
        ):
            kernel.bind((0, 0))
            kernel.send(_FORGET)
            (status,) = struct.unpack_from("=i", kernel.recv(4096), 16)
        if status:
            raise NamespaceFailure(f"connection tracking: {os.strerror(-status)}")


@contextmanager
def behind_nat(forwarded: int = 0) -> Iterator[NatBox]:
    """Make a private network, a NAT box and what is outside of it; all are gone after the block.

    Raises NamespaceFailure, also if this is not root. Needs ``nft``.
    """
    _need_root()
    name = f"nat-{os.getpid()}"
    inside = Host(f"{name}-in", "192.168.7.2", ("192.168.7.3",))
    outside = Host(f"{name}-out", "203.0.113.2", ("203.0.113.3", "203.0.113.4"))
    made = NatBox(inside, outside, Host(f"{name}-box", "203.0.113.1"), forwarded)
    box = made.box.namespace
    with ExitStack() as undo:
        for host in (inside, outside, made.box):
            _ip("netns", "add", host.namespace)
            undo.callback(_ip, "netns", "del", host.namespace)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        with made.box.inside():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        # Nothing gets through before it is rewritten.
        made.choose(30000)
        for host, end, own in ((inside, "inner", "192.168.7.1"), (outside, "outer", made.address)):
            ends = ("type", "veth", "peer", "name", end, "netns", box)
            _ip("link", "add", _DEVICE, "netns", host.namespace, *ends)
            _ip("-n", box, "addr", "add", f"{own}/24", "dev", end)
            _ip("-n", box, "link", "set", end, "up")
            for address in (host.address, *host.others):
                _ip("-n", host.namespace, "addr", "add", f"{address}/24", "dev", _DEVICE)
            host.plug()
        # The way out; back leads none, as outside nobody knows of that network.
        _ip("-n", inside.namespace, "route", "add", "default", "via", "192.168.7.1")
        yield made
