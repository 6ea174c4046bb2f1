"""Transactions fed with messages and timers in any order: nothing raises, nothing stays."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from softswitch.sip.client_transaction import ClientRequest, InviteClient, NonInviteClient
from softswitch.sip.flow import Flow
from softswitch.sip.message import MalformedMessage, Request, Response, response_bytes
from softswitch.sip.parser import parse
from softswitch.sip.server_transaction import InviteServer
from softswitch.sip.timers import Timers
from softswitch.sip.transaction import Answer, ServerTransaction, Transactions

METHODS = st.sampled_from(["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "FOO"])
STATUSES = st.sampled_from([100, 180, 199, 200, 202, 300, 401, 486, 503, 603, 699])
BRANCHES = st.sampled_from(["z9hG4bK1", "z9hG4bK2", "z9hG4bK3", "z9hG4bK", "", "old", '"a b"'])
TAGS = st.sampled_from(["", ";tag=1", ";tag=2"])


class Wire:
    """A flow that keeps the last requests it sent, and its errors to call."""

    remote = ("192.0.2.9", 5060)
    sent_by = "192.0.2.1:5060"
    listener = ""
    peer = ""

    def __init__(self, reliable: bool) -> None:
        self.reliable = reliable
        self.transport = "tcp" if reliable else "udp"
        self.requests: list[bytes] = []
        self.errors: list[Callable[[], None]] = []

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        if b" 400 Missing " in data[:20]:
            # It repeats what was there, and so lacks the same.
            return
        message = parse(data, datagram=False)
        if isinstance(message, Request):
            self.requests = [*self.requests[-5:], data]
        if on_error is not None:
            self.errors = [*self.errors[-5:], on_error]


class Chaos(RuleBasedStateMachine):
    """One layer; its peers and its user know no RFC."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.timers = Timers(lambda: self.now)
        self.layer = Transactions(self.timers, self, max_transactions=6)
        self.wires = [Wire(False), Wire(True)]
        self.servers: list[ServerTransaction] = []
        self.clients: list[InviteClient | NonInviteClient] = []
        self.screened: Answer | None = None
        self.count = 0

    # --- the user

    def screen(self, request: Request, flow: Flow) -> Answer | None:
        return self.screened

    def unreadable(self, flow: Flow) -> bool:
        return True

    def refused(self, request: Request, flow: Flow, status: int, reason: str | None) -> None:
        """Nothing is noted."""

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        assert request.method not in ("ACK", "CANCEL")
        if isinstance(transaction, InviteServer) and request.cseq % 2:
            transaction.user = self
        self.servers.append(transaction)

    def ack(self, request: Request, flow: Flow) -> None:
        assert request.method == "ACK"

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        if request.from_tag:
            transaction.respond(487)

    def heard(self, response: Response) -> None:
        assert 100 <= response.status <= 699
        # A user may start something new from within.
        if response.status == 401 and self.count < 50:
            self.send("OPTIONS", 0)

    @rule(which=st.integers(0, 9), status=STATUSES, tag=st.sampled_from(["", "x"]))
    def respond(self, which: int, status: int, tag: str) -> None:
        if self.servers:
            self.servers[which % len(self.servers)].respond(status, to_tag=tag)

    @rule(status=st.sampled_from([None, 401, 503]))
    def set_screen(self, status: int | None) -> None:
        self.screened = None if status is None else Answer(status)

    @rule(method=METHODS.filter(lambda m: m not in ("ACK", "CANCEL")), wire=st.integers(0, 1))
    def send(self, method: str, wire: int) -> None:
        self.count += 1
        request = ClientRequest(
            method, "sip:b@h", f"z9hG4bKc{self.count}", "<sip:a@h>;tag=1", "<sip:b@h>", "c", 1
        )
        flow = self.wires[wire]
        if method == "INVITE":
            self.clients.append(self.layer.invite(request, flow, self.heard))
        else:
            self.clients.append(self.layer.send(request, flow, self.heard))

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        clients = [c for c in self.clients if isinstance(c, InviteClient)]
        if clients:
            clients[which % len(clients)].cancel("Reason: x\r\n")

    @rule(which=st.integers(0, 9))
    def abandon(self, which: int) -> None:
        clients = [c for c in self.clients if isinstance(c, InviteClient)]
        if clients:
            clients[which % len(clients)].abandon()

    # --- the peers

    @rule(
        method=METHODS, branch=BRANCHES, cseq=st.integers(0, 2), from_tag=TAGS, to_tag=TAGS,
        wire=st.integers(0, 1), cut=st.sampled_from(["", "From:", "To:", "Via:", "Call-ID:"]),
    )  # fmt: skip
    def incoming(
        self, method: str, branch: str, cseq: int, from_tag: str, to_tag: str, wire: int, cut: str
    ) -> None:
        lines = [
            f"{method} sip:b@h SIP/2.0",
            f"Via: SIP/2.0/UDP h;branch={branch}" if branch else "Via: SIP/2.0/UDP h",
            f"From: <sip:a@h>{from_tag}",
            f"To: <sip:b@h>{to_tag}",
            "Call-ID: c",
            f"CSeq: {cseq} {method}",
            "Content-Length: 0\r\n\r\n",
        ]
        text = "\r\n".join(line for line in lines if not cut or not line.startswith(cut))
        self.layer.receive(parse(text.encode()), self.wires[wire])

    @rule(wire=st.integers(0, 1), which=st.integers(0, 5), status=STATUSES, tag=TAGS)
    def answer(self, wire: int, which: int, status: int, tag: str) -> None:
        requests = self.wires[wire].requests
        if not requests:
            return
        request = parse(requests[which % len(requests)])
        assert isinstance(request, Request)
        data = response_bytes(request, status, to_tag=tag[5:])
        try:
            self.layer.receive(parse(data), self.wires[1 - wire])
        except MalformedMessage:
            raise AssertionError("our own response cannot be read") from None

    @rule(wire=st.integers(0, 1), which=st.integers(0, 5))
    def flow_dies(self, wire: int, which: int) -> None:
        errors = self.wires[wire].errors
        if errors:
            errors[which % len(errors)]()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.5, 1.0, 4.0, 5.0, 31.99, 32.0, 64.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.timers.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.timers.advance()
        self.now = end

    @invariant()
    def bounded(self) -> None:
        tables = self.layer.tables()
        # CANCELs of pending INVITEs may go beyond the limit: one each.
        assert tables["server_transactions"] <= 12
        assert tables["merged"] <= tables["server_transactions"]
        assert len(self.timers) <= tables["server_transactions"] + tables["client_transactions"]

    def teardown(self) -> None:
        for server in self.servers:
            server.respond(500)
        for client in self.clients:
            if isinstance(client, InviteClient):
                client.cancel()
        self.count = 1000
        self.time_passes(200.0)
        assert not any(self.layer.tables().values()), self.layer.tables()
        assert len(self.timers) == 0


class Raised(logging.Handler):
    """Turns what a timer raised, which is only logged, into a failure."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage()) from (record.exc_info or (None, None))[1]


@pytest.fixture(autouse=True)
def nothing_is_logged():  # type: ignore[no-untyped-def]
    handler = Raised(level=logging.ERROR)
    logging.getLogger("softswitch").addHandler(handler)
    yield
    logging.getLogger("softswitch").removeHandler(handler)


TestChaos = pytest.mark.usefixtures("nothing_is_logged")(Chaos.TestCase)
TestChaos.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
