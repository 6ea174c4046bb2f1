"""Datagrams that Linux dropped because nobody had read what came before them.

A datagram that is dropped is sent again by SIP half a second later, and the call goes on: mostly
nothing fails, but what is measured is no longer what was meant. There are two counts:

* of the network namespace (``RcvbufErrors`` in ``/proc/net/snmp``): of all its UDP sockets, thus of
  SIPp's too, and of whatever else runs on the machine;
* of sockets (``drops`` in ``/proc/net/udp``), here those of the system under test. A socket takes
  its count with it when it is closed, so that SIPp's callers cannot be asked afterwards.

So the system's own drops are known, and what is left of the namespace's are SIPp's or a
stranger's. Everything here speaks IPv4: the namespace's count is IPv4's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.process import tree


def receive_buffer_errors(snmp: str) -> int:
    """``RcvbufErrors`` of ``Udp`` in a text like ``/proc/net/snmp``: a line of names, one of
    values."""
    lines = [line.split() for line in snmp.splitlines() if line.startswith("Udp:")]
    names, values = lines
    return int(values[names.index("RcvbufErrors")])


def drops_by_inode(udp: str) -> dict[int, int]:
    """What each socket dropped, in a text like ``/proc/net/udp``."""
    rows = (line.split() for line in udp.splitlines()[1:])
    # The heading has more words than a row has columns: inode and drops are found by their place.
    return {int(row[9]): int(row[12]) for row in rows if len(row) >= 13}


def dropped_here() -> int:
    """Datagrams dropped so far in this network namespace, by all its sockets."""
    return receive_buffer_errors(Path("/proc/net/snmp").read_text())


def dropped_by(pids: Iterable[int]) -> int:
    """Datagrams dropped so far by the UDP sockets that these processes and their children have."""
    found: dict[int, int] = {}
    for pid in pids:
        for member in tree(pid):
            inodes = _sockets(member)
            # In the process's own namespace. Children may have inherited a socket: counted once.
            for table in ("udp", "udp6"):
                drops = drops_by_inode(_read(Path(f"/proc/{member}/net/{table}")))
                found.update({inode: drops[inode] for inode in inodes & drops.keys()})
    return sum(found.values())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended, or there is no IPv6
        return ""


def _sockets(pid: int) -> set[int]:
    found: set[int] = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                kind, _, inode = str(descriptor.readlink()).partition(":")
            except OSError:  # closed meanwhile
                continue
            if kind == "socket":
                found.add(int(inode.strip("[]")))
    except OSError:
        pass
    return found
