"""The four state machines of RFC 3261 §17, an arrow a test, with every timer; and the matching."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from softswitch.sip.client_transaction import ClientRequest
from softswitch.sip.flow import Flow
from softswitch.sip.message import Request, Response
from softswitch.sip.parser import parse
from softswitch.sip.server_transaction import InviteServer, NonInviteServer
from softswitch.sip.timers import Timers, TimerSettings
from softswitch.sip.transaction import Answer, ServerTransaction, Transactions, server_key
from softswitch.sip.transaction_states import (
    ACCEPTED,
    CALLING,
    COMPLETED,
    CONFIRMED,
    PROCEEDING,
    TERMINATED,
    TRYING,
)

T1, T2, T4 = 0.5, 4.0, 5.0
TIMER_A_B = [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
"""Seconds at which an INVITE is sent again (timer A), until 32 s (timer B)."""
TIMER_E_F = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
"""The same of other requests (E, at most T2 apart, until F), and of final responses (G until H)."""


class Wire:
    """A flow that keeps when and what was sent, and can be dead."""

    remote = ("192.0.2.9", 5060)
    sent_by = "192.0.2.1:5060"
    listener = ""
    peer = ""

    def __init__(self, world: World, reliable: bool) -> None:
        self.world = world
        self.reliable = reliable
        self.transport = "tcp" if reliable else "udp"
        self.sent: list[tuple[float, str]] = []
        self.errors: list[Callable[[], None]] = []

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self.sent.append((self.world.now, data.decode()))
        if on_error is not None:
            self.errors.append(on_error)

    def lines(self) -> list[str]:
        """Method or status of everything sent."""
        return [text.split(" ")[1 if text.startswith("SIP/") else 0] for _, text in self.sent]

    def times(self) -> list[float]:
        return [when for when, _ in self.sent]


class World:
    """A layer, its user, its clock."""

    def __init__(self, t1: float = T1, most: int = 500_000) -> None:
        self.now = 0.0
        self.timers = Timers(lambda: self.now)
        self.layer = Transactions(
            self.timers, self, TimerSettings(t1, T2, T4), max_transactions=most
        )
        self.requests: list[ServerTransaction] = []
        self.acks: list[Request] = []
        self.cancels: list[InviteServer] = []
        self.responses: list[int] = []
        self.screened: Answer | None = None
        self.refusals: list[tuple[int, str | None]] = []

    def screen(self, request: Request, flow: Flow) -> Answer | None:
        return self.screened

    def unreadable(self, flow: Flow) -> bool:
        return True

    def refused(self, request: Request, flow: Flow, status: int, reason: str | None) -> None:
        self.refusals.append((status, reason))

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        self.requests.append(transaction)
        if isinstance(transaction, InviteServer):
            transaction.user = self

    def ack(self, request: Request, flow: Flow) -> None:
        self.acks.append(request)

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        self.cancels.append(transaction)

    def heard(self, response: Response) -> None:
        self.responses.append(response.status)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.timers.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.timers.advance()
        self.now = end

    def idle(self) -> bool:
        return not any(self.layer.tables().values()) and len(self.timers) == 0

    # --- as client

    def invite(self, wire: Wire):  # type: ignore[no-untyped-def]
        return self.layer.invite(asked("INVITE"), wire, self.heard)

    def send(self, wire: Wire):  # type: ignore[no-untyped-def]
        return self.layer.send(asked("OPTIONS"), wire, self.heard)

    def answer(self, wire: Wire, status: int, method: str, tag: str = "b", vias: int = 1) -> None:
        self.layer.receive(answered(status, method, tag, vias), wire)


def asked(method: str) -> ClientRequest:
    return ClientRequest(
        method, "sip:b@h", "z9hG4bKc", "<sip:a@h>;tag=a", "<sip:b@h>", "call", 7,
        routes="Route: <sip:p;lr>\r\n", extra="X-A: 1\r\n", body=b"body",
    )  # fmt: skip


def answered(status: int, method: str, tag: str = "b", vias: int = 1) -> Response:
    via = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc\r\n" + "Via: SIP/2.0/UDP x\r\n" * (
        vias - 1
    )
    message = parse(
        f"SIP/2.0 {status} X\r\n{via}From: <sip:a@h>;tag=a\r\nTo: <sip:b@h>;tag={tag}\r\n"
        f"Call-ID: call\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message


def incoming(
    method: str,
    branch: str = "z9hG4bKs",
    *,
    cseq: int = 1,
    cseq_method: str = "",
    to_tag: str = "",
    sent_by: str = "192.0.2.9",
    uri: str = "sip:b@h",
    call_id: str = "call",
) -> Request:
    to = f";tag={to_tag}" if to_tag else ""
    message = parse(
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by};branch={branch}\r\n"
        f"From: <sip:a@h>;tag=a\r\nTo: <sip:b@h>{to}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {cseq} {cseq_method or method}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=["udp", "tcp"])
def wire(request: pytest.FixtureRequest, world: World) -> Wire:
    return Wire(world, request.param == "tcp")


@pytest.fixture
def udp(world: World) -> Wire:
    return Wire(world, False)


@pytest.fixture
def tcp(world: World) -> Wire:
    return Wire(world, True)


def close(found: list[float], wanted: list[float]) -> bool:
    """Ticks add up to a few hundredths at most, and are never early."""
    return len(found) == len(wanted) and all(
        0 <= f - w < 0.2 for f, w in zip(found, wanted, strict=True)
    )


# --- figure 5: INVITE client


def test_invite_client_timers_a_and_b(world: World, udp: Wire) -> None:
    client = world.invite(udp)
    assert client.state == CALLING
    world.wait(31.99)
    assert close(udp.times(), [0.0, *TIMER_A_B])
    assert len({text for _, text in udp.sent}) == 1
    assert world.responses == []
    world.wait(0.5)
    assert world.responses == [408]
    assert client.state == TERMINATED
    assert world.idle()


@pytest.mark.parametrize("t1", [0.1, 0.3, 0.7])
def test_sums_that_do_not_come_out_even_add_no_retransmission(t1: float) -> None:
    world = World(t1)
    for method in ("INVITE", "OPTIONS"):
        udp = Wire(world, False)
        world.layer.layer.settings = TimerSettings(t1, 1e9, T4)
        (world.invite if method == "INVITE" else world.send)(udp)
        world.wait(64 * t1 + 1)
        assert len(udp.sent) == 7
    assert world.responses == [408, 408]


def test_invite_client_timer_b_alone_over_tcp(world: World, tcp: Wire) -> None:
    world.invite(tcp)
    world.wait(31.9)
    assert tcp.lines() == ["INVITE"]
    world.wait(0.2)
    assert world.responses == [408]
    assert world.idle()


def test_invite_client_1xx_stops_a_and_b(world: World, wire: Wire) -> None:
    client = world.invite(wire)
    world.answer(wire, 100, "INVITE")
    assert client.state == PROCEEDING
    world.answer(wire, 180, "INVITE")
    world.wait(300)
    assert wire.lines() == ["INVITE"]
    assert world.responses == [100, 180]
    assert client.state == PROCEEDING


@pytest.mark.parametrize("early", [False, True])
def test_invite_client_2xx_and_timer_m(world: World, wire: Wire, early: bool) -> None:
    """RFC 6026: Accepted takes every further 2xx to the user, and nothing else, for 64*T1."""
    client = world.invite(wire)
    if early:
        world.answer(wire, 180, "INVITE")
        world.responses.clear()
    world.answer(wire, 200, "INVITE")
    assert client.state == ACCEPTED
    world.answer(wire, 200, "INVITE")
    world.answer(wire, 202, "INVITE", "fork")
    world.answer(wire, 180, "INVITE")
    world.answer(wire, 486, "INVITE")
    client.transport_error()
    assert world.responses == [200, 200, 202]
    assert wire.lines() == ["INVITE"]
    world.wait(31.9)
    assert client.state == ACCEPTED
    world.wait(0.2)
    assert client.state == TERMINATED
    world.answer(wire, 200, "INVITE")
    assert len(world.responses) == 3
    assert world.layer.unmatched == 1
    assert world.idle()


@pytest.mark.parametrize("early", [False, True])
def test_invite_client_failure_is_acknowledged_until_timer_d(
    world: World, udp: Wire, early: bool
) -> None:
    client = world.invite(udp)
    if early:
        world.answer(udp, 183, "INVITE")
        world.responses.clear()
    world.answer(udp, 486, "INVITE", "final")
    assert client.state == COMPLETED
    world.wait(10)
    world.answer(udp, 486, "INVITE", "final")
    world.answer(udp, 180, "INVITE")
    world.answer(udp, 200, "INVITE")
    assert udp.lines() == ["INVITE", "ACK", "ACK"]
    assert world.responses == [486]
    world.wait(21.9)
    assert client.state == COMPLETED
    world.wait(0.2)
    assert world.idle()


def test_invite_client_timer_d_is_32_s_even_with_a_small_t1() -> None:
    world = World(0.01)
    udp = Wire(world, False)
    world.invite(udp)
    world.answer(udp, 486, "INVITE")
    world.wait(31.9)
    assert not world.idle()
    world.wait(0.2)
    assert world.idle()


def test_invite_client_failure_over_tcp_ends_at_once(world: World, tcp: Wire) -> None:
    client = world.invite(tcp)
    world.answer(tcp, 404, "INVITE")
    assert tcp.lines() == ["INVITE", "ACK"]
    assert client.state == TERMINATED
    assert world.responses == [404]
    assert world.idle()


def test_the_ack_of_a_failure(world: World, udp: Wire) -> None:
    """§17.1.1.3: branch, Request-URI, From, Call-ID, CSeq and Route again; To of the response."""
    world.invite(udp)
    world.answer(udp, 486, "INVITE", "theirs")
    assert udp.sent[1][1] == (
        "ACK sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKc;rport\r\n"
        "Route: <sip:p;lr>\r\nMax-Forwards: 70\r\nFrom: <sip:a@h>;tag=a\r\n"
        "To: <sip:b@h>;tag=theirs\r\nCall-ID: call\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize("early", [False, True])
def test_invite_client_transport_error_counts_as_503(world: World, wire: Wire, early: bool) -> None:
    client = world.invite(wire)
    if early:
        world.answer(wire, 180, "INVITE")
    wire.errors[0]()
    assert world.responses[-1] == 503
    assert client.state == TERMINATED
    wire.errors[0]()
    assert world.responses.count(503) == 1
    assert world.idle()


def test_invite_client_transport_error_of_the_ack(world: World, udp: Wire) -> None:
    client = world.invite(udp)
    world.answer(udp, 486, "INVITE")
    udp.errors[-1]()
    assert client.state == TERMINATED
    assert world.responses == [486]
    assert world.idle()


def test_cancel_waits_for_a_provisional_response(world: World, udp: Wire) -> None:
    """§9.1."""
    client = world.invite(udp)
    client.cancel("Reason: SIP;cause=200\r\n")
    assert udp.lines() == ["INVITE"]
    world.answer(udp, 100, "INVITE")
    client.cancel("")
    world.answer(udp, 180, "INVITE")
    assert udp.lines() == ["INVITE", "CANCEL"]
    cancel = parse(udp.sent[1][1].encode())
    assert isinstance(cancel, Request)
    assert cancel.via.branch == "z9hG4bKc"
    assert (cancel.cseq, cancel.to_tag) == (7, "")
    assert cancel.headers["reason"] == ["SIP;cause=200"]
    assert "x-a" not in cancel.headers
    world.answer(udp, 200, "CANCEL")
    world.answer(udp, 487, "INVITE")
    assert udp.lines() == ["INVITE", "CANCEL", "ACK"]
    assert world.responses == [100, 180, 487]
    world.wait(60)
    assert world.idle()


def test_cancel_gives_up_after_64_t1(world: World, wire: Wire) -> None:
    client = world.invite(wire)
    world.answer(wire, 180, "INVITE")
    world.wait(100)
    client.cancel()
    world.answer(wire, 200, "CANCEL")
    world.wait(31.9)
    assert world.responses == [180]
    world.wait(0.3)
    assert world.responses == [180, 408]
    assert world.idle()


def test_cancel_of_what_is_over_does_nothing(world: World, udp: Wire) -> None:
    client = world.invite(udp)
    world.answer(udp, 200, "INVITE")
    client.cancel()
    assert udp.lines() == ["INVITE"]
    assert not client.cancelling


def test_an_abandoned_invite_runs_its_course(world: World, udp: Wire, tcp: Wire) -> None:
    client = world.invite(udp)
    client.abandon()
    world.answer(udp, 180, "INVITE")
    world.answer(udp, 486, "INVITE")
    world.wait(33)
    world.invite(udp).abandon()
    world.wait(33)
    world.invite(tcp).abandon()
    tcp.errors[-1]()
    world.invite(tcp).abandon()
    world.answer(tcp, 486, "INVITE")
    assert world.responses == []
    assert world.idle()


# --- figure 6: other requests as client


def test_client_timers_e_and_f(world: World, udp: Wire) -> None:
    client = world.send(udp)
    assert client.state == TRYING
    world.wait(31.9)
    assert close(udp.times(), [0.0, *TIMER_E_F])
    world.wait(0.5)
    assert world.responses == [408]
    assert client.state == TERMINATED
    assert world.idle()


def test_client_timer_e_is_t2_once_proceeding(world: World, udp: Wire) -> None:
    client = world.send(udp)
    world.answer(udp, 100, "OPTIONS")
    assert client.state == PROCEEDING
    world.answer(udp, 183, "OPTIONS")
    world.wait(31.9)
    assert close(udp.times(), [0.0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5])
    world.wait(0.5)
    assert world.responses == [100, 183, 408]
    assert world.idle()


def test_client_timer_f_alone_over_tcp(world: World, tcp: Wire) -> None:
    world.send(tcp)
    world.wait(31.9)
    assert tcp.lines() == ["OPTIONS"]
    world.wait(0.2)
    assert world.responses == [408]
    assert world.idle()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("status", [200, 302, 401, 503, 604])
def test_client_final_response_and_timer_k(
    world: World, wire: Wire, status: int, early: bool
) -> None:
    client = world.send(wire)
    if early:
        world.answer(wire, 100, "OPTIONS")
        world.responses.clear()
    world.answer(wire, status, "OPTIONS")
    assert client.state == (TERMINATED if wire.reliable else COMPLETED)
    world.answer(wire, status, "OPTIONS")
    client.transport_error()
    world.wait(4.9)
    assert world.idle() == wire.reliable
    world.wait(0.2)
    assert world.idle()
    assert world.responses == [status]
    assert wire.lines() == ["OPTIONS"]


@pytest.mark.parametrize("early", [False, True])
def test_client_transport_error_counts_as_503(world: World, wire: Wire, early: bool) -> None:
    client = world.send(wire)
    if early:
        world.answer(wire, 100, "OPTIONS")
    wire.errors[0]()
    assert world.responses[-1] == 503
    assert client.state == TERMINATED
    assert world.idle()


def test_a_retransmission_may_find_the_flow_dead(world: World, udp: Wire) -> None:
    world.send(udp)
    world.invite(udp)
    world.wait(0.6)
    for on_error in udp.errors[2:]:
        on_error()
    assert world.responses == [503, 503]
    assert world.idle()


def test_nobody_need_listen(world: World, udp: Wire) -> None:
    for end in (
        lambda: world.answer(udp, 200, "OPTIONS"),
        lambda: udp.errors[-1](),
        lambda: world.wait(33),
    ):
        world.layer.send(asked("OPTIONS"), udp)
        world.answer(udp, 100, "OPTIONS")
        end()
        world.wait(6)
    assert world.idle()


# --- matching responses (§17.1.3, §18.1.2)


def test_responses_of_nobody_are_counted_and_dropped(world: World, udp: Wire) -> None:
    world.answer(udp, 200, "INVITE")
    world.invite(udp)
    world.answer(udp, 200, "OPTIONS")
    world.answer(udp, 200, "CANCEL")
    world.answer(udp, 200, "INVITE", vias=2)
    assert world.responses == []
    assert world.layer.unmatched == 4


# --- figure 7: INVITE server


def serve(world: World, wire: Wire, method: str = "INVITE", **more: str | int) -> ServerTransaction:
    world.layer.receive(incoming(method, **more), wire)  # type: ignore[arg-type]
    return world.requests[-1]


def trying(world: World, wire: Wire) -> InviteServer:
    world.layer.receive(incoming("INVITE"), wire)
    server = world.requests[-1]
    assert isinstance(server, InviteServer)
    server.trying()
    return server


def test_invite_server_says_trying_if_its_user_has_said_nothing(world: World, wire: Wire) -> None:
    """Figure 7: send 100 if TU won't in 200ms."""
    trying(world, wire)
    assert wire.lines() == []
    world.wait(1)
    assert wire.lines() == ["100"]
    assert wire.times() == [pytest.approx(0.2, abs=0.02)]
    assert ";tag=" not in re.search(r"To: [^\r]*", wire.sent[0][1])[0]


