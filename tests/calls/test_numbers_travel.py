"""Parameters of a number are no part of it, and travel on to trunks; and who calls, by two
assertions."""

from __future__ import annotations

import pytest

from calls.call_world import SDP, World
from calls.test_answered import parties
from softswitch.events import CallStarted


def invite(world: World, uri: str, extra: str = "") -> None:
    caller, _ = parties(world)
    caller.send(
        f"INVITE {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKn{len(world.wire)}\r\n"
        f"From: Bond, James <sip:007;tgrp=x@a>;tag=1\r\nTo: <sip:x@10.0.0.1>\r\n"
        f"Call-ID: n{len(world.wire)}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
        f"Contact: <sip:a@10.1.0.1:5060>\r\n{extra}Content-Type: application/sdp\r\n",
        SDP,
    )


def test_they_travel_to_trunks(world: World) -> None:
    _, callee = parties(world)
    invite(world, "sip:85550100;npdi;rn=+15550000@10.0.0.1;user=phone")
    sent = callee.line.received[0]
    assert sent.uri == "sip:5550100;npdi;rn=+15550000@10.2.0.1"
    (started,) = world.of(CallStarted)
    assert (started.dialled, started.caller, started.caller_name) == (
        "85550100", "007", "Bond, James",
    )  # fmt: skip
    assert '"Bond, James" <sip:007@' in sent["from"]
    callee.line.reply(486)
    world.end(busy=True)


def test_not_to_phones(world: World) -> None:
    phone = world.phone("1001", "10.9.0.1")
    invite(world, "sip:1001;phone-context=example.com@10.0.0.1;user=phone")
    assert ";phone-context" not in phone.line.received[0].uri
    phone.line.reply(486)
    world.end(busy=True)


def test_not_without_end(world: World) -> None:
    _, callee = parties(world)
    invite(world, f"sip:85550100;x={'y' * 400}@10.0.0.1")
    assert callee.line.received[0].uri == "sip:5550100@10.2.0.1"
    callee.line.reply(486)
    world.end(busy=True)


@pytest.mark.parametrize(
    ("asserted", "who"),
    [
        ('<tel:+1999>, "Verizon, Inc" <sip:+1999@vz>', ("+1999", "Verizon, Inc")),
        ('"N" <sip:+1999@vz>\r\nP-Asserted-Identity: <tel:+1999>', ("+1999", "N")),
        ('<tel:+1999>\r\nP-Asserted-Identity: "N" <sip:+1999@vz>', ("+1999", "N")),
        ('garbage, "N" <sip:+1999@vz>', ("+1999", "N")),
        ("garbage", ("007", "Bond, James")),
    ],
)
def test_who_calls_by_two_assertions(world: World, asserted: str, who: tuple[str, str]) -> None:
    _, callee = parties(world)
    invite(world, "sip:85550100@10.0.0.1", f"P-Asserted-Identity: {asserted}\r\n")
    (started,) = world.of(CallStarted)
    assert (started.caller, started.caller_name) == who
    callee.line.reply(486)
    world.end(busy=True)
