"""The 49 torture test messages of RFC 4475, byte for byte, and what a switch does with each.

`OUTCOMES` says for every message what a trunk that sends it gets, and in which section the RFC
speaks of it. The RFC often leaves a choice ("may be liberal, or reject with 400"); the reason then
says which one was made. What the switch sends to the other side of the call is checked as well, and
that a stranger who sends the same learns nothing and calls nobody.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from softswitch.configuration import load_config
from softswitch.hookspecs import make_plugins
from softswitch.sip.digest import answer
from softswitch.sip.header_values import Via, parse_address, parse_params, parse_uri, parse_via
from softswitch.sip.message import MalformedMessage, Request, Response
from softswitch.sip.parser import parse
from softswitch.sip.received import mark_source
from softswitch.sip.tokens import Tokens
from softswitch.sip.transport import Transport
from softswitch.sip.udp import UdpFlow
from softswitch.switch import Switch

FOLDER = Path(__file__).with_name("rfc4475")
DROPPED = 0

CONFIG = """
switch: {name: torture, listen: ["udp:127.0.0.1:5060"]}
extensions:
  watson: {name: Watson, password: elementary-1}
  user: {name: User, password: elementary-2}
  "j.user": {name: J, password: elementary-3}
trunks:
  caller: {to: "sip:192.0.2.1:5060", keepalive: 0}
  callee: {to: "sip:192.0.2.2:5060", keepalive: 0}
