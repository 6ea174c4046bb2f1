"""Headers that mean something to the other side go through; those of trust do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, SDP, World
from calls.transfers import BOB, CAROL, phones, refer, talk
from softswitch.calls.passing import IN_RESPONSES, PASSED, any_back, any_in
from softswitch.config.places import ConfigErrors

SAID = (
    "Alert-Info: <http://127.0.0.1/ring>;info=internal\r\nSubject: Lunch\r\nPriority: urgent\r\n"
    "User-to-User: 56a3;encoding=hex\r\nReferred-By: <sip:1004@10.0.0.1>\r\nX-Shop: 7\r\n"
    "P-Asserted-Identity: <sip:boss@10.0.0.1>\r\nIdentity: abc\r\nRemote-Party-ID: <sip:0@x>\r\n"
)
USUAL = {"alert-info", "subject", "priority", "user-to-user"}
NAMES = {*USUAL, "referred-by", "x-shop", "p-asserted-identity", "identity", "remote-party-id"}


def ends(world: World, *lines: object) -> None:
    a, b = lines
    a.cancel()  # type: ignore[attr-defined]
    a.acknowledge(a.find("487 INVITE"))  # type: ignore[attr-defined]
    b.reply(487)  # type: ignore[attr-defined]
    world.rest()


def came(world: World, to: str) -> set[str]:
    """Which of the headers that Alice says come where she calls."""
    alice, bob, _ = phones(world)
    pstn = world.agent("10.2.0.1", "gateway")
    a = alice.call(to, SDP, SAID)
    b = pstn.line if to.startswith("8") else bob.line
    b.reply(180)
    found = {name for name in NAMES if name in b.received[0]}
    ends(world, a, b)
    return found


def test_to_a_phone(world: World) -> None:
    assert came(world, "1002") == USUAL | {"referred-by"}


def test_to_a_carrier(world: World) -> None:
    assert came(world, "85550100") == USUAL


@pytest.mark.parametrize(
    ("alice", "bob", "expected"),
    [
        ("[]", "", set()),
        ("", "[]", set()),
        ("[subject, X-Shop]", "[X-Shop, Priority]", {"x-shop"}),
        ("[X-Shop]", "", set()),
        ("Subject", "", {"subject"}),
    ],
)
def test_as_configured(tmp_path: Path, alice: str, bob: str, expected: set[str]) -> None:
    config = CONFIG
    for name, what in (("Alice", alice), ("Bob", bob)):
        if what:
            config = config.replace(f"{{name: {name},", f"{{name: {name}, pass_headers: {what},")
    assert came(World(tmp_path, config), "1002") == expected


def test_no_more_than_that(tmp_path: Path) -> None:
    world = World(tmp_path, f"{CONFIG}limits: {{max_passed: 60}}\n")
    alice, bob, _ = phones(world)
    a = alice.call(
        "1002", SDP, f"Subject: a\r\nPriority: {'x' * 60}\r\n" + "Warning: 1 x y\r\n" * 9
    )
    b = bob.line
    b.reply(180)
    assert b.received[0]["subject"] == "a"
    assert "priority" not in b.received[0]
    ends(world, a, b)


def test_back(world: World) -> None:
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(180, "", "Alert-Info: <urn:alert:service:call-waiting>\r\nSubject: no\r\n")
    assert a.last["alert-info"] == "<urn:alert:service:call-waiting>"
    assert "subject" not in a.last
    b.reply(200, ANSWER, "User-to-User: 33\r\nP-Asserted-Identity: <sip:x@y>\r\n")
    answer = a.find("200 INVITE")
    assert answer["user-to-user"] == "33"
    assert b"\r\nUser-to-User: 33\r\n" in answer.data, "as it is written, for who looks for that"
    assert "p-asserted-identity" not in answer
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.rest()


def test_the_route_goes_first(tmp_path: Path) -> None:
    plan = 'routes:\n  - {match: "1XXX", dial: extension, headers: {Subject: Ours}}\n'
    world = World(tmp_path, CONFIG, plan)
    alice, bob, _ = phones(world)
    a = alice.call("1002", SDP, "Subject: theirs\r\nPriority: urgent\r\n")
    b = bob.line
    b.reply(180)
    assert b.received[0].headers["subject"] == ["Ours"]
    assert b.received[0]["priority"] == "urgent"
    ends(world, a, b)


def test_who_transfers(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    refer(b, "1003", "Referred-By: <sip:1002@10.0.0.1>\r\n")
    c = carol.line
    assert c.last["referred-by"] == "<sip:1002@10.0.0.1>"
    c.reply(200, CAROL)
    a.reply(200, SDP)
    b.bye()
    a.bye()
    c.reply(200, to="BYE")
    world.rest()
    assert BOB


def test_what_may_not_go_through(tmp_path: Path) -> None:
    config = CONFIG.replace("{name: Bob,", "{name: Bob, pass_headers: [Subjct, Via],")
    with pytest.raises(ConfigErrors, match=r"switch\.yaml:5:\d+.*found `Subjct`.*Subject"):
        World(tmp_path, config)


def test_what_is_looked_for_is_all_of_it() -> None:
    for name in PASSED:
        assert any_in({name: [""]})
    assert not any_in({"via": [""], "from": [""]})
    for name in IN_RESPONSES:
        assert any_back({name: [""]})
    assert not any_back({name: [""] for name in PASSED - IN_RESPONSES})
