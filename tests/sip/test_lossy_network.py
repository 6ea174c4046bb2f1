"""Two transaction layers on a network that loses, doubles and reorders, for thousands of seeds.

A request completes on both sides with the response that was given, or the client is told 408 at
64*T1 and not before; the user of the server is asked once whatever is doubled; nothing is left.
"""

from __future__ import annotations

import gc
import random
from collections import Counter

import pytest
from fake_network import CALM, Address, Network, Weather

from softswitch.sip.client_transaction import ClientRequest, InviteClient, NonInviteClient
from softswitch.sip.dialog import Dialog, Unacknowledged
from softswitch.sip.flow import Flow
from softswitch.sip.message import Request, Response
from softswitch.sip.server_transaction import InviteServer, NonInviteServer
from softswitch.sip.timers import Timer, Timers
from softswitch.sip.transaction import Answer, ServerTransaction, Transactions

HERE: Address = ("192.0.2.1", 5060)
THERE: Address = ("192.0.2.2", 5060)
OURS = (InviteClient, InviteServer, NonInviteClient, NonInviteServer, Timer, Request, Response,
        ClientRequest, Dialog, Unacknowledged)  # fmt: skip


class Party:
    """A transaction layer, and a user that rings and then answers, as late as it likes."""

    def __init__(self, network: Network, address: Address, status: int = 200) -> None:
        self.network = network
        self.address = address
        self.status = status
        self.rings = True
        self.delay = 0.0
        self.timers = Timers(network.clock)
        self.layer = Transactions(self.timers, self)
        self.asked: Counter[str] = Counter()
        self.acked = 0
        self.unacknowledged: Unacknowledged | None = None
        self.gave_up = False
        network.join(address, self.layer.receive, self.timers)

    def screen(self, request: Request, flow: Flow) -> Answer | None:
        return None

    def unreadable(self, flow: Flow) -> bool:
        return True

    def refused(self, request: Request, flow: Flow, status: int, reason: str | None) -> None:
        """Nothing is noted."""

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        self.asked[request.headers["call-id"][0]] += 1
        if self.rings:
            transaction.respond(180 if request.method == "INVITE" else 100)
        if isinstance(transaction, InviteServer):
            transaction.user = self
        if self.delay:
            self.timers.after(self.delay, lambda: self.answer(transaction, request.cseq))
        else:
            self.answer(transaction, request.cseq)

    def answer(self, transaction: ServerTransaction, cseq: int) -> None:
        data = transaction.respond(self.status, to_tag="b")
        if data and isinstance(transaction, InviteServer) and self.status < 300:
            self.unacknowledged = Unacknowledged(
                self.timers, self.layer.settings, transaction.flow, data, cseq, self.give_up
            )

    def give_up(self) -> None:
        self.gave_up = True

    def ack(self, request: Request, flow: Flow) -> None:
        self.acked += 1
        if self.unacknowledged is not None:
            self.unacknowledged.stop()
            self.unacknowledged = None

    def cancelled(self, transaction: InviteServer, request: Request) -> None:
        transaction.respond(487)

    def idle(self) -> bool:
        return not any(self.layer.tables().values()) and len(self.timers) == 0


class Caller(Party):
    """A party that sends one request and acknowledges each 2xx."""

    def call(self, method: str, *, reliable: bool = False, call_id: str = "call") -> None:
        self.heard: list[tuple[float, int]] = []
        flow = self.network.link(self.address, THERE, reliable=reliable)
        request = ClientRequest(
            method, "sip:b@h", f"z9hG4bK{call_id}", "<sip:a@h>;tag=a", "<sip:b@h>", call_id, 1
        )
        if method != "INVITE":
            self.layer.send(request, flow, self.hear)
            return

        def hear(response: Response) -> None:
            self.hear(response)
            if 200 <= response.status < 300:
                ack = ClientRequest(
                    "ACK", "sip:b@h", f"z9hG4bKack{len(self.heard)}", request.from_,
                    response.headers["to"][0], call_id, 1,
                )  # fmt: skip
                flow.send(ack.encode(flow))

        self.invite = self.layer.invite(request, flow, hear)

    def hear(self, response: Response) -> None:
        self.heard.append((self.network.now, response.status))

    def finals(self) -> list[int]:
        return [status for _, status in self.heard if status >= 200]


def world(seed: int, weather: Weather = CALM, status: int = 200) -> tuple[Network, Caller, Party]:
    network = Network(seed, weather)
    return network, Caller(network, HERE), Party(network, THERE, status)


def weather_of(seed: int) -> Weather:
    chance = random.Random(seed)
    return Weather(
        loss=chance.choice([0.0, 0.1, 0.3, 0.6, 0.9]),
        duplication=chance.choice([0.0, 0.2, 0.8]),
        delay_min=0.0,
        delay_max=chance.choice([0.0, 0.05, 1.0, 6.0]),
    )


def count_ours() -> Counter[str]:
    """What there is of this package's short-lived objects, by type."""
    return Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, OURS))


