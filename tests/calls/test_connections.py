"""Connections that close within a call: what is left to say goes on a new one (RFC 3261 §18.1.1,
§18.2.2), for trunks, our own switches and phones that listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, HOLD, SDP, Address, Agent, Line, Stream, World
from softswitch.calls import contact_line
from softswitch.events import LegEnded

HQ = ("10.0.0.1", 5060)
OVER_TCP = CONFIG.replace('"sip:10.2.0.1:5060", from', '"sip:10.2.0.1:5060;transport=tcp", from')
OVER_TCP = OVER_TCP.replace("sip:10.1.0.1:5060", "sip:10.1.0.1:5060;transport=tcp")
assert OVER_TCP.count("transport=tcp") == 2


class Peer(Agent):
    """A user agent over TCP. It calls from a port of its own, and takes connections if it
    `listens`; what it says goes by the connection that it had last."""

    transport = "TCP"

    def __init__(
        self, world: World, host: str, name: str, password: str = "", *, listens: bool = True
    ) -> None:
        self.way = (host, 5060)
        super().__init__(world, (host, 5060), name, password)
        if listens:
            world.listening.add(self.address)

    @property
    def contact(self) -> str:
        return f"<sip:{self.name}@{self.host_port};transport=tcp>"

    def connect(self) -> Stream:
        """A connection of its own to the switch, from the next free port."""
        self.way = (self.address[0], 40000 + next(self.world.serial))
        self.world.agents[self.way] = self
        stream = Stream(self.world, self.switch, self.way)
        self.world.streams[self.switch, self.way] = stream
        return stream

    @property
    def connection(self) -> Stream:
        """The one that the switch made to it."""
        return self.world.streams[self.switch, self.address]

    def send(self, text: str, body: str = "") -> None:
        if (self.switch, self.way) not in self.world.streams:
            self.way = self.address
        data = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        self.world.carry(data, self.way, self.switch)
        self.world.settle()


@pytest.fixture
def tcp(tmp_path: Path) -> World:
    """A switch with a journal whose trunks `caller` and `pstn` speak TCP."""
    return World(tmp_path, OVER_TCP, journal=True)


def parties(world: World) -> tuple[Peer, Peer]:
    return Peer(world, "10.1.0.1", "alice"), Peer(world, "10.2.0.1", "gateway")


def answered(world: World) -> tuple[Line, Line, Stream, Stream]:
    """A call of two trunks, and the connection of each."""
    caller, callee = parties(world)
    incoming = caller.connect()
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    b.reply(200, ANSWER)
    a.ack()
    assert b.what == ["INVITE", "ACK"]
    return a, b, incoming, callee.connection


def test_bye_to_the_callee(tcp: World) -> None:
    world = tcp
    a, b, _, connection = answered(world)
    connection.close()
    a.bye()
    assert b.last.what == "BYE"
    assert b.agent.connection is not connection
    b.reply(200, to="BYE")
    world.end()


def test_bye_to_the_caller(tcp: World) -> None:
    """It called from a port that takes no connections; its Contact names one that does."""
    world = tcp
    a, b, incoming, _ = answered(world)
    incoming.close()
    b.bye()
    assert a.last.what == "BYE"
    assert a.last.target == ("10.1.0.1", 5060)
    a.reply(200, to="BYE")
    world.end()


def test_written_and_never_read(tcp: World) -> None:
    """The switch learns that the connection is gone after it has written to it."""
    world = tcp
    a, b, _, connection = answered(world)
    connection.deaf = True
    a.bye()
    assert b.last.what == "ACK"
    connection.close()
    assert b.count("BYE") == 1
    assert b.last.branch.startswith("z9hG4bK")
    b.reply(200, to="BYE")
    world.end()


@pytest.mark.parametrize("deaf", [False, True])
def test_reinvite_and_its_ack(tcp: World, deaf: bool) -> None:
    world = tcp
    a, b, _, connection = answered(world)
    connection.deaf = deaf
    if not deaf:
        connection.close()
    a.invite(HOLD)
    if deaf:
        connection.close()
    assert b.count("INVITE") == 2
    second = b.agent.connection
    b.reply(200, ANSWER)
    second.close()
    assert a.last.what == "200 INVITE"
    a.ack()
    b.reply(200, ANSWER)
    assert b.count("ACK") == 3, "one before, one on the connection that closed, one more"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_the_ack_itself(tcp: World) -> None:
    """A late offer: the connection closes between the callee's 2xx and its ACK."""
    world = tcp
    caller, callee = parties(world)
    caller.connect()
    a = caller.call("85550100", "")
    b = callee.line
    b.reply(200, SDP)
    connection = callee.connection
    connection.close()
    a.ack(ANSWER)
    assert b.last.what == "ACK"
    assert b.last.body == ANSWER
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_cancel(tcp: World) -> None:
    world = tcp
    caller, callee = parties(world)
    caller.connect()
    a = caller.call("85550100")
    b = callee.line
    b.reply(180)
    callee.connection.close()
    a.cancel()
    assert b.last.what == "CANCEL"
    b.reply(200, to="CANCEL")
    b.reply(487)
    assert b.last.what == "ACK"
    a.acknowledge(a.find("487 INVITE"))
    world.end()