dialplan: plan.yaml
timers: {trying: 0}
"""
PLAN = 'routes:\n  - {match: "/.*/", from: "trunk:caller", dial: "trunk:callee", timeout: 60}\n'


class Outcome(NamedTuple):
    """`status` of the final response, 100 for a call that goes on to the callee, 0 for none."""

    section: str
    status: int
    reason: str


OUTCOMES = {
    # 3.1.1 Valid messages
    "wsinv": Outcome("3.1.1.1", 481, "valid; its To has a tag, of a dialog that is not ours"),
    "intmeth": Outcome("3.1.1.2", 501, "valid; the method is unknown to us"),
    "esc01": Outcome("3.1.1.3", 100, "valid; %-escapes are one character each"),
    "escnull": Outcome("3.1.1.4", 401, "valid; a NUL in a user part; REGISTER is challenged"),
    "esc02": Outcome("3.1.1.5", 501, "% does not escape in a method: unknown, not REGISTER"),
    "lwsdisp": Outcome("3.1.1.6", 200, "valid; no space between display name and <"),
    "longreq": Outcome("3.1.1.7", 100, "valid; long values, a proxy's worth of Vias"),
    "dblreq": Outcome("3.1.1.8", 401, "one REGISTER; the INVITE behind its body is ignored"),
    "semiuri": Outcome("3.1.1.9", 200, "valid; semicolons belong to the user part"),
    "transports": Outcome("3.1.1.10", 200, "valid; unknown transports in Vias further down"),
    "mpart01": Outcome(
        "3.1.1.11", 403, "valid; its route leads to a carrier that takes no messages"
    ),
    "unreason": Outcome("3.1.1.12", DROPPED, "valid response; to no request of ours"),
    "noreason": Outcome("3.1.1.13", DROPPED, "valid response; to no request of ours"),
    # 3.1.2 Invalid messages
    "badinv01": Outcome("3.1.2.1", 400, "stray separators in Via and Contact"),
    "clerr": Outcome("3.1.2.2", 400, "Content-Length larger than the datagram"),
    "ncl": Outcome("3.1.2.3", 400, "negative Content-Length"),
    "scalar02": Outcome("3.1.2.4", 400, "CSeq, Max-Forwards and Expires out of range"),
    "scalarlg": Outcome("3.1.2.5", DROPPED, "a response with numbers out of range is ignored"),
    "quotbal": Outcome("3.1.2.6", 400, "unterminated quoted string in To"),
    "ltgtruri": Outcome("3.1.2.7", 400, "<> around the Request-URI"),
    "lwsruri": Outcome("3.1.2.8", 400, "white space within the Request-URI"),
    "lwsstart": Outcome("3.1.2.9", 400, "several spaces in the Request-Line"),
    "trws": Outcome("3.1.2.10", 400, "spaces behind the Request-Line: strict is allowed"),
    "escruri": Outcome("3.1.2.11", 400, "escaped headers in a Request-URI"),
    "baddate": Outcome(
        "3.1.2.12", 100, "a Date not in GMT may be ignored, and is: nobody reads it"
    ),
    "regbadct": Outcome("3.1.2.13", 401, "a Contact with ? needs <>; challenged before it is read"),
    "badaspec": Outcome("3.1.2.14", 400, "spaces within <>: strict is allowed"),
    "baddn": Outcome("3.1.2.15", 200, "a comma in an unquoted display name: it is read"),
    "badvers": Outcome("3.1.2.16", 505, "SIP/7.0"),
    "mismatch01": Outcome("3.1.2.17", 400, "method of CSeq is another"),
    "mismatch02": Outcome("3.1.2.18", 400, "the same with an unknown method: 501 allowed as well"),
    "bigcode": Outcome("3.1.2.19", DROPPED, "status beyond 699"),
    # 3.2 Transaction layer
    "badbranch": Outcome("3.2.1", 200, "an empty branch is matched as RFC 2543 does"),
    # 3.3 Application layer
    "insuf": Outcome("3.3.1", 400, "To, From and Call-ID are missing"),
    "unkscm": Outcome("3.3.2", 416, "unknown scheme in the Request-URI"),
    "novelsc": Outcome("3.3.3", 416, "a scheme that is no SIP in the Request-URI"),
    "unksm2": Outcome("3.3.4", 401, "unknown scheme in To: challenged before it is read"),
    "bext01": Outcome("3.3.5", 420, "unknown Require and Proxy-Require"),
    "invut": Outcome("3.3.6", 415, "unknown Content-Type"),
    "regaut01": Outcome("3.3.7", 401, "unknown authorization scheme"),
    "multi01": Outcome("3.3.8", 400, "several values of headers that have one"),
    "mcl01": Outcome("3.3.9", 400, "several Content-Length that differ"),
    "bcast": Outcome("3.3.10", DROPPED, "response with Vias that are not ours: dropped"),
    "zeromf": Outcome(
        "3.3.11", 200, "Max-Forwards 0 reached its end: this element answers OPTIONS"
    ),
    "cparam01": Outcome("3.3.12", 401, "a parameter of Contact; REGISTER is challenged"),
    "cparam02": Outcome("3.3.13", 401, "a parameter of the Contact URI; REGISTER is challenged"),
    "regescrt": Outcome("3.3.14", 401, "escaped headers in a Contact URI; REGISTER is challenged"),
    "sdp01": Outcome(
        "3.3.15", 100, "what is accepted is between the parties: passed to the callee"
    ),
    # 3.4 Backward compatibility
    "inv2543": Outcome(
        "3.4.1", 400, "RFC 2543 without Contact: RFC 3261 §8.1.1.8 wants one, no dialog without"
    ),
}
"""What a trunk gets. Where several outcomes are allowed the reason says what was chosen."""

CHALLENGED = {"baddate", "esc01", "inv2543", "invut", "longreq", "sdp01"}
"""INVITEs that a stranger is only challenged for."""
UNREADABLE = {"badaspec", "baddn", "badinv01", "badvers", "insuf", "quotbal", "scalar02"}
"""Refusals that repeat what was wrong in Via, From, To or CSeq (§8.2.6.2), or lack what it did."""


class Wire:
    """A flow that keeps what was sent."""

    reliable = False
    transport = "udp"
    sent_by = "127.0.0.1:5060"
    listener = ""
    peer = ""

    def __init__(self, host: str, port: int = 5060) -> None:
        self.remote = (host, port)
        self.sent: list[bytes] = []

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self.sent.append(data)


class Net:
    """Every flow that the switch opens by itself."""

    def __init__(self) -> None:
        self.flows: dict[tuple[str, int], Wire] = {}

    def flow_to(
        self, transport: str, host: str, port: int, listener: str = "", peer: str = ""
    ) -> Wire:
        return self.flows.setdefault((host, port), Wire(host, port))


class World:
    """A switch, its clock, and what came out of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "switch.yaml").write_text(CONFIG)
        (folder / "plan.yaml").write_text(PLAN)
        self.now = 0.0
        self.net = Net()
        self.switch = Switch(
            load_config(folder / "switch.yaml"),
            make_plugins(),
            self.net,
            clock=lambda: self.now,
            now_us=lambda: 1_700_000_000_000_000 + int(self.now * 1e6),
            tokens=Tokens(),
        )

    def receive(self, data: bytes, host: str) -> Wire:
        """What a sender at `host` gets for it."""
        wire = Wire(host)
        try:
            message = parse(data)
        except MalformedMessage:
            return wire
        if isinstance(message, Request):
            mark_source(message, wire.remote)
        self.switch.transactions.receive(message, wire)
        return wire

    def settle(self) -> None:
        """Let every timer run out."""
        for _ in range(1000):
            due = self.switch.timers.next_due()
            if due is None:
                return
            self.now = max(self.now, due)
            self.switch.timers.advance()
        raise AssertionError("timers without end")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bytes_of(name: str) -> bytes:
    return (FOLDER / f"{name}.dat").read_bytes()