@pytest.mark.parametrize("status", [180, 200, 486])
def test_invite_server_does_not_say_trying_after_anything_else(
    world: World, udp: Wire, status: int
) -> None:
    server = trying(world, udp)
    world.wait(0.1)
    server.respond(status)
    server.trying()
    world.wait(0.3)
    assert udp.lines() == [str(status)]


def test_invite_server_says_trying_when_asked_again(world: World, wire: Wire) -> None:
    server = trying(world, wire)
    world.wait(0.1)
    world.layer.receive(incoming("INVITE"), wire)
    assert wire.lines() == ["100"]
    world.wait(1)
    assert wire.lines() == ["100"]
    server.respond(180)
    assert wire.lines() == ["100", "180"]


def test_invite_server_repeats_the_last_provisional(world: World, wire: Wire) -> None:
    server = serve(world, wire)
    assert server.state == PROCEEDING
    world.layer.receive(incoming("INVITE"), wire)
    assert wire.lines() == []
    server.respond(100)
    world.layer.receive(incoming("INVITE"), wire)
    server.respond(180)
    server.respond(183)
    world.layer.receive(incoming("INVITE"), wire)
    assert wire.lines() == ["100", "100", "180", "183", "183"]
    assert len(world.requests) == 1
    world.wait(300)
    assert server.state == PROCEEDING


