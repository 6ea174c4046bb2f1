"""What goes out of who calls, how it rings, and which route is open: as it is seen on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import Message, World

CONFIG = """
switch: {name: hq, listen: ["udp:10.0.0.1:5060"]}
extensions:
  "1001": {name: Ada, password: a}
  "1002": {name: Ben, password: b, caller_id: {number: "+49301002", name: Ben of Acme}}
  "1003": {name: Cleo, password: c, caller_id: {anonymous: true}}
trunks:
  caller:
    to: "sip:10.1.0.1"
    keepalive: 0
    caller_format: {match: "0Z.", strip: 1, prepend: "+49"}
  bare: {to: "sip:10.2.0.1", keepalive: 0}
  pstn:
    to: "sip:10.3.0.1"
    keepalive: 0
    caller_id: {number: "+49300", format: {match: "00.", strip: 2, prepend: "+"}}
    assert_identity: true
  branch: {to: "sip:10.4.0.1", switch: true, keepalive: 0}
dialplan: plan.yaml
"""
PLAN = """
conditions: {night: {hours: 22:00-06:00, time_zone: Europe/Berlin}}
routes:
  - {match: "1XXX", from: any, when: night, dial: extension, caller: {name: "Night: {name}"}}
  - {match: "1XXX", from: any, dial: extension, ring: internal, headers: {Subject: Grüße}}
  - {match: "2.", from: any, dial: "trunk:bare"}
  - {match: "3.", from: any, dial: "trunk:pstn"}
  - {match: "4.", from: any, dial: "trunk:branch"}
  - {match: "5.", from: any, dial: "trunk:pstn", caller: {number: "800", anonymous: false}}
"""
HERE = "10.0.0.1:5060"
NOBODY = '"Anonymous" <sip:anonymous@anonymous.invalid>'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, CONFIG, PLAN)


def invite(world: World, caller: str, number: str, **more: str) -> Message:
    """The INVITE that is sent on; whoever gets it is busy."""
    hosts = {"2": "10.2.0.1", "3": "10.3.0.1", "4": "10.4.0.1", "5": "10.3.0.1"}
    there = hosts.get(number[0])
    callee = world.phone(number, "10.9.0.9") if there is None else world.agent(there)
    phone = caller.isdigit()
    calling = world.phone(caller, "10.9.0.1") if phone else world.agent(caller)
    line = calling.call(number, **more)
    found = callee.line.received[0]
    callee.line.reply(486)
    line.acknowledge(line.last)
    world.end()
    return found


def seen(message: Message) -> tuple[str, str, str]:
    """From, P-Asserted-Identity, Privacy."""
    asserted, privacy = (
        message[name] if name in message else ""  # noqa: SIM401
        for name in ("p-asserted-identity", "privacy")
    )
    return message["from"].partition(";tag")[0], asserted, privacy


@pytest.mark.parametrize(
    ("caller", "number", "from_", "asserted", "privacy"),
    [
        ("1001", "21", f"<sip:1001@{HERE}>", "", ""),
        ("1002", "21", f'"Ben of Acme" <sip:+49301002@{HERE}>', "", ""),
        ("1003", "21", NOBODY, "", ""),
        ("1001", "31", f"<sip:+49300@{HERE}>", f"<sip:+49300@{HERE}>", ""),
        ("1003", "31", NOBODY, f"<sip:+49300@{HERE}>", "id"),
        ("1001", "41", f'"Ada" <sip:1001@{HERE}>', "", ""),
        ("1003", "41", f'"Cleo" <sip:1003@{HERE}>', "", ""),
        ("1003", "51", f"<sip:800@{HERE}>", f"<sip:800@{HERE}>", ""),
    ],
)
def test_what_is_shown_of_a_phone(
    world: World, caller: str, number: str, from_: str, asserted: str, privacy: str
) -> None:
    assert seen(invite(world, caller, number)) == (from_, asserted, privacy)


def test_what_is_shown_of_others(world: World) -> None:
    bob = '"Bob" <sip:0151123@c.example>'
    there = f'"Bob" <sip:+49151123@{HERE}>'
    assert seen(invite(world, "10.1.0.1", "21", from_=bob)) == (there, "", "")
    assert world.events[0].caller == "+49151123"
    assert seen(invite(world, "10.1.0.1", "31", from_=bob)) == (there, there, "")
    abroad = '"Bob" <sip:0033123@c.example>'
    there = f'"Bob" <sip:+33123@{HERE}>'
    assert seen(invite(world, "10.2.0.1", "31", from_=abroad)) == (there, there, "")
    nina = '"Nina" <sip:2001@c.example>'
    assert seen(invite(world, "10.4.0.1", "31", from_=nina))[0] == f"<sip:+49300@{HERE}>"
    private = invite(world, "10.1.0.1", "31", from_=bob, extra="Privacy: id\r\n")
    assert seen(private) == (NOBODY, f'"Bob" <sip:+49151123@{HERE}>', "id")


def test_the_route_that_is_open_and_what_it_adds(world: World) -> None:
    # 23:13 in Berlin.
    night = invite(world, "1001", "1002")
    assert night["from"].startswith('"Night: Ada" <sip:1001@')
    assert "alert-info" not in night
    world.run(7 * 3600 - 13 * 60 - 20 - (world.now - 1_700_000_000.0))
    day = invite(world, "1001", "1002")
    assert day["from"].startswith('"Ada" <sip:1001@')
    assert day["alert-info"] == "<http://127.0.0.1/internal>;info=internal"
    assert day["subject"].encode("utf-8", "surrogateescape").decode() == "Grüße"