def statuses(wire: Wire) -> list[int]:
    return [int(data.split(b" ", 2)[1]) for data in wire.sent]


def test_every_message_is_there() -> None:
    assert len(OUTCOMES) == 49
    assert {path.stem for path in FOLDER.glob("*.dat")} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_from_a_trunk(world: World, name: str, caplog: pytest.LogCaptureFixture) -> None:
    outcome = OUTCOMES[name]
    wire = world.receive(bytes_of(name), "192.0.2.1")
    callee = world.net.flow_to("udp", "192.0.2.2", 5060)
    if outcome.status == DROPPED:
        assert wire.sent == []
    else:
        assert statuses(wire) == [outcome.status], outcome.reason
        if name not in UNREADABLE:
            assert isinstance(parse(wire.sent[0]), Response)
        assert wire.sent[0].count(b"\r\nTo:") == (0 if name == "insuf" else 1)
    if outcome.status == 100:
        forwarded = parse(callee.sent[0])
        assert isinstance(forwarded, Request)
        assert forwarded.method == "INVITE"
        assert forwarded.defect is None
    else:
        assert callee.sent == []
    world.settle()
    assert not any(world.switch.tables().values()), world.switch.tables()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", OUTCOMES)
def test_from_a_stranger(world: World, name: str) -> None:
    wire = world.receive(bytes_of(name), "198.51.100.9")
    assert not world.net.flows
    assert not world.switch.calls
    outcome = OUTCOMES[name]
    if name in CHALLENGED:
        assert statuses(wire) == [401]
    elif outcome.status == DROPPED:
        assert wire.sent == []
    else:
        assert all(status >= 400 for status in statuses(wire)) or outcome.status == 200
        assert len(wire.sent) == 1
    world.settle()
    assert not any(world.switch.tables().values())


def _with_line(data: bytes, line: str) -> bytes:
    head, _, rest = data.partition(b"\r\n")
    return head + b"\r\n" + line.encode() + b"\r\n" + rest