def test_invite_server_2xx_and_timer_l(world: World, wire: Wire) -> None:
    """RFC 6026: retransmitted INVITEs are absorbed, ACKs go to the user."""
    server = serve(world, wire)
    data = server.respond(200, to_tag="mine", extra="X: 1\r\n", body=b"sdp")
    assert data.endswith(b"\r\nX: 1\r\nContent-Length: 3\r\n\r\nsdp")
    assert server.state == ACCEPTED
    assert server.respond(200) == b""
    assert server.respond(486) == b""
    world.layer.receive(incoming("INVITE"), wire)
    world.layer.receive(incoming("ACK", to_tag="mine"), wire)
    world.layer.receive(incoming("ACK", "z9hG4bKother", to_tag="mine"), wire)
    assert wire.lines() == ["200"]
    assert len(world.acks) == 2
    world.wait(31.9)
    assert server.state == ACCEPTED
    world.wait(0.2)
    assert server.state == TERMINATED
    assert world.idle()


def test_invite_server_timers_g_and_h(world: World, udp: Wire) -> None:
    server = serve(world, udp)
    server.respond(486)
    assert server.state == COMPLETED
    world.wait(31.9)
    assert close(udp.times(), [0.0, *TIMER_E_F])
    world.layer.receive(incoming("INVITE"), udp)
    assert set(udp.lines()) == {"486"}
    world.wait(0.5)
    assert server.state == TERMINATED
    assert world.idle()