@pytest.mark.parametrize("status", [180, 200, 486])
def test_responses_go_to_the_sent_by(tcp: World, status: int) -> None:
    """§18.2.2: at the address that the request came from, whatever host the Via names."""
    world = tcp
    caller, callee = parties(world)
    incoming = caller.connect()
    a = caller.call("85550100")
    b = callee.line
    incoming.close()
    b.reply(status, ANSWER if status == 200 else "")
    assert a.last.what == f"{status} INVITE"
    assert a.last.target == ("10.1.0.1", 5060)
    if status == 180:
        b.reply(486)
    if status == 200:
        a.ack()
        a.bye()
        b.reply(200, to="BYE")
    else:
        a.acknowledge(a.last)
    world.end()
    assert {host for host, _ in world.connects} == {"10.1.0.1", "10.2.0.1"}


def test_a_2xx_that_was_never_read(tcp: World) -> None:
    """It is sent again until its ACK, by whatever connection there is then."""
    world = tcp
    caller, callee = parties(world)
    incoming = caller.connect()
    a = caller.call("85550100")
    incoming.deaf = True
    callee.line.reply(200, ANSWER)
    incoming.close()
    assert a.what == []
    world.run(0.6)
    assert a.last.what == "200 INVITE"
    a.ack()
    a.bye()
    callee.line.reply(200, to="BYE")
    world.end()


def test_a_2xx_to_a_reinvite_that_was_never_read(tcp: World) -> None:
    world = tcp
    a, b, incoming, _ = answered(world)
    a.invite(HOLD)
    incoming.deaf = True
    b.reply(200, ANSWER)
    incoming.close()
    assert a.count("200 INVITE") == 1
    world.run(0.6)
    assert a.count("200 INVITE") == 2
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_an_invite_that_comes_again_by_another_connection(tcp: World) -> None:
    """Its response goes to where it listens: the connection that it came by first is gone."""
    world = tcp
    caller, callee = parties(world)
    incoming = caller.connect()
    a = caller.call("85550100")
    incoming.deaf = True
    callee.line.reply(180)
    incoming.close()
    caller.connect()
    a.again()
    assert a.what == ["180 INVITE"]
    callee.line.reply(486)
    a.acknowledge(a.last)
    world.end()


def test_the_2xx_of_another_fork(tcp: World) -> None:
    world = tcp
    a, b, _, connection = answered(world)
    connection.close()
    b.reply(200, ANSWER, to=b.received[0], tag="other")
    assert b.what == ["INVITE", "ACK", "ACK", "BYE"]
    b.reply(200, to="BYE")
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_an_invite_that_was_cancelled_is_not_sent_again(tcp: World) -> None:
    world = tcp
    a, b, _, connection = answered(world)
    a.bye()
    b.reply(200, to="BYE")
    connection.deaf = True
    c = a.agent.call("85550101")
    c.cancel()
    connection.close()
    assert len(b.agent.lines) == 1
    c.acknowledge(c.find("487 INVITE"))
    world.end()