@pytest.mark.parametrize(
    ("name", "password", "status", "contact"),
    [
        # 3.3.12: unknownparam belongs to the header; 3.3.13: to the URI, and comes back with it.
        ("cparam01", "elementary-1", 200, "<sip:+19725552222@gw1.example.net>"),
        ("cparam02", "elementary-1", 200, "<sip:+19725552222@gw1.example.net;unknownparam>"),
        # 3.1.2.13: the "?" makes it a URI with headers without <>: 400 is what the RFC names.
        ("regbadct", "elementary-2", 400, ""),
        # 3.3.14: the same within <> is one binding, headers and all.
        ("regescrt", "elementary-2", 200, "<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"),
        # 3.1.1.8: the first of the two requests.
        ("dblreq", "elementary-3", 200, "<sip:j.user@host.example.com>"),
    ],
)
def test_registrations_with_the_right_password(
    world: World, name: str, password: str, status: int, contact: str
) -> None:
    """What is left to the registrar once it knows who asks: the message, with credentials."""
    data = bytes_of(name)
    user = parse_uri(parse_address(_request(name).headers["to"][0]).uri).user
    challenge = re.search(
        rb"WWW-Authenticate: (.*?)\r\n", world.receive(data, "198.51.100.9").sent[0]
    )
    assert challenge is not None
    credentials = answer(
        challenge.group(1).decode(),
        method="REGISTER",
        uri="sip:example.com",
        username=user,
        password=password,
        cnonce="0a4f113b",
    )
    data = _with_line(data, f"Authorization: {credentials}").replace(b"branch=", b"branch=z9hG4bK2")
    wire = world.receive(data, "198.51.100.9")
    assert statuses(wire) == [status]
    if contact:
        reply = parse(wire.sent[0])
        assert isinstance(reply, Response)
        assert [value.partition(";expires")[0] for value in reply.headers["contact"]] == [contact]


def test_unknown_schemes_in_a_registration(world: World) -> None:
    """3.3.4: whoever may register is told 400, 403 or 404; its AOR is no SIP URI, so nobody may."""
    challenge = re.search(
        rb"WWW-Authenticate: (.*?)\r\n", world.receive(bytes_of("unksm2"), "198.51.100.9").sent[0]
    )
    assert challenge is not None
    credentials = answer(
        challenge.group(1).decode(),
        method="REGISTER",
        uri="sip:example.com",
        username="user",
        password="elementary-2",
        cnonce="0a4f113b",
    )
    data = _with_line(bytes_of("unksm2"), f"Authorization: {credentials}")
    data = data.replace(b"z9hG4bKkdjuw", b"z9hG4bKother")
    assert statuses(world.receive(data, "198.51.100.9")) == [400]


# --- what the valid ones say


def _request(name: str) -> Request:
    message = parse(bytes_of(name))
    assert isinstance(message, Request)
    return message


def test_wsinv_reads_as_it_is_meant() -> None:
    request = _request("wsinv")
    assert request.defect is None
    assert request.to_tag == "1918181833n"
    assert request.from_tag == "98asjd8"
    assert request.cseq == 9
    assert request.headers["max-forwards"] == ["0068"]
    assert [parse_via(v) for v in request.headers["via"]] == [
        Via("UDP", "192.0.2.2", None, "390skdjuw", None, None),
        Via("TCP", "spindle.example.com", None, "z9hG4bK9ikj8", None, None),
        Via("UDP", "192.168.255.111", None, "z9hG4bK30239", None, None),
    ]
    assert request.headers["newfangledheader"] == ["newfangled value continued newfangled value"]
    assert request.headers["subject"] == [""]
    address = parse_address(request.headers["from"][0])
    assert address.display == 'J Rosenberg \\"'
    assert parse_address(request.headers["contact"][0]).params == {
        "newparam": "newvalue",
        "secondparam": None,
        "q": "0.33",
    }
    assert len(request.body) == 150


def test_intmeth_reads_as_it_is_meant() -> None:
    request = _request("intmeth")
    assert request.defect is None
    assert request.method == "!interesting-Method0123456789_*+`.%indeed'~"
    uri = parse_uri(request.uri)
    assert uri.user.startswith("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*")
    assert uri.host == "example.com"
    assert request.headers["extensionheader-!.%*+_`'~"] == ["\ufeff大停電"]
    assert request.from_tag == "_token~1'+`*%!-."