def test_invite_server_timer_h_alone_over_tcp(world: World, tcp: Wire) -> None:
    server = serve(world, tcp)
    server.respond(486)
    world.wait(31.9)
    assert tcp.lines() == ["486"]
    assert server.state == COMPLETED
    world.wait(0.2)
    assert world.idle()


def test_invite_server_ack_and_timer_i(world: World, udp: Wire) -> None:
    server = serve(world, udp)
    server.respond(486)
    world.layer.receive(incoming("ACK"), udp)
    assert server.state == CONFIRMED
    world.layer.receive(incoming("INVITE"), udp)
    world.layer.receive(incoming("ACK"), udp)
    world.wait(4.9)
    assert server.state == CONFIRMED
    world.wait(0.2)
    assert udp.lines() == ["486"]
    assert world.acks == []
    assert world.idle()


def test_invite_server_ack_over_tcp_ends_at_once(world: World, tcp: Wire) -> None:
    server = serve(world, tcp)
    server.respond(486)
    world.layer.receive(incoming("ACK"), tcp)
    assert server.state == TERMINATED
    assert world.idle()


def test_an_ack_before_any_final_response_is_absorbed(world: World, udp: Wire) -> None:
    server = serve(world, udp)
    world.layer.receive(incoming("ACK"), udp)
    assert server.state == PROCEEDING
    assert world.acks == []