def test_the_answer_to_a_relayed_request(tcp: World) -> None:
    world = tcp
    a, b, incoming, _ = answered(world)
    a.send("INFO", "1", "Content-Type: application/dtmf-relay\r\n")
    incoming.close()
    b.reply(200, to="INFO")
    assert a.last.what == "200 INFO"
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_a_stranger_that_closes_is_not_connected_to(tcp: World) -> None:
    """What a stranger sends costs no connection, whatever its Via names."""
    world = tcp
    stranger = Peer(world, "10.66.0.1", "1001")
    connection = stranger.connect()
    connection.closed = True
    for method in ("REGISTER", "INVITE", "OPTIONS", "BYE"):
        stranger.send(
            f"{method} sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 10.66.0.1:5060;branch=z9hG4bK1\r\n"
            f"From: <sip:1001@10.0.0.1>;tag=x\r\nTo: <sip:1001@10.0.0.1>\r\nCall-ID: x\r\n"
            f"CSeq: 1 {method}\r\nMax-Forwards: 70\r\n"
        )
    world.run(1)
    assert world.connects == []
    world.end()


@pytest.mark.parametrize("deaf", [False, True])
def test_the_next_call(tcp: World, deaf: bool) -> None:
    """An INVITE on a connection that turns out closed is no failure before a new one was tried."""
    world = tcp
    a, b, _, connection = answered(world)
    a.bye()
    b.reply(200, to="BYE")
    connection.deaf = deaf
    if not deaf:
        connection.closing = True
    c = a.agent.call("85550101")
    if deaf:
        assert len(b.agent.lines) == 1
        connection.close()
    second = b.agent.line
    assert second is not b
    second.reply(486)
    assert c.last.what == "486 INVITE"
    c.acknowledge(c.last)
    world.rest()


def test_nobody_listens_any_more(tcp: World) -> None:
    """Then that is told at once: what was refused is not tried again."""
    world = tcp
    a, b, _, connection = answered(world)
    a.bye()
    b.reply(200, to="BYE")
    connection.close()
    world.listening.discard(("10.2.0.1", 5060))
    c = a.agent.call("85550101")
    assert c.last.what == "500 INVITE"
    assert world.connects.count(("10.2.0.1", 5060)) == 2, "one was there, one is not"
    c.acknowledge(c.last)
    world.rest()


def test_a_peer_that_closes_whatever_it_is_sent(tcp: World) -> None:
    """No circle: every request is tried twice."""
    world = tcp
    a, b, _, connection = answered(world)
    a.bye()
    b.reply(200, to="BYE")
    connection.deaf = True
    c = a.agent.call("85550101")
    world.agents[b.agent.address] = Agent(world, ("10.99.0.1", 5060), "nobody")
    connection.close()
    again = world.streams[HQ, ("10.2.0.1", 5060)]
    again.close()
    assert c.last.what == "500 INVITE"
    c.acknowledge(c.last)
    world.rest()


# --- phones


def phone(world: World, *, listens: bool = True, host: str = "10.9.0.1") -> tuple[Peer, Stream]:
    peer = Peer(world, host, "1001", "a", listens=listens)
    connection = peer.connect()
    assert peer.register().status == 200
    return peer, connection


def call(world: World, number: str = "1001") -> Line:
    caller = Peer(world, "10.1.0.1", "alice")
    caller.connect()
    return caller.call(number)


@pytest.mark.parametrize("told", [True, False])
def test_a_phone_that_listens(tcp: World, told: bool) -> None:
    world = tcp
    peer, connection = phone(world)
    connection.deaf = not told
    if told:
        connection.close()
    a = call(world)
    if not told:
        assert peer.lines == []
        connection.close()
    b = peer.line
    assert b.last.target == peer.address
    b.reply(200, ANSWER)
    a.ack()
    peer.connection.close()
    a.bye()
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")
    world.rest()


def test_its_own_connection_goes_before(tcp: World) -> None:
    world = tcp
    peer, connection = phone(world)
    a = call(world)
    b = peer.line
    assert b.last.target == connection.remote
    b.reply(200, ANSWER)
    a.ack()
    connection.close()
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == peer.address
    b.reply(200, to="BYE")
    world.rest()


