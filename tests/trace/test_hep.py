"""HEP 3: packets as the specification has them, by a decoder of its own; sent, and dropped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from softswitch.config import ConfigErrors
from softswitch.configuration import load_config
from softswitch.trace import Dialogs, Exporter, ExportSettings, Seen
from softswitch.trace.exporting import LATER
from softswitch.trace.hep import MOST, hep3
from tests.console.running_site import Site
from tests.switch_process import answered

US, PEER = ("192.0.2.1", 5060), ("192.0.2.9", 5062)
BYE = b"BYE sip:a SIP/2.0\r\nCSeq: 1 BYE\r\nCall-ID: a@phone\r\n\r\n"


def decoded(packet: bytes) -> dict[int, bytes]:
    """Chunks by type (hep3_rev12: all integers big-endian, chunk length with its own 6 bytes)."""
    assert packet[:4] == b"HEP3"
    assert int.from_bytes(packet[4:6], "big") == len(packet)
    at, found = 6, {}
    while at < len(packet):
        vendor, kind, length = (
            int.from_bytes(packet[at + i : at + i + 2], "big") for i in (0, 2, 4)
        )
        assert vendor == 0
        assert length >= 6
        assert kind not in found
        found[kind] = packet[at + 6 : at + length]
        at += length
    assert at == len(packet)
    return found


def number(chunk: bytes) -> int:
    return int.from_bytes(chunk, "big")


def test_a_message_that_came() -> None:
    found = decoded(hep3(Seen(1_780_000_000.25, False, "udp", US, PEER, BYE), 12, "pw", "call"))
    assert {kind: len(value) for kind, value in found.items()} == {
        1: 1, 2: 1, 3: 4, 4: 4, 7: 2, 8: 2, 9: 4, 10: 4, 11: 1, 12: 4, 14: 2, 15: len(BYE), 17: 4,
    }  # fmt: skip
    assert (number(found[1]), number(found[2])) == (socket.AF_INET, socket.IPPROTO_UDP)
    assert [str(ip_address(found[kind])) for kind in (3, 4)] == [PEER[0], US[0]]
    assert [number(found[kind]) for kind in (7, 8)] == [5062, 5060]
    assert [number(found[kind]) for kind in (9, 10)] == [1_780_000_000, 250_000]
    assert (number(found[11]), number(found[12])) == (1, 12)
    assert (found[14], found[15], found[17]) == (b"pw", BYE, b"call")


def test_a_message_that_went_over_ipv6_and_tls() -> None:
    ours, theirs = ("2001:db8::1", 5061), ("2001:db8::2", 40000)
    found = decoded(hep3(Seen(1.0, True, "tls", ours, theirs, BYE), 0))
    assert number(found[1]) == 10  # AF_INET6 as Linux has it
    assert number(found[2]) == socket.IPPROTO_TCP
    assert [str(ip_address(found[kind])) for kind in (5, 6)] == [ours[0], theirs[0]]
    assert [number(found[kind]) for kind in (7, 8)] == [5061, 40000]
    assert not {3, 4, 14, 17} & set(found)


def test_one_that_is_too_long_is_cut() -> None:
    packet = hep3(Seen(1.0, True, "tcp", US, PEER, b"x" * 70_000), 1, "p" * 256, "c" * 2000)
    assert len(packet) == MOST
    assert len(decoded(packet)[17]) == 1024


class Later:
    """The event loop's timers."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.calls.append((seconds, callback))

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)[1]()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        yield server


def test_the_call_is_known_a_moment_later(server: socket.socket) -> None:
    later, dialogs = Later(), Dialogs()
    exporter = Exporter(ExportSettings(server.getsockname(), 1, "", 3), dialogs, later)
    out = exporter.at(US)
    out.received("udp", PEER, BYE)
    dialogs.began("the-call", "a@phone", "extension:1")
    out.sent("udp", PEER, b'X: Digest response="secret"\r\nCall-ID: b\r\n\r\n')
    out.sent("udp", PEER, b"\r\n\r\n")
    for _ in range(3):
        out.sent("udp", PEER, BYE)
    assert [seconds for seconds, _ in later.calls] == [LATER]
    assert (len(exporter), exporter.sent, exporter.dropped) == (3, 0, 2)
    later.run()
    found = [decoded(server.recv(65535)) for _ in range(3)]
    assert [one[17] for one in found] == [b"the-call", b"b", b"the-call"]
    assert b'response="xxxxxx"' in found[1][15]
    assert (len(exporter), exporter.sent, exporter.dropped) == (0, 3, 2)
    out.sent("udp", PEER, BYE)
    exporter.close()
    assert decoded(server.recv(65535))[15] == BYE
    out.sent("udp", PEER, BYE)
    later.run()
    assert len(exporter) == 0


def test_nobody_listens() -> None:
    """Nothing waits, nothing fails."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        to = gone.getsockname()
    later = Later()
    exporter = Exporter(ExportSettings(to, 1, "", 1000), Dialogs(), later)
    for _ in range(500):
        exporter.at(US).sent("udp", PEER, BYE)
    later.run()
    assert (len(exporter), exporter.sent + exporter.dropped) == (0, 500)
    exporter.close()


class Captured(Site):
    """A switch with a capture server."""

    def __init__(self, folder: Path, server: socket.socket) -> None:
        self.to = server.getsockname()[1]
        super().__init__(folder)

    def more(self) -> str:
        return (
            f'trace: {{hep: "udp:127.0.0.1:{self.to}", capture_id: 7, password: pw, bytes: 0}}\n'
            "log: {trace_sip: true}\n"
        )


def test_a_switch_sends_its_calls(server: socket.socket, tmp_path: Path) -> None:
    """Beside it the log has the messages too."""
    site = Captured(tmp_path, server)
    try:
        port = site.switch.port
        sip, _ = answered(port, site.caller, site.callee)
        (call,) = site.told()["calls"]
        found: list[dict[int, bytes]] = []
        while sum(one[15].startswith(b"ACK") for one in found) < 2:
            one = decoded(server.recv(65535))
            assert (one[14], number(one[12])) == (b"pw", 7)
            found.append(one)
        ours = [one for one in found if one[17] == call["call_id"].encode()]
        invites = [one for one in ours if one[15].startswith(b"INVITE")]
        assert [(number(one[7]), number(one[8])) for one in invites] == [
            (site.caller.port, port),
            (port, site.callee.port),
        ]
        assert sip.encode() in invites[0][15]
        site.switch.until("sip: from udp:127.0.0.1:")
        # Another one, while it runs: none.
        text = site.config.read_text()
        site.config.write_text(text.replace(f'hep: "udp:127.0.0.1:{site.to}", ', ""))
        site.switch.until("taken up: trace")
    finally:
        site.close()


@pytest.mark.parametrize(
    "written", ["tcp:192.0.2.9:9060", "udp:homer:9060", "192.0.2.9", "udp:1::2"]
)
def test_where_it_is(written: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("routes: [{match: '1', dial: extension}]")
    (tmp_path / "hq.yaml").write_text(
        "switch: {name: hq, listen: 'udp:127.0.0.1:5060'}\ndialplan: plan.yaml\n"
        f"trace: {{hep: '{written}'}}\n"
    )
    with pytest.raises(ConfigErrors) as errors:
        load_config(tmp_path / "hq.yaml")
    assert "expected udp:ADDRESS:PORT" in str(errors.value.mistakes[0])
