"""SIP over WebSocket (RFC 7118): a phone as browsers have it, and who is none."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port
from softswitch.lab.watch import rows
from softswitch.sip.digest import answer

CONFIG = """
switch:
  name: hq
  listen: ["udp:127.0.0.1:{udp}", "ws:127.0.0.1:{ws}"]{more}
extensions:
  "1001": {{password: a}}
  "1002": {{password: b}}
dialplan: plan.yaml
limits: {{max_message_size: 20000, max_per_address: 10}}
timers: {{tcp_first: 1}}
cds:
  listen: tcp:127.0.0.1:{link}
  database: hq.db
  linger: 1
"""
PLAN = "routes: [{match: 1XXX, dial: extension, timeout: 10}]\n"
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n"
)


class Served:
    def __init__(self, folder: Path, more: str = "") -> None:
        self.ws, udp, link = free_port(), free_port(), free_port()
        self.database = folder / "hq.db"
        (folder / "plan.yaml").write_text(PLAN)
        config = folder / "hq.yaml"
        config.write_text(CONFIG.format(udp=udp, ws=self.ws, link=link, more=more))
        self.config = config
        self.process = SwitchChild("hq", config)

    def start_again(self) -> None:
        """Kill it, and start another on what it has left."""
        self.process.signal(signal.SIGKILL)
        self.process.stop()
        self.process = SwitchChild("hq", self.config)
        self.process.until_ready(20)

    def connect(self, **more: object) -> ClientConnection:
        options = {"subprotocols": ["sip"], "compression": None, **more}
        return connect(f"ws://127.0.0.1:{self.ws}/", **options)  # type: ignore[arg-type]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    try:
        served.process.until_ready(20)
        yield served
    finally:
        served.process.stop()


class Browser:
    """A phone in a page: it has no address, only its connection."""

    serial = itertools.count(1)

    def __init__(self, served: Served, number: str, password: str, **more: object) -> None:
        self.number, self.password = number, password
        self.me = f"{number}x.invalid"
        self._connection = served.connect(**more)
        self.socket = self._connection.__enter__()

    def close(self) -> None:
        self._connection.__exit__(None, None, None)

    def get(self, start: str) -> str:
        while True:
            text = self.socket.recv(10)
            assert isinstance(text, str)
            if text.startswith(start):
                return text

    def request(
        self, method: str, uri: str, extra: str = "", body: str = "", to: str = "", cseq: int = 0,
        call_id: str = "", from_: str = "", branch: str = "",
    ) -> str:  # fmt: skip
        serial = next(self.serial)
        self.call_id = call_id or f"c{serial}"
        self.branch = branch or f"z9hG4bK{serial}"
        self.from_ = from_ or f"<sip:{self.number}@hq>;tag=t{serial}"
        self.socket.send(
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/WS {self.me};branch={self.branch}\r\n"
            f"From: {self.from_}\r\nTo: {to or f'<{uri}>'}\r\nCall-ID: {self.call_id}\r\n"
            f"CSeq: {cseq or serial} {method}\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:{self.number}@{self.me};transport=ws>\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        return "" if method == "ACK" else self.get("SIP/2.0")

    def proved(self, method: str, uri: str, extra: str = "", body: str = "", to: str = "") -> str:
        first = self.request(method, uri, extra, body, to)
        assert " 401 " in first
        if method == "INVITE":
            match = re.search(r"\r\nTo: ([^\r]*)", first)
            assert match is not None
            number = re.search(r"CSeq: (\d+)", first)
            assert number is not None
            self.request("ACK", uri, to=match[1], cseq=int(number[1]), call_id=self.call_id,
                         from_=self.from_, branch=self.branch)  # fmt: skip
        challenge = re.search(r"WWW-Authenticate: ([^\r]*)", first)
        assert challenge is not None
        value = answer(challenge[1], method, uri, self.number, self.password, "cn")
        return self.request(method, uri, f"Authorization: {value}\r\n{extra}", body, to)

    def register(self) -> str:
        return self.proved("REGISTER", "sip:hq", "Expires: 300\r\n", to=f"<sip:{self.number}@hq>")

    def reply(self, request: str, status: int, body: str = "") -> None:
        lines = request.split("\r\n\r\n")[0].split("\r\n")
        kept = [x for x in lines if x.split(":")[0] in ("Via", "From", "Call-ID", "CSeq")]
        to = next(x for x in lines if x.startswith("To:"))
        tag = "" if ";tag=" in to else f";tag=b{self.number}"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self.socket.send(
            f"SIP/2.0 {status} Fine\r\n" + "\r\n".join(kept) + f"\r\n{to}{tag}\r\n"
            f"Contact: <sip:{self.number}@{self.me};transport=ws>\r\n{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )


def field(message: str, name: str) -> str:
    match = re.search(rf"\r\n{name}: ([^\r]*)", message)
    assert match is not None, message
    return match[1]


def test_a_call_from_page_to_page(served: Served) -> None:
    with ExitStack() as stack:
        one, two = Browser(served, "1001", "a"), Browser(served, "1002", "b")
        for phone in (one, two):
            stack.callback(phone.close)
            done = phone.register()
            assert done.startswith("SIP/2.0 200"), done
            assert f"sip:{phone.number}@{phone.me};transport=ws" in field(done, "Contact")
        kind = "Content-Type: application/sdp\r\n"
        ringing = one.proved("INVITE", "sip:1002@hq", kind, SDP)
        invite = two.get("INVITE")
        assert invite.startswith(f"INVITE sip:1002@{two.me};transport=ws SIP/2.0")
        assert field(invite, "Via").startswith(f"SIP/2.0/WS 127.0.0.1:{served.ws};branch=")
        assert field(invite, "Contact") == f"<sip:127.0.0.1:{served.ws};transport=ws>"
        assert invite.endswith(SDP)
        two.reply(invite, 180)
        while not ringing.startswith("SIP/2.0 180"):
            ringing = one.get("SIP/2.0")
        two.reply(invite, 200, SDP)
        accepted = one.get("SIP/2.0 200")
        to, call_id, from_ = (field(accepted, name) for name in ("To", "Call-ID", "From"))
        target = field(accepted, "Contact").strip("<>")
        number = int(field(accepted, "CSeq").split()[0])
        one.request("ACK", target, to=to, cseq=number, call_id=call_id, from_=from_)
        assert two.get("ACK")
        two.request(
            "BYE",
            field(invite, "Contact").strip("<>"),
            to=field(invite, "From"),
            call_id=field(invite, "Call-ID"),
            from_=f"{field(invite, 'To')};tag=b1002",
        )
        one.reply(one.get("BYE"), 200)
    for _ in range(100):
        found = rows(served.database)
        if found:
            break
        served.process.check()
        time.sleep(0.05)
    assert [(row["disposition"], row["hangup_by"]) for row in found] == [("answered", "callee")]


def test_a_call_outlives_the_switch(served: Served) -> None:
    with ExitStack() as stack:

        def pages() -> tuple[Browser, Browser]:
            both = Browser(served, "1001", "a"), Browser(served, "1002", "b")
            for phone in both:
                stack.callback(phone.close)
                assert phone.register().startswith("SIP/2.0 200")
            return both

        one, two = pages()
        one.proved("INVITE", "sip:1002@hq", "Content-Type: application/sdp\r\n", SDP)
        invite = two.get("INVITE")
        two.reply(invite, 200, SDP)
        accepted = one.get("SIP/2.0 200")
        target = field(accepted, "Contact").strip("<>")
        number = int(field(accepted, "CSeq").split()[0])
        same = {
            "to": field(accepted, "To"),
            "call_id": field(accepted, "Call-ID"),
            "from_": field(accepted, "From"),
        }
        one.request("ACK", target, cseq=number, **same)  # type: ignore[arg-type]
        assert two.get("ACK")
        served.start_again()
        # The pages connect again, from other ports, and register.
        one, two = pages()
        ended = one.request("BYE", target, **same)  # type: ignore[arg-type]
        assert ended.startswith("SIP/2.0 200"), ended
        bye = two.get("BYE")
        assert field(bye, "Call-ID") == field(invite, "Call-ID")
        two.reply(bye, 200)
    for _ in range(100):
        found = rows(served.database)
        if found and found[0]["final"]:
            break
        served.process.check()
        time.sleep(0.05)
    assert [(row["disposition"], row["hangup_by"]) for row in found] == [("answered", "caller")]


def test_a_closed_page_is_gone(served: Served) -> None:
    one, two = Browser(served, "1001", "a"), Browser(served, "1002", "b")
    one.register()
    two.register()
    two.close()
    failed = one.proved("INVITE", "sip:1002@hq", "Content-Type: application/sdp\r\n", SDP)
    while failed.startswith("SIP/2.0 1"):
        failed = one.get("SIP/2.0")
    assert " 480 " in failed
    one.close()


def test_a_message_in_pieces_and_as_bytes(served: Served) -> None:
    ask = (
        "OPTIONS sip:hq SIP/2.0\r\nVia: SIP/2.0/WS x.invalid;branch=z9hG4bK%d\r\nFrom: <sip:a@b>;"
        "tag=1\r\nTo: <sip:hq>\r\nCall-ID: c%d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 7\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    with served.connect() as sock:
        sock.send([ask[:20] % (), *((ask % (1, 1))[20:50], (ask % (1, 1))[50:])])
        assert str(sock.recv(5)).startswith("SIP/2.0 200")
        sock.send((ask % (2, 2)).encode())
        assert str(sock.recv(5)).startswith("SIP/2.0 200")
        sock.send("\r\n\r\n")
        sock.ping().wait(5)
        sock.send(ask % (3, 3))
        assert str(sock.recv(5)).startswith("SIP/2.0 200")


def test_what_is_no_sip(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        served.connect(subprotocols=["chat"])
    assert refused.value.response.status_code == 400
    with pytest.raises(InvalidStatus):
        served.connect(subprotocols=None)
    with socket.create_connection(("127.0.0.1", served.ws), 5) as raw:
        raw.settimeout(5)
        raw.sendall(b"GET / HTTP/1.1\r\nHost: hq\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 426")
    with socket.create_connection(("127.0.0.1", served.ws), 5) as raw:
        raw.settimeout(5)
        raw.sendall(b"OPTIONS sip:hq SIP/2.0\r\n\r\n")
        while raw.recv(4096):
            pass
    with served.connect() as sock:
        sock.send("x" * 30_000)
        with pytest.raises(ConnectionClosed):
            sock.recv(5)
    with served.connect() as sock, pytest.raises(ConnectionClosed):
        sock.recv(5)  # it says nothing for a second


def test_strangers_have_no_more_than_their_room(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(served.connect())
        phone = Browser(served, "1001", "a")
        stack.callback(phone.close)
        assert phone.register().startswith("SIP/2.0 200")


def test_only_from_these_pages(tmp_path: Path) -> None:
    served = Served(tmp_path, "\n  origins: https://pbx.example")
    try:
        served.process.until_ready(20)
        with served.connect(origin="https://pbx.example"):
            pass
        with pytest.raises(WebSocketException):
            served.connect(origin="https://evil.example")
        with pytest.raises(WebSocketException):
            served.connect()
    finally:
        served.process.stop()