@pytest.mark.parametrize("told", [True, False])
def test_a_stale_binding(tcp: World, told: bool) -> None:
    world = tcp
    _, connection = phone(world, listens=False)
    connection.deaf = not told
    if told:
        connection.close()
    a = call(world)
    if not told:
        connection.close()
    assert a.last.start == "SIP/2.0 480 Unreachable"
    a.acknowledge(a.last)
    world.rest()
    assert world.ended.sip_status == 480
    assert [e.by for e in world.of(LegEnded)] == ["switch", "switch"]


@pytest.mark.parametrize("same", [True, False])
def test_a_phone_behind_nat_that_registers_again(tcp: World, same: bool) -> None:
    """It roamed within its call: where it has registered since, with the same Contact, it is."""
    world = tcp
    peer = Peer(world, "10.9.0.1", "1001", "a", listens=False)
    private = "<sip:1001@192.168.7.7:5060;transport=tcp>"
    connection = peer.connect()
    assert peer.register(private).status == 200
    a = call(world)
    b = peer.line
    b.contact = f"Contact: {private}\r\n"
    b.reply(200, ANSWER)
    a.ack()
    connection.close()
    again = peer.connect()
    other = private.replace("192.168.7.7", "192.168.7.8")
    assert peer.register(private if same else other).status == 200
    a.bye()
    assert a.last.what == "200 BYE"
    if same:
        assert b.last.what == "BYE"
        assert b.last.target == again.remote
        b.reply(200, to="BYE")
    else:
        assert b.last.what == "ACK", "that may be another phone of hers"
    world.rest()


@pytest.mark.parametrize("method", ["INFO", "OPTIONS", "UPDATE"])
def test_a_phone_behind_nat_that_connects_again(tcp: World, method: str) -> None:
    """Nobody can connect to it: it is wherever it spoke from last."""
    world = tcp
    peer = Peer(world, "10.9.0.1", "1001", "a", listens=False)
    private = "<sip:1001@192.168.7.7:5060;transport=tcp>"
    connection = peer.connect()
    assert peer.register(private).status == 200
    a = call(world)
    b = peer.line
    b.contact = f"Contact: {private}\r\n"
    b.reply(200, ANSWER)
    a.ack()
    connection.close()
    again = peer.connect()
    b.send(method, extra=b.contact)
    if method != "OPTIONS":
        a.reply(200, to=method)
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == again.remote
    b.reply(200, to="BYE")
    world.rest()


def test_a_stale_binding_behind_nat(tcp: World) -> None:
    """Nobody can connect to what its Contact names, and to its old port neither."""
    world = tcp
    peer = Peer(world, "10.9.0.1", "1001", "a", listens=False)
    connection = peer.connect()
    assert peer.register("<sip:1001@192.168.7.7:5060;transport=tcp>").status == 200
    connection.close()
    a = call(world)
    assert a.last.start == "SIP/2.0 480 Unreachable"
    assert world.connects == []
    a.acknowledge(a.last)
    world.rest()


def test_beside_one_that_is_there(tcp: World) -> None:
    world = tcp
    _, connection = phone(world, listens=False)
    other = world.phone("1001", "10.9.0.2")
    connection.close()
    a = call(world)
    other.line.reply(180)
    assert a.last.what == "180 INVITE"
    other.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    world.rest()


# --- a switch that was killed and is back


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_after_a_restart(tcp: World, who: str) -> None:
    """All its connections are gone; both sides are found by new ones."""
    world = tcp
    a, b = answered(world)[:2]
    world.restart(config=OVER_TCP)
    if who == "callee":
        a.agent.connect()
        a.bye()
        other = b
    else:
        b.agent.connect()
        b.bye()
        other = a
    assert other.last.what == "BYE"
    other.reply(200, to="BYE")
    world.rest()


