"""A flood of strangers' requests beside calls of phones: the calls go on, the strangers are out."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port

CONFIG = """
switch:
  name: hq
  listen: ["udp:127.0.0.1:{udp}", "tcp:127.0.0.1:{udp}"]
extensions:
  "1001": {{password: a}}
  "1002": {{password: b, allow: 127.0.0.0/28}}
dialplan: plan.yaml
timers: {{ban_first: 3}}
"""


def flood(port: int, source: str, stop: threading.Event, sent: list[int]) -> None:
    """Registrations without a password, as fast as they go."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        while not stop.is_set():
            for _ in range(100):
                sent[0] += 1
                sock.sendto(
                    b"REGISTER sip:hq SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK%d\r\n"
                    b"From: <sip:1001@hq>;tag=1\r\nTo: <sip:1001@hq>\r\nCall-ID: f%d\r\n"
                    b"CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContact: <sip:x@y>\r\n"
                    b"Content-Length: 0\r\n\r\n" % (sent[0], sent[0]),
                    ("127.0.0.1", port),
                )
            time.sleep(0.005)


def options(source: str, port: int) -> bytes:
    """What is answered there over TCP; nothing: the connection is closed at once."""
    with socket.socket() as sock:
        sock.bind((source, 0))
        sock.settimeout(5)
        sock.connect(("127.0.0.1", port))
        try:
            sock.sendall(
                b"OPTIONS sip:hq SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bKo\r\nFrom: <sip:a@b>"
                b";tag=1\r\nTo: <sip:hq>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
            return sock.recv(4096)
        except ConnectionError:
            return b""


def test_phones_call_on(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("routes: [{match: 1XXX, dial: extension}]\n")
    port = free_port()
    (tmp_path / "hq.yaml").write_text(CONFIG.format(udp=port))
    switch = SwitchChild("hq", tmp_path / "hq.yaml")
    phones: list[PhoneChild] = []
    stop, sent = threading.Event(), [0]
    try:
        switch.until_ready(20)
        for number, secret in (("1001", "a"), ("1002", "b")):
            account = ("--registrar", f"127.0.0.1:{port}", "--user", number, "--password", secret)
            phones.append(PhoneChild(number, *account, "--answer"))
            phones[-1].expect("registered", 10)
        attacker = threading.Thread(target=flood, args=(port, "127.0.0.66", stop, sent))
        attacker.start()
        for _ in range(4):
            phones[0].send("call 1002")
            phones[0].expect("answered", 5)
            phones[0].send("hangup")
            phones[0].expect("ended", 5)
        stop.set()
        attacker.join()
        switch.until(
            lambda: any("127.0.0.66 is banned" in line for line in switch.errors), 5, "ban"
        )
        # Over TCP neither; and when the time is over it is heard again.
        assert options("127.0.0.66", port) == b""
        deadline = time.monotonic() + 15
        while not options("127.0.0.66", port).startswith(b"SIP/2.0 200"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # A phone that may only come from some addresses.
        away = PhoneChild(
            "1002",
            *("--registrar", f"127.0.0.1:{port}", "--user", "1002", "--password", "b"),
            *("--listen", "127.0.0.77"),
        )
        phones.append(away)
        away.expect("registration_failed", 10)
    finally:
        stop.set()
        for child in (*phones, switch):
            child.stop()
    assert sent[0] > 1500
