"""Dropped datagrams: what Linux writes is read right, and real drops are seen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from bench.drops import dropped_by, dropped_here, drops_by_inode, receive_buffer_errors

SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 2 64 1000
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors
Udp: 17288 532 9 18341 7 1 2
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors
UdpLite: 0 0 0 0 99 0 0
"""
UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  393: 0100007F:13C4 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 4711 2 00000000a1b2c3d4 12
  394: 0100007F:13C5 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4712 2 00000000a1b2c3d5 0
"""  # noqa: E501


def test_the_count_of_the_namespace() -> None:
    assert receive_buffer_errors(SNMP) == 7


def test_the_count_is_found_by_its_name() -> None:
    """Another kernel has other columns."""
    assert receive_buffer_errors("Udp: RcvbufErrors InDatagrams\nUdp: 3 4\n") == 3


def test_the_count_of_each_socket() -> None:
    assert drops_by_inode(UDP) == {4711: 12, 4712: 0}


def test_a_line_that_is_cut_off() -> None:
    assert drops_by_inode(UDP[: UDP.rindex("00000000a1b2c3d5")]) == {4711: 12}
    assert drops_by_inode("") == {}


FLOOD = 200


def flooded() -> socket.socket:
    """A socket whose buffer is full: of so many datagrams most were dropped."""
    full = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    full.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(FLOOD):
            sender.sendto(b"x" * 1000, full.getsockname())
    return full


def test_real_drops_are_seen() -> None:
    here, own = dropped_here(), dropped_by([os.getpid()])
    with flooded():
        dropped = dropped_by([os.getpid()]) - own
        assert FLOOD / 2 < dropped < FLOOD
        assert dropped_here() - here >= dropped, "the namespace's count has them too"
    assert dropped_by([os.getpid()]) == own, "a socket takes its count with it"


def test_a_socket_that_a_child_has_too_counts_once() -> None:
    own = dropped_by([os.getpid()])
    with flooded() as full:
        dropped = dropped_by([os.getpid()]) - own
        command = [sys.executable, "-c", "print(flush=True); input()"]
        child = subprocess.Popen(
            command, pass_fds=[full.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert child.stdout is not None
            child.stdout.readline()
            assert dropped_by([child.pid]) == dropped
            assert dropped_by([os.getpid(), child.pid]) == own + dropped
        finally:
            child.communicate(b"\n", timeout=5)


def test_a_process_that_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(5)
    assert dropped_by([child.pid]) == 0