def test_to_tags(world: World, udp: Wire) -> None:
    """One tag for all responses but 100 (§8.2.6.2), and none beside the request's own."""
    server = serve(world, udp)
    server.respond(100)
    server.respond(180)
    server.respond(486)
    assert "tag=" not in udp.sent[0][1].split("To:")[1].split("\r\n")[0]
    tags = {text.split("To: <sip:b@h>;tag=")[1].split("\r\n")[0] for _, text in udp.sent[1:]}
    assert len(tags) == 1
    inside = serve(world, udp, branch="z9hG4bKin", to_tag="known")
    inside.respond(486)
    assert "To: <sip:b@h>;tag=known\r\n" in udp.sent[-1][1]


# --- figure 8: other requests as server


def test_server_trying_proceeding_completed_and_timer_j(world: World, udp: Wire) -> None:
    server = serve(world, udp, "OPTIONS")
    assert isinstance(server, NonInviteServer)
    assert server.state == TRYING
    world.layer.receive(incoming("OPTIONS"), udp)
    assert udp.lines() == []
    server.respond(100)
    assert server.state == PROCEEDING
    world.layer.receive(incoming("OPTIONS"), udp)
    server.respond(200)
    assert server.state == COMPLETED
    world.layer.receive(incoming("OPTIONS"), udp)
    assert server.respond(500) == b""
    assert udp.lines() == ["100", "100", "200", "200"]
    assert len(world.requests) == 1
    world.wait(31.9)
    assert server.state == COMPLETED
    world.wait(0.2)
    assert server.state == TERMINATED
    assert world.idle()