def test_a_2xx_that_a_switch_owes_after_its_restart(tcp: World) -> None:
    """Its connection came from a port that nobody listens on: the Via says where they do."""
    world = tcp
    caller, callee = parties(world)
    caller.connect()
    a = caller.call("85550100")
    callee.line.reply(200, ANSWER)
    heard = a.count("200 INVITE")
    world.restart(config=OVER_TCP)
    world.run(0.6)
    assert a.count("200 INVITE") > heard
    assert a.last.target == ("10.1.0.1", 5060)
    a.ack()
    a.bye()
    callee.line.reply(200, to="BYE")
    world.rest()


def test_a_trunk_behind_nat_after_a_restart(tmp_path: Path) -> None:
    """It is connected to where it was, not at the private address that its Contact names."""
    config = OVER_TCP.replace("max_calls: 5, keepalive: 0", "max_calls: 5, keepalive: 0, nat: true")
    world = World(tmp_path, config, journal=True)
    caller, callee = parties(world)
    caller.connect()
    a = caller.call("85550100")
    b = callee.line
    b.contact = "Contact: <sip:gw@192.168.7.7:5066;transport=tcp>\r\n"
    b.reply(200, ANSWER)
    a.ack()
    world.restart(config=config)
    caller.connect()
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == ("10.2.0.1", 5060)
    b.reply(200, to="BYE")
    world.rest()


def test_a_phone_that_listens_after_a_restart(tcp: World) -> None:
    world = tcp
    peer, _ = phone(world)
    a = call(world)
    b = peer.line
    b.reply(200, ANSWER)
    a.ack()
    del _
    world.connects.clear()
    world.restart(config=OVER_TCP)
    a.agent.connect()
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == peer.address
    assert world.connects == [peer.address], "not to where it connected from"
    b.reply(200, to="BYE")
    world.rest()


def test_two_ways_to_one_phone(world: World) -> None:
    """RFC 5626: it registers by two connections, rings once, and by the other if one is gone."""
    alice = world.phone("1001", "10.9.0.1")
    phone = Peer(world, "10.9.0.5", "1002", "b", listens=False)
    ways = []
    for number in (1, 2):
        ways.append(phone.connect())
        instance = f'+sip.instance="<urn:uuid:7>";reg-id={number}'
        phone.register(f"<sip:1002@10.9.0.5;transport=tcp;ob>;{instance}")
        world.run(1)
    assert len(world.switch.registrar.contacts("1002")) == 2

    def rung() -> list[Address]:
        count = len(world.wire)
        alice.call("1002")
        invites = [
            m.target for m in world.wire[count:] if m.start.startswith("INVITE sip:1002@10.9")
        ]
        phone.line.reply(486)
        return invites

    assert rung() == [ways[1].remote]
    ways[1].close()
    assert rung() == [ways[0].remote]
    other = Peer(world, "10.9.0.6", "1002", "b", listens=False)
    other.connect()
    other.register('<sip:1002@10.9.0.6;transport=tcp>;+sip.instance="<urn:uuid:8>";reg-id=1')
    assert len(rung()) == 2, "another phone"
    other.line.reply(486)
    world.run(60)
    world.rest()


@pytest.mark.parametrize(
    ("transport", "asked", "contact"),
    [
        ("udp", "sips:bob@pbx.example", "<sip:192.0.2.1:5061>"),
        ("tls", "sip:bob@pbx.example", "<sip:192.0.2.1:5061;transport=tls>"),
        ("tls", "sips:bob@pbx.example", "<sips:192.0.2.1:5061>"),
        ("tls", "SIPS:bob@pbx.example", "<sips:192.0.2.1:5061>"),
        ("wss", "sips:bob@pbx.example", "<sips:192.0.2.1:5061;transport=ws>"),
        ("wss", "sip:bob@pbx.example", "<sip:192.0.2.1:5061;transport=ws>"),
    ],
)
def test_who_asks_by_a_sips_uri_gets_one(transport: str, asked: str, contact: str) -> None:
    """RFC 3261 §12.1.1: else a caller may not go on with the dialog."""

    class Way:
        sent_by = "192.0.2.1:5061"

        def __init__(self) -> None:
            self.transport = transport

    assert contact_line(Way(), asked) == f"Contact: {contact}\r\n"  # type: ignore[arg-type]