@pytest.mark.parametrize("block", range(8))
def test_thousands_of_requests(block: int) -> None:
    gc.collect()
    gc.disable()
    try:
        seen: Counter[tuple[str, int]] = Counter()
        for seed in range(block * 250, block * 250 + 250):
            chance = random.Random(seed ^ 0x5EED)
            method = chance.choice(["INVITE", "OPTIONS"])
            status = chance.choice([200, 404, 486, 603])
            reliable = chance.random() < 0.2
            network, caller, callee = world(seed, weather_of(seed), status)
            callee.rings = chance.random() < 0.7
            callee.delay = chance.choice([0.0, 0.0, 3.0, 20.0])
            caller.call(method, reliable=reliable)
            network.run(400.0)
            check(seed, method, status, reliable, network, caller, callee)
            seen[method, caller.finals()[0] if caller.finals() else 0] += 1
            network.run(600.0)
            assert caller.idle(), (seed, caller.layer.tables())
            assert callee.idle(), (seed, callee.layer.tables())
            # The test's own cycle, of parties and their network, is not what is looked for.
            vars(caller).clear()
            vars(callee).clear()
        # The weather was such that both outcomes happened.
        assert seen["INVITE", 200] > 5
        assert seen["OPTIONS", 200] > 5
        assert seen["OPTIONS", 408] > 5
        left = count_ours()
        gc.collect()
        assert left == count_ours(), "reference cycles"
    finally:
        gc.enable()


def check(
    seed: int, method: str, status: int, reliable: bool, network: Network, caller: Caller,
    callee: Party,
) -> None:  # fmt: skip
    weather = network.weather
    finals = caller.finals()
    # Asked once, unless a copy came after the transaction was over.
    late = 2 * weather.delay_max
    assert callee.asked["call"] <= 1 or late > 5.0, seed
    if not finals:
        # Proceeding without end: an INVITE that rang, whose final response was lost in every copy.
        assert method == "INVITE", seed
        assert [s for _, s in caller.heard] == [180] * len(caller.heard), seed
        assert not reliable
        caller.invite.cancel()
        return
    assert set(finals) <= {status, 408}, seed
    when = next(at for at, s in caller.heard if s >= 200)
    if finals[0] == 408:
        # Timer B or F: 64*T1 after the request, and ticks of a hundredth.
        assert 32.0 <= when < 32.2, seed
        assert finals == [408], seed
    else:
        assert callee.asked["call"] == 1 or late > 5.0, seed
        # A failure is told once; a 2xx to an INVITE whenever it comes (RFC 6026).
        if method != "INVITE" or status >= 300:
            assert len(finals) == 1, seed
    if reliable:
        assert finals[0] == status, seed
        assert callee.asked["call"] == 1, seed
        if method == "INVITE" and status >= 300:
            assert network.delivered <= 4, seed


@pytest.mark.parametrize("seed", [3, 4711])
def test_the_same_seed_has_the_same_fate(seed: int) -> None:
    runs = []
    for _ in range(2):
        network, caller, callee = world(seed, Weather(0.4, 0.4, 0.0, 2.0))
        caller.call("INVITE")
        network.run(100.0)
        runs.append((network.sent, caller.heard, callee.acked))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("reliable", [False, True])
def test_an_answered_invite_in_fair_weather(reliable: bool) -> None:
    network, caller, callee = world(1, Weather(0.0, 0.0, 0.01, 0.01))
    caller.call("INVITE", reliable=reliable)
    network.run(1.0)
    assert [s for _, s in caller.heard] == [180, 200]
    assert callee.acked == 1
    assert len(network.sent) == 4
    network.run(40.0)
    assert caller.idle()
    assert callee.idle()


def test_nobody_acknowledges() -> None:
    """§13.3.1.4: the 2xx is sent again up to 64*T1, then its sender is told."""
    network, caller, callee = world(1)
    caller.call("INVITE")
    network.weather = Weather(loss=1.0)
    network.run(31.9)
    answers = [at for at, _, _, data in network.sent if data.startswith(b"SIP/2.0 200")]
    assert len(answers) == 11
    assert not callee.gave_up
    network.run(32.5)
    assert callee.gave_up


def test_cancel_and_answer_cross() -> None:
    """Whichever comes first, the INVITE has one final response and all is over afterwards."""
    outcomes: Counter[int] = Counter()
    for seed in range(500):
        network, caller, callee = world(seed, Weather(0.2, 0.2, 0.0, 1.0))
        callee.delay = 1.5
        caller.call("INVITE")
        network.at(1.0, caller.invite.cancel)
        network.run(300.0)
        finals = set(caller.finals())
        assert len(finals) == 1, seed
        outcomes[finals.pop()] += 1
        assert caller.idle(), seed
        network.run(500.0)
        assert callee.idle(), seed
    assert outcomes[200] > 50
    assert outcomes[487] > 50


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_dead_flow(method: str) -> None:
    network, caller, _ = world(1)
    network.unreachable.add(THERE)
    caller.call(method)
    network.run(1.0)
    assert [s for _, s in caller.heard] == [503]
    assert caller.idle()


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_flow_that_dies_between_retransmissions(method: str) -> None:
    network, caller, _ = world(1, Weather(loss=1.0))
    caller.call(method)
    network.at(2.0, lambda: network.unreachable.add(THERE))
    network.run(10.0)
    assert [s for _, s in caller.heard] == [503]
    assert 3.5 <= caller.heard[0][0] < 3.6
    assert caller.idle()