def test_server_over_tcp_ends_with_its_final_response(world: World, tcp: Wire) -> None:
    server = serve(world, tcp, "OPTIONS")
    server.respond(404, to_tag="t")
    assert server.state == TERMINATED
    assert ";tag=t\r\n" in tcp.sent[0][1]
    server.ack(incoming("ACK"), tcp)
    server.retransmitted()
    assert tcp.lines() == ["404"]
    assert world.idle()


# --- matching requests (§17.2.3, §9.2, §8.2.2.2)


def test_another_sent_by_is_another_transaction(world: World, udp: Wire) -> None:
    serve(world, udp, "OPTIONS")
    serve(world, udp, "OPTIONS", sent_by="192.0.2.9:5070")
    serve(world, udp, "MESSAGE")
    assert len(world.requests) == 3


def test_rfc_2543_matching(world: World, udp: Wire) -> None:
    server = serve(world, udp, branch="1")
    world.layer.receive(incoming("INVITE", "1"), udp)
    assert len(world.requests) == 1
    for branch in ("1", "z9hG4bK"):
        serve(world, udp, branch=branch, call_id=f"call {branch}")
        serve(world, udp, branch=branch, call_id=f"call {branch}", cseq=2)
        serve(world, udp, branch=branch, call_id=f"call {branch}", uri="sip:c@h", cseq=3)
    assert len(world.requests) == 7
    server.respond(486)
    world.layer.receive(incoming("ACK", "1"), udp)
    assert server.state == CONFIRMED
    assert server_key(incoming("ACK", "1")) == server_key(incoming("INVITE", "1"))


@pytest.mark.parametrize("branch", ["z9hG4bKs", "old"])
def test_cancel_of_a_pending_invite(world: World, udp: Wire, branch: str) -> None:
    server = serve(world, udp, branch=branch)
    server.respond(180, to_tag="mine")
    cancel = incoming("CANCEL", branch)
    world.layer.receive(cancel, udp)
    assert world.cancels == [server]
    assert udp.lines() == ["180", "200"]
    assert ";tag=mine\r\n" in udp.sent[1][1]
    world.layer.receive(incoming("CANCEL", branch), udp)
    assert udp.lines() == ["180", "200", "200"]
    assert len(world.cancels) == 1
    server.respond(487)
    world.layer.receive(incoming("ACK", branch), udp)
    world.wait(40)
    assert world.idle()


def test_cancel_of_what_is_answered_or_unknown(world: World, udp: Wire) -> None:
    world.layer.receive(incoming("CANCEL", "z9hG4bKnone"), udp)
    assert udp.lines() == ["481"]
    server = serve(world, udp)
    server.respond(200)
    world.layer.receive(incoming("CANCEL"), udp)
    assert udp.lines() == ["481", "200", "200"]
    assert world.cancels == []
    # An INVITE that nobody has taken up yet has nobody to tell.
    other = serve(world, udp, branch="z9hG4bKother", call_id="other")
    assert isinstance(other, InviteServer)
    other.user = None
    world.layer.receive(incoming("CANCEL", "z9hG4bKother", call_id="other"), udp)
    assert udp.lines()[-1] == "200"
    assert world.cancels == []