def test_escapes_are_decoded_where_they_may_stand() -> None:
    request = _request("esc01")
    assert parse_uri(request.uri).user == "sips:user@example.com"
    assert parse_uri(parse_address(request.headers["to"][0]).uri).user == "user"
    contact = parse_uri(parse_address(request.headers["contact"][0]).uri)
    assert contact.user == "caller"
    assert contact.params == {"lr": None, "name": "value%41"}
    contacts = [parse_uri(parse_address(c).uri) for c in _request("escnull").headers["contact"]]
    assert [c.user for c in contacts] == ["\0", "\0\0"]
    esc02 = _request("esc02")
    assert esc02.method == "RE%47IST%45R"
    assert parse_address(esc02.headers["to"][0]).display == "%Z%45"
    assert len(esc02.headers["contact"]) == 2
    assert esc02.headers["c%6fntact"] == ["<sip:alias2@host2.example.com>"]


def test_semiuri_and_parameters() -> None:
    uri = parse_uri(_request("semiuri").uri)
    assert (uri.user, uri.host, uri.params) == ("user;par=u@example.net", "example.com", {})
    one, two = (_request(n).headers["contact"][0] for n in ("cparam01", "cparam02"))
    assert parse_address(one).params == {"unknownparam": None}
    assert parse_address(two).params == {}
    assert parse_uri(parse_address(two).uri).params == {"unknownparam": None}
    assert parse_params(";a=1 ; b") == {"a": "1", "b": None}


def test_longreq_and_dblreq() -> None:
    request = _request("longreq")
    assert len(request.headers["via"]) == 34
    assert len(request.headers["to"][0]) > 300
    assert request.defect is None
    assert _request("dblreq").body == b""


def test_responses_reason_phrases() -> None:
    for name, reason in (
        ("unreason", "= 2**3 * 5**2 но сто девяносто девять - простое"),
        ("noreason", ""),
    ):
        message = parse(bytes_of(name))
        assert isinstance(message, Response)
        assert message.reason == reason


def test_an_empty_branch_is_matched_by_the_rest(world: World) -> None:
    """3.2.1: a retransmission is found; another request with the same empty branch is not it."""
    data = bytes_of("baddate").replace(b"z9hG4bKkdjuw", b"z9hG4bK")
    assert statuses(world.receive(data, "192.0.2.1")) == [100]
    assert world.switch.transactions.tables()["server_transactions"] == 1
    world.receive(data, "192.0.2.1")
    assert world.switch.transactions.tables()["server_transactions"] == 1
    world.receive(data.replace(b"CSeq: 1392934", b"CSeq: 1392935"), "192.0.2.1")
    assert world.switch.transactions.tables()["server_transactions"] == 2


# --- through real sockets


async def test_all_of_them_through_real_sockets(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """As datagrams from one socket, and each on a TCP connection of its own; then an OPTIONS."""
    loop = asyncio.get_running_loop()

    def receive(message: Request | Response, flow: object) -> None:
        world.switch.transactions.receive(message, flow)  # type: ignore[arg-type]

    transport = Transport(loop, receive)
    udp = await transport.listen("udp", "127.0.0.1", 0)
    tcp = await transport.listen("tcp", "127.0.0.1", 0)
    options = (
        b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKlast;rport"
        b"\r\n"
        b"From: <sip:a@b>;tag=1\r\nTo: <sip:x@b>\r\nCall-ID: last\r\nCSeq: 1 OPTIONS\r\n"
        b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("127.0.0.1", 0))
    client.setblocking(False)
    with client, caplog.at_level(logging.WARNING):
        for name in OUTCOMES:
            client.sendto(bytes_of(name), udp)
        client.sendto(options, udp)
        while True:
            data = await asyncio.wait_for(loop.sock_recv(client, 65535), 10)
            if b"\r\nCall-ID: last\r\n" in data:
                break
        assert data.startswith(b"SIP/2.0 200")
        for name in OUTCOMES:
            reader, writer = await asyncio.open_connection(*tcp)
            writer.write(bytes_of(name) + b"\r\n" + options)
            writer.write_eof()
            # The OPTIONS behind it is answered, or the framing was lost and the switch hangs up.
            received = await asyncio.wait_for(reader.read(), 10)
            status = OUTCOMES[name].status
            if status > 100 and name not in ("clerr", *CHALLENGED):
                assert received.startswith(b"SIP/2.0 "), name
            writer.close()
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
    await transport.close()
    assert UdpFlow.reliable is False