def test_a_merged_request_is_refused(world: World, udp: Wire) -> None:
    """§8.2.2.2: the same INVITE by another path is 482, as long as the first is there."""
    server = serve(world, udp)
    world.layer.receive(incoming("INVITE", "z9hG4bKpath2"), udp)
    assert udp.lines() == ["482"]
    assert len(world.requests) == 1
    serve(world, udp, branch="z9hG4bKpath3", to_tag="inside")
    assert len(world.requests) == 2
    server.respond(486)
    world.layer.receive(incoming("ACK"), udp)
    world.wait(6)
    serve(world, udp, branch="z9hG4bKpath4")
    assert len(world.requests) == 3


def test_the_limit(udp: Wire) -> None:
    world = World(most=2)
    serve(world, udp)
    serve(world, udp, "OPTIONS", branch="z9hG4bKo")
    world.layer.receive(incoming("INVITE", "z9hG4bKthird", cseq=2), udp)
    assert udp.lines() == ["503"]
    assert "\r\nRetry-After: 5\r\n" in udp.sent[0][1]
    assert world.layer.refused == 1
    world.layer.receive(incoming("CANCEL", "z9hG4bKnone"), udp)
    assert udp.lines() == ["503", "481"]
    # The call that is being made can still be given up.
    world.layer.receive(incoming("CANCEL"), udp)
    assert udp.lines() == ["503", "481", "200"]
    assert len(world.cancels) == 1


def test_refusals_have_no_state_and_the_same_tag_again(world: World, udp: Wire) -> None:
    """§8.2.7."""
    for method in ("OPTIONS", "INVITE", "ACK"):
        bad = incoming(method, cseq_method="BYE")
        assert bad.defect is not None
        world.layer.receive(bad, udp)
        world.layer.receive(incoming(method, cseq_method="BYE"), udp)
    assert udp.lines() == ["400"] * 4
    assert len({text for _, text in udp.sent[:2]}) == 1
    assert ";tag=" in udp.sent[0][1].split("To:")[1].split("\r\n")[0]
    assert world.idle()


def test_refusals_repeat_what_there_is(world: World, udp: Wire) -> None:
    def refused(text: str) -> str:
        message = parse(text.encode())
        assert isinstance(message, Request)
        world.layer.receive(message, udp)
        return udp.sent.pop()[1] if udp.sent else ""

    via = "Via: SIP/2.0/UDP h1;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP h2\r\n"
    assert refused(f"OPTIONS sip:b SIP/2.0\r\n{via}CSeq: 1 OPTIONS\r\n\r\n") == (
        f"SIP/2.0 400 Missing From\r\n{via}CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    rest = "From: <sip:a@h>\r\nTo: {}\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
    # Nobody to answer.
    assert refused("OPTIONS sip:b SIP/2.0\r\n" + rest.format("<sip:b@h>")) == ""
    assert refused("OPTIONS sip:b SIP/2.0\r\nVia: \r\n" + rest.format("<sip:b@h>")) == ""
    # The parser gives up before it comes to the To, which has a tag or cannot be read.
    for to, wanted in (("<sip:b@h>;tag=1", "<sip:b@h>;tag=1\r\n"), ("<", "<;tag=")):
        assert f"\r\nTo: {wanted}" in refused(f"OPTIONS sip:b SIP/7.0\r\n{via}" + rest.format(to))


def test_who_is_screened_out_leaves_nothing_behind(world: World, udp: Wire) -> None:
    """§26.3.2.4: answered without state, retransmissions too."""
    world.screened = Answer(401, None, "WWW-Authenticate: Digest\r\n")
    for _ in range(2):
        world.layer.receive(incoming("INVITE"), udp)
    world.layer.receive(incoming("ACK"), udp)
    assert udp.lines() == ["401", "401"]
    assert udp.sent[0][1] == udp.sent[1][1]
    assert "\r\nWWW-Authenticate: Digest\r\n" in udp.sent[0][1]
    assert world.requests == []
    assert world.idle()


def test_an_ack_of_nothing_goes_to_the_user(world: World, udp: Wire) -> None:
    world.layer.receive(incoming("ACK", to_tag="x"), udp)
    assert len(world.acks) == 1
    assert world.idle()


def test_default_settings() -> None:
    layer = Transactions(Timers(lambda: 0.0), World())
    assert layer.settings == TimerSettings(0.5, 4.0, 5.0)
    assert layer.layer.timeout == 32.0
