"""Who may call what: callers, the callID, limits, routes, and a call through two switches."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import msgspec
import pytest
from calls.call_world import ANSWER, CONFIG, PLAN, SDP, SDP_TYPE, Agent, World
from calls.conftest import world

from softswitch.calls import CarriedCallID, take_up
from softswitch.dialplan import Surroundings, load_dialplan
from softswitch.events import (
    CallEnded,
    CallRestored,
    CallRouted,
    CallStarted,
    Event,
    LegEnded,
    LegInvited,
)
from softswitch.hookspecs import hookimpl
from softswitch.sip import parse_uri
from softswitch.sip.digest import answer

__all__ = ["world"]

FORGED = "0199c0de-0000-7000-8000-000000000001"


def trunk(world: World) -> Agent:
    return world.agent("10.1.0.1", "alice")


def hang_up(a, b) -> None:
    a.ack()
    a.bye()
    b.reply(200, to="BYE")


# --- callers -------------------------------------------------------------------------------------


def test_a_phone_calls_with_its_password(world: World) -> None:
    phone = world.phone("1001", "10.9.0.1")
    bob = world.phone("1002", "10.9.0.2")
    a = phone.call("1002", from_='"The President" <sip:+15550000@elsewhere>')
    b = bob.line
    started = world.events[0]
    assert (started.party, started.caller, started.caller_name) == (
        "extension:1001",
        "1001",
        "Alice",
    )
    assert b.received[0]["from"].startswith('"Alice" <sip:1001@10.0.0.1:5060>')
    assert b.received[0].uri == "sip:1002@10.9.0.2:5060"
    assert "authorization" not in b.received[0]
    b.reply(200, ANSWER)
    hang_up(a, b)
    world.end()
    assert world.of(LegInvited)[0].party == "extension:1002"


def test_a_wrong_password(world: World) -> None:
    phone = world.agent("10.9.0.1", "1001")
    phone.password = "wrong"
    a = phone.call("1002")
    assert a.what == ["401 INVITE"]
    assert "stale" not in a.last["www-authenticate"].lower()
    a.acknowledge(a.last)
    world.end()
    assert world.events == []


def test_a_stale_nonce(world: World) -> None:
    phone = world.phone("1001", "10.9.0.1")
    bob = world.phone("1002", "10.9.0.2")
    first = phone.request("REGISTER", uri="sip:10.0.0.1")["www-authenticate"]
    world.run(301)
    value = answer(first, "INVITE", "sip:1002@10.0.0.1:5060", "1001", "a", "cn", 1)
    phone.password = ""
    a = phone.call("1002", extra=f"Authorization: {value}\r\n")
    assert a.what == ["401 INVITE"]
    assert "stale=true" in a.last["www-authenticate"].lower()
    a.acknowledge(a.last)
    phone.password = "a"
    a = phone.call("1002")
    bob.line.reply(486)
    a.acknowledge(a.last)
    world.end()
    assert len(world.of(CallStarted)) == 1


def test_a_stranger_learns_nothing_and_costs_nothing(world: World) -> None:
    """Unknown extension, unknown number, unknown method of entry: the same 401 as for a phone."""
    stranger = world.agent("10.66.6.6", "eve")
    answers = []
    for number in ("1001", "9999", "95550100"):
        a = stranger.call(number, from_=f"<sip:{number}@10.0.0.1>")
        assert a.what == ["401 INVITE"]
        answers.append(re.sub(r'nonce="[^"]*"', "", a.last["www-authenticate"]))
    assert len(set(answers)) == 1
    for method in ("REGISTER",):
        assert stranger.request(method, uri="sip:10.0.0.1").status == 401
    assert world.events == []
    assert not any(world.switch.tables().values()), "not even a transaction"
    world.end()


def test_registering_for_someone_else(world: World) -> None:
    phone = world.agent("10.9.0.1", "1001")
    phone.password = "a"
    challenge = phone.request("REGISTER", uri="sip:10.0.0.1")["www-authenticate"]
    value = answer(challenge, "REGISTER", "sip:10.0.0.1", "1001", "a", "cn")
    phone.name = "1002"
    lines = f"Contact: <sip:1002@10.9.0.1>\r\nAuthorization: {value}\r\n"
    assert phone.request("REGISTER", lines, "sip:10.0.0.1").status == 403
    assert world.switch.tables()["bindings"] == 0
    world.end()


def test_a_trunk_is_its_address(world: World) -> None:
    """pstn calls from a network of its own too; the port counts for those that name one."""
    phone = world.phone("1001", "10.9.0.1")
    a = world.agent("10.2.0.77", "carrier", 5099).call("1001")
    assert world.events[0].party == "trunk:pstn"
    phone.line.reply(486)
    a.acknowledge(a.last)
    b = world.agent("10.1.0.1", "alice", 5099).call("1001")
    assert b.what == ["401 INVITE"], "the address of trunk caller, from another port"
    world.end()


def test_who_a_trunk_says_is_calling(world: World) -> None:
    phone = world.phone("1001", "10.9.0.1")
    for extra, from_, number, name, shown in (
        ("", "<sip:+4930123@c.example>", "+4930123", "", "<sip:+4930123@10.0.0.1:5060>"),
        (
            'P-Asserted-Identity: "Q \\"x\\"" <sip:77@c.example>, <tel:+4977>\r\n',
            "<sip:anonymous@anonymous.invalid>",
            "77",
            'Q "x"',
            '"Q \\"x\\"" <sip:77@10.0.0.1:5060>',
        ),
        ("P-Asserted-Identity: <<\r\n", "<sip:5@c>", "5", "", "<sip:5@10.0.0.1:5060>"),
        ("", "<sip:192.0.2.1>", "", "", "<sip:10.0.0.1:5060>"),
        ("", "<tel:+49-30-123>", "+4930123", "", "<sip:+4930123@10.0.0.1:5060>"),
        ("", "<sip:a%20b@c>", "a b", "", "<sip:a%20b@10.0.0.1:5060>"),
    ):
        world.events.clear()
        a = trunk(world).call("1001", extra=extra, from_=from_)
        assert (world.events[0].caller, world.events[0].caller_name) == (number, name)
        assert phone.line.received[0]["from"].partition(";tag")[0] == shown
        phone.line.reply(486)
        a.acknowledge(a.last)
        world.end()


def test_privacy(world: World) -> None:
    """RFC 3323: phones and carriers see nobody; our switches see who, and that it is private."""
    phone, branch = world.phone("1001", "10.9.0.1"), world.agent("10.0.0.2", "branch")
    pstn = world.agent("10.2.0.1")
    identity = 'P-Asserted-Identity: "Al" <sip:77@x>\r\nPrivacy: id\r\n'
    for number, callee in (("1001", phone), ("85", pstn)):
        a = trunk(world).call(number, extra=identity)
        assert "anonymous.invalid" in callee.line.received[0]["from"]
        assert b"77" not in callee.line.received[0].data
        assert b"alice" not in callee.line.received[0].data
        callee.line.reply(486)
        a.acknowledge(a.last)
    a = trunk(world).call("2001", extra=identity)
    invite = branch.line.received[0]
    assert invite["privacy"] == "id"
    assert invite["p-asserted-identity"] == '"Al" <sip:77@10.0.0.1:5060>'
    branch.line.reply(486)
    a.acknowledge(a.last)
    a = trunk(world).call("1001", extra="Privacy: none\r\n")
    assert "alice" in phone.line.received[0]["from"]
    phone.line.reply(486)
    a.acknowledge(a.last)
    world.end()


# --- the callID ----------------------------------------------------------------------------------


def test_the_call_id_is_made_and_travels_to_switches_only(world: World) -> None:
    branch, pstn = world.agent("10.0.0.2"), world.agent("10.2.0.1")
    phone = world.phone("1001", "10.9.0.1")
    for number, callee in (("2001", branch), ("85550100", pstn), ("1001", phone)):
        world.events.clear()
        a = trunk(world).call(number)
        made = world.events[0].call_id
        assert uuid.UUID(made).version == 7
        assert int(made.replace("-", "")[:12], 16) == pytest.approx(world.now * 1000, abs=2)
        invite = callee.line.received[0]
        if callee is branch:
            assert invite["x-cds-call-id"] == f'{made};owner=hq;legs="hq/1"'
        else:
            assert "x-cds-call-id" not in invite
            assert made.encode() not in invite.data
        callee.line.reply(486)
        assert made.encode() not in a.last.data
        a.acknowledge(a.last)
        world.end()


def test_the_call_id_is_believed_from_switches_only(world: World) -> None:
    phone, branch, carrier = (
        world.phone("1001", "10.9.0.1"),
        world.agent("10.0.0.2", "5"),
        world.agent("10.2.0.1", "6"),
    )
    header = f"X-CDS-Call-ID: {FORGED};owner=branch\r\n"
    caller = world.phone("1002", "10.9.0.2")
    for source in (caller, carrier, trunk(world), branch):
        world.events.clear()
        a = source.call("1001", extra=header)
        started = world.events[0]
        believed = source is branch
        assert (started.call_id == FORGED) == believed
        assert started.owner == ("branch" if believed else "hq")
        assert started.origin is not believed
        assert "x-cds-call-id" not in phone.line.received[0]
        phone.line.reply(486)
        a.acknowledge(a.last)
        world.end()


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"{FORGED}x",
        f"{FORGED};owner=",
        f"{FORGED[:-1]};owner=x",
        f"{FORGED};owner=a b",
        f"{FORGED}; owner=-x",
        f"{FORGED};owner={'x' * 65}",
        "x" * 5000,
    ],
)
def test_a_malformed_call_id_is_as_good_as_none(world: World, value: str) -> None:
    phone = world.phone("1001", "10.9.0.1")
    a = world.agent("10.0.0.2", "5").call("1001", extra=f"X-CDS-Call-ID: {value}\r\n")
    assert world.events[0].origin
    assert world.events[0].owner == "hq"
    phone.line.reply(486)
    a.acknowledge(a.last)
    world.end()


def test_the_call_id_goes_on_from_switch_to_switch(world: World, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    config = CONFIG.replace(
        "trunks:",
        '  "2001": {password: x}\ntrunks:\n  third: {to: "sip:10.0.0.3:5060", switch: true}',
    )
    plan = PLAN + '  - {match: "3XXX", from: any, dial: "trunk:third"}\n'
    world = World(tmp_path / "more", config, plan)
    third = world.agent("10.0.0.3")
    a = world.agent("10.0.0.2", "b").call(
        "3001", extra=f"X-CDS-Call-ID: {FORGED.upper()} ; owner=x.y\r\n"
    )
    assert third.line.received[0]["x-cds-call-id"] == f'{FORGED};owner=x.y;legs="hq/1"'
    third.line.reply(486)
    a.acknowledge(a.last)
    world.end()


def test_a_call_that_begins_at_a_switch_without_a_server(world: World, tmp_path: Path) -> None:
    """The first switch that has one tells of it as a whole, and is named to the next ones; also to
    itself, should the call come back."""
    (tmp_path / "more").mkdir()
    config = CONFIG.replace("trunks:", 'trunks:\n  third: {to: "sip:10.0.0.3:5060", switch: true}')
    plan = PLAN + '  - {match: "3XXX", from: any, dial: "trunk:third"}\n'
    world = World(tmp_path / "more", config, plan)
    third, annex = world.agent("10.0.0.3"), world.agent("10.0.0.2", "b")
    header, begun = f'{FORGED};legs="annex/1"', []
    for leg in (1, 3):
        a = annex.call("3001", extra=f"X-CDS-Call-ID: {header}\r\n")
        begun.append(world.of(CallStarted)[-1])
        header = third.line.received[0]["x-cds-call-id"]
        assert header.startswith(f'{FORGED};owner=hq;legs="annex/1 ')
        assert header.endswith(f'hq/{leg}"')
        if leg == 3:
            third.line.reply(486)
            a.acknowledge(a.last)
    assert [(e.call_id, e.owner, e.origin) for e in begun] == [
        (FORGED, "hq", True),
        (FORGED, "hq", False),
    ]
    assert [e.came for e in begun] == ["annex/1", "annex/1 hq/1"]


@pytest.mark.parametrize(
    ("owner", "server", "goes_on"),
    [
        ("", "hq", ("hq", True)),
        ("x", "hq", ("x", False)),
        ("x", "", ("x", False)),
        ("", "", ("", False)),
    ],
)
def test_who_takes_up_a_call(owner: str, server: str, goes_on: tuple[str, bool]) -> None:
    named, first = take_up(CarriedCallID(FORGED, owner, "annex/1"), server)
    assert (named.call_id, named.legs, named.owner, first) == (FORGED, "annex/1", *goes_on)


# --- two switches --------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> World:
    """hq and branch; branch sends 21XX back to hq as 11XX, which are hq's phones."""
    world = World(tmp_path, CONFIG.replace('"1004"', '"1101": {password: b}\n  "1004"'))
    world.add_switch(
        "branch",
        ("10.0.0.2", 5060),
        'switch: {name: branch, listen: ["udp:10.0.0.2:5060"]}\n'
        'extensions: {"2001": {password: c}}\n'
        'trunks: {hq: {to: "sip:10.0.0.1:5060", switch: true, keepalive: 0}}\n'
        "dialplan: plan.yaml\n",
        "routes:\n"
        '  - {match: "21XX", strip: 2, prepend: "11", dial: "trunk:hq"}\n'
        '  - {match: "22XX", dial: "trunk:hq"}\n'
        '  - {match: "20XX", dial: extension}\n',
    ).opened()
    return world


def test_a_call_through_two_switches(pair: World) -> None:
    phone = pair.agent("10.9.0.9", "2001")
    phone.password, phone.switch = "c", ("10.0.0.2", 5060)
    phone.register()
    a = trunk(pair).call("2001", hops="10")
    b = phone.line
    assert b.received[0]["max-forwards"] == "8"
    b.reply(180)
    b.reply(200, ANSWER)
    hang_up(a, b)
    pair.end()
    first, second = pair.of(CallStarted)
    assert first.call_id == second.call_id
    assert (first.switch, first.owner, first.origin) == ("hq", "hq", True)
    assert (second.switch, second.owner, second.origin) == ("branch", "hq", False)
    assert second.party == "trunk:hq"
    assert [e.hangup_by for e in pair.of(CallEnded)] == ["caller", "caller"]


def test_a_call_that_comes_back(pair: World) -> None:
    phone = pair.agent("10.9.0.1", "1101")
    phone.password = "b"
    phone.register()
    a = trunk(pair).call("2101")
    b = phone.line
    b.reply(200, ANSWER)
    hang_up(a, b)
    pair.end()
    assert len({event.call_id for event in pair.events}) == 1
    assert [(e.switch, e.leg) for e in pair.of(CallStarted)] == [
        ("hq", 0),
        ("branch", 0),
        ("hq", 2),
    ]
    assert [(e.switch, e.leg) for e in pair.of(LegInvited)] == [
        ("hq", 1),
        ("branch", 1),
        ("hq", 3),
    ]
    assert sorted((e.switch, e.leg) for e in pair.of(CallEnded)) == [
        ("branch", 0),
        ("hq", 0),
        ("hq", 2),
    ]


def test_a_call_that_goes_round_for_ever(pair: World) -> None:
    """hq sends 22XX to branch, branch sends it back: Max-Forwards ends it, and all is told."""
    a = trunk(pair).call("2201", hops="9")
    assert a.last.what == "483 INVITE"
    a.acknowledge(a.last)
    pair.end(idle=400)
    # Nine that went on, and the last, which the switch would not take.
    assert len(pair.of(CallStarted)) == len(pair.of(CallEnded)) == 10
    assert len({event.call_id for event in pair.events}) == 1


def test_a_call_that_comes_back_when_it_is_over(pair: World) -> None:
    """Given up at once, while its INVITE is on the way back: its numbers are not used twice."""
    phone = pair.agent("10.9.0.1", "1101")
    phone.password = "b"
    phone.register()
    pair.delay = 0.0
    held: list[tuple] = []
    carry, pair.carry = (
        pair.carry,
        lambda *m: held.append(m) if m[1][0] == "10.0.0.2" else carry(*m),
    )
    a = trunk(pair).call("2101")
    a.cancel()
    a.acknowledge(a.last)
    pair.carry = carry
    pair.run(3)
    for message in held:
        carry(*message)
    pair.run(1)
    assert phone.line.what[0] == "INVITE"
    phone.line.reply(486)
    pair.end(idle=400)
    assert [e.leg for e in pair.of(CallStarted) if e.switch == "hq"] == [0, 2]


# --- routes and limits ---------------------------------------------------------------------------


def test_no_route_a_rejecting_route_and_nobody_there(world: World) -> None:
    carrier = trunk(world)
    for number, status, reason, disposition in (
        ("777", 404, "No Route", "failed"),
        ("666", 403, "Not You", "rejected"),
        ("1001", 480, "Not Registered", "no-answer"),
        ("1999", 404, "Not Found", "failed"),
    ):
        world.events.clear()
        a = carrier.call(number)
        assert a.last.start == f"SIP/2.0 {status} {reason}"
        a.acknowledge(a.last)
        world.end()
        ended = world.ended
        assert (ended.disposition, ended.sip_status, ended.hangup_by) == (
            disposition,
            status,
            "switch",
        )


def test_what_a_route_sets_is_told(world: World) -> None:
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("95550100")
    (routed,) = world.of(CallRouted)
    assert routed.match == "9."
    assert routed.number == "5550100"
    assert routed.properties == {"account": "outbound"}
    assert routed.once == {}
    assert re.fullmatch(r".*plan\.yaml:\d+", routed.where)
    pstn.line.reply(486)
    a.acknowledge(a.last)
    world.end()


def test_what_a_route_sets_once_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, plan=PLAN.replace("set: {acc", "set_once: {acc"), journal=True)
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("95550100")
    (routed,) = world.of(CallRouted)
    assert (routed.properties, routed.once) == ({}, {"account": "outbound"})
    pstn.line.reply(200, ANSWER)
    a.ack()
    world.restart()
    (restored,) = world.of(CallRestored)
    assert routed in restored.told
    a.bye()
    pstn.line.reply(200, to="BYE")
    world.end()


def test_events_of_before_there_was_once_are_read() -> None:
    """From the spool or the journal of an older switch."""
    now = CallRouted(
        call_id="c", at=1, switch="hq", match="X", where="x:1", number="1", properties={"a": "b"}
    )
    before = {name: value for name, value in msgspec.to_builtins(now).items() if name != "once"}
    assert len(before) == 9
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=Event) == now


def test_a_request_uri_without_a_number(world: World) -> None:
    a = trunk(world).call("x", to="<sip:10.0.0.1>")
    a.acknowledge(a.last)
    line = a.agent.call("77\u00fc" * 3)
    assert line.last.status in (400, 404)
    world.end()


def test_max_forwards(world: World) -> None:
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("85550100", hops="0")
    assert a.what == ["483 INVITE"]
    a.acknowledge(a.last)
    for given, sent in (("1", "0"), ("70", "69"), ("", "69"), ("255", "254")):
        a = trunk(world).call("85550100", hops=given)
        assert pstn.line.received[0]["max-forwards"] == sent
        pstn.line.reply(486)
        a.acknowledge(a.last)
    world.end()


def test_what_the_switch_does_not_understand(world: World) -> None:
    carrier = trunk(world)
    a = carrier.call("1001", extra="Require: 100rel, foo\r\nProxy-Require: bar\r\n")
    assert a.last.what == "420 INVITE"
    assert a.last["unsupported"] == "foo, bar"
    a.acknowledge(a.last)
    a = carrier.call("1001", body="x", extra="Content-Type: text/plain\r\n")
    assert a.last.what == "415 INVITE"
    assert "application/sdp" in a.last["accept"]
    a.acknowledge(a.last)
    a = carrier.call("1001", extra="Contact: <sip:second@10.1.0.1>\r\n")
    assert a.last.what == "400 INVITE"
    a.acknowledge(a.last)
    world.end()
    assert [e.sip_status for e in world.of(CallEnded)] == [420, 415, 400]


def test_methods_outside_of_a_dialog(world: World) -> None:
    carrier = trunk(world)
    options = carrier.request("OPTIONS")
    assert options.status == 200
    assert options["accept"] == "application/sdp"
    assert "INVITE" in options["allow"]
    assert carrier.request("OPTIONS", "Require: foo\r\n").status == 420
    for method in ("PRACK", "REFER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "INFO", "UPDATE", "MESSAGE"):
        response = carrier.request(method)
        # A carrier may not watch, and writes to nobody here.
        known = {"SUBSCRIBE": 403, "PUBLISH": 489, "MESSAGE": 404}.get(method)
        assert response.status in ((known,) if known else (401, 405, 481)), response.start
        if response.status == 405:
            assert "INVITE" in response["allow"]
    assert carrier.request("BYE").status == 481
    assert carrier.request("DANCE").status == 501
    world.end()


def test_the_limit_of_a_trunk(world: World) -> None:
    pstn, backup, phone = (
        world.agent("10.2.0.1", "p"),
        world.agent("10.3.0.1"),
        world.phone("1001", "10.9.0.1"),
    )
    calls = [trunk(world).call("95550100") for _ in range(5)]
    assert len(pstn.lines) == 5
    assert world.switch.trunks.calls("pstn") == 5
    sixth = trunk(world).call("95550100")
    assert len(pstn.lines) == 5
    assert backup.line.what == ["INVITE"], "the next trunk takes what the first cannot"
    incoming = pstn.call("1001")
    assert incoming.last.start == "SIP/2.0 503 Too Many Calls At Once"
    incoming.acknowledge(incoming.last)
    assert phone.lines == []
    for a in (*calls, sixth):
        a.cancel()
        a.acknowledge(a.last)
    for b in (*pstn.lines[:5], backup.line):
        b.reply(180)
        b.reply(487)
    world.end()


def test_the_limit_of_an_extension(world: World) -> None:
    """It counts calls, not phones: all phones of an extension ring for its one call."""
    desk, mobile = world.phone("1004", "10.9.0.1"), world.phone("1004", "10.9.0.2")
    a = trunk(world).call("1004")
    assert [len(desk.lines), len(mobile.lines)] == [1, 1]
    second = trunk(world).call("1004")
    assert second.last.what == "486 INVITE"
    second.acknowledge(second.last)
    desk.line.reply(486)
    second = trunk(world).call("1004")
    assert second.last.what == "486 INVITE", "the other phone still rings"
    second.acknowledge(second.last)
    mobile.line.reply(200, ANSWER)
    own = desk.call("1001")
    assert own.last.status == 503
    own.acknowledge(own.last)
    hang_up(a, mobile.line)
    own = desk.call("1004")
    assert own.last.what == "486 INVITE", "who calls himself is busy"
    own.acknowledge(own.last)
    world.end()


def test_the_limit_of_the_switch(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "limits: {max_calls: 2}\n")
    pstn = world.agent("10.2.0.1")
    calls = [trunk(world).call("85550100") for _ in range(2)]
    third = trunk(world).call("85550100")
    assert third.what == ["503 INVITE"]
    assert "retry-after" in third.last
    third.acknowledge(third.last)
    for a, b in zip(calls, pstn.lines, strict=True):
        b.reply(200, ANSWER)
        hang_up(a, b)
    a = trunk(world).call("85550100")
    pstn.line.reply(200, ANSWER)
    hang_up(a, pstn.line)
    world.end()
    assert [e.sip_status for e in world.of(CallEnded)] == [503, 200, 200, 200]


def test_draining(world: World) -> None:
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("85550100")
    idle: list[bool] = []
    world.switch.on_idle = lambda: idle.append(True)
    world.switch.drain()
    assert trunk(world).request("OPTIONS").status == 503
    b = trunk(world).call("85550100")
    assert b.what == ["503 INVITE"]
    b.acknowledge(b.last)
    pstn.line.reply(200, ANSWER)
    a.ack()
    assert not idle
    a.bye()
    assert idle
    pstn.line.reply(200, to="BYE")
    world.end()
    assert [e.sip_status for e in world.of(CallEnded)] == [503, 200]


def test_all_calls_are_hung_up_at_the_end(world: World) -> None:
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("85550100")
    first = pstn.line
    first.reply(200, ANSWER)
    a.ack()
    b = trunk(world).call("85550100")
    pstn.line.reply(180)
    world.switch.hang_up_all("the switch is stopping")
    world.settle()
    assert a.last.what == first.last.what == "BYE"
    assert b.last.what == "503 INVITE"
    assert pstn.line.last.what == "CANCEL"
    for line in (a, first):
        assert "stopping" in line.last["reason"]
        line.reply(200, to="BYE")
    b.acknowledge(b.last)
    pstn.line.reply(487)
    world.end()
    assert [e.hangup_by for e in world.of(CallEnded)] == ["switch", "switch"]
    assert {e.by for e in world.of(LegEnded)} == {"switch"}


def test_a_phone_behind_nat_is_called_where_its_messages_come_from(world: World) -> None:
    phone = world.agent("10.9.0.1", "1001")
    phone.password = "a"
    phone.register("<sip:1001@192.168.1.5:5060>")
    a = trunk(world).call("1001")
    b = phone.line
    assert b.received[0].uri == "sip:1001@192.168.1.5:5060"
    b.contact = "Contact: <sip:1001@192.168.1.5:5060>\r\n"
    b.reply(200, ANSWER)
    a.ack()
    assert b.last.what == "ACK"
    # Its router forgets it and gives it another port; its next re-INVITE says so.
    moved = world.agent("10.9.0.1", "1001", 6000)
    b.agent = moved
    moved.lines = [b]
    b.invite(SDP)
    a.reply(200, ANSWER)
    b.ack()
    a.bye()
    assert b.last.what == "BYE"
    assert b.last.target == ("10.9.0.1", 6000)
    b.reply(200, to="BYE")
    world.end()


def test_text_that_is_no_utf8_becomes_text(world: World) -> None:
    """Old gateways send Latin-1 names; an event must be encodable all the same."""
    import msgspec

    phone = world.phone("1001", "10.9.0.1")
    carrier = trunk(world)
    data = (
        "INVITE sip:1001@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKlatin\r\n"
        'From: "J\xfcrgen" <sip:5@10.1.0.1>;tag=l\r\nTo: <sip:1001@10.0.0.1>\r\nCall-ID: l\xfc\r\n'
        "CSeq: 1 INVITE\r\nContact: <sip:5@10.1.0.1>\r\nUser-Agent: B\xf6x\r\nMax-Forwards: 70\r\n"
        f"{SDP_TYPE}Content-Length: {len(SDP)}\r\n\r\n{SDP}"
    ).encode("latin-1")
    world.carry(data, carrier.address, ("10.0.0.1", 5060))
    world.settle()
    b = phone.line
    b.reply(486, extra="Reason: x\r\n")
    started = world.events[0]
    assert (started.caller_name, started.user_agent) == ("Jürgen", "Böx")
    assert all(msgspec.msgpack.encode(event) for event in world.events)
    world.end()


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_nobody_smuggles_header_lines_through(world: World, end: str) -> None:
    """Some peers take a bare LF or CR for the end of a line: what is passed on must hold none."""
    pstn = world.agent("10.2.0.1")
    evil = f"{end}X-CDS-Call-ID: {FORGED};owner=evil"
    a = trunk(world).call("85550100", extra=f"Content-Type: application/sdp{evil}\r\n")
    for message in pstn.inbox:
        head = message.data.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")
        assert b"\n" not in head
        assert b"\r" not in head
    if pstn.lines:
        pstn.line.reply(486)
    a.acknowledge(a.last)
    a = trunk(world).call("85550100")
    pstn.line.reply(180, extra=f"User-Agent: x{evil}\r\n", reason=f"Ringing{end}X: y")
    pstn.line.reply(486, extra=f"Reason: x{evil}\r\n", reason=f"Busy{end}X: y")
    for message in a.received:
        head = message.data.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")
        assert b"\n" not in head
        assert b"\r" not in head
    world.dead |= {a.agent.address, pstn.address}
    world.end()


def test_where_nothing_can_be_played(tmp_path: Path) -> None:
    """`play` after a busy phone leaves the caller with what the phone said; by itself it fails."""
    plan = """routes:
  - {match: "1XXX", from: any, dial: extension, timeout: 5, else: {play: echo}}
  - {match: "*43", from: any, play: echo}
"""
    world = World(tmp_path)
    (tmp_path / "played.yaml").write_text(plan)
    around = Surroundings(frozenset({"1001"}), {})
    world.switch.dialplan = load_dialplan(tmp_path / "played.yaml", around)
    phone = world.phone("1001", "10.9.0.1")
    a = trunk(world).call("1001")
    phone.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    assert world.ended.hangup_by == "callee"
    world.events.clear()
    a = trunk(world).call("*43")
    assert a.last.start == "SIP/2.0 503 No Media Worker"
    a.acknowledge(a.last)
    world.end()


def test_the_limit_of_dialogs(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "limits: {max_dialogs: 2}\n")
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("85550100")
    b = trunk(world).call("85550100")
    assert b.last.start == "SIP/2.0 503 Too Many Dialogs"
    b.acknowledge(b.last)
    pstn.line.reply(200, ANSWER)
    hang_up(a, pstn.line)
    world.end()
    assert [e.sip_status for e in world.of(CallEnded)] == [503, 200]


def test_a_plugin_that_fails_fails_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)

    class Broken:
        @hookimpl
        def call_event(self, event: object) -> None:
            raise RuntimeError("plugin bug")

    world.plugins.register(Broken(), "broken")
    pstn = world.agent("10.2.0.1")
    a = trunk(world).call("85550100")
    pstn.line.reply(200, ANSWER)
    hang_up(a, pstn.line)
    world.end(busy=True)  # the tracebacks in the log keep their frames
    assert not any(world.switch.tables().values())
    assert len(world.events) == len([r for r in caplog.records if "broken" in r.getMessage()]) == 9


def test_credentials_that_cannot_be_read(world: World) -> None:
    phone = world.agent("10.9.0.1", "1001")
    for value in ("Digest", "Digest username=", "Basic YTpi", 'Digest username="1001", realm="x"'):
        a = phone.call("1002", extra=f"Authorization: {value}\r\n")
        assert a.last.status in (400, 401)
        a.acknowledge(a.last)
    world.end()
    assert world.events == []


def test_texts_of_peers_are_fit_to_be_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Control characters and 50 kB reach neither the other side nor the events nor the journal."""
    site = World(tmp_path, journal=True)
    phone = site.phone("1001", "10.9.0.1")
    long = "\x1b[31m" + "x" * 50_000
    a = trunk(site).call(
        "1001",
        extra=f"User-Agent: {long}\r\n",
        from_='"Al\x1b[2Jice\x07" <sip:5%1B5%00@c.example>',
    )
    b = phone.line
    assert b.received[0]["from"].startswith('"Al?[2Jice?" <sip:5?5?@')
    assert "user-agent" in b.received[0]
    b.reply(180, extra=f"User-Agent: {long}\r\n", reason=long[:60_000])
    b.reply(200, ANSWER)
    a.ack()
    site.run(1)
    assert site.rows is not None
    assert max(map(len, site.rows.rows.values())) < 5_000
    started = site.events[0]
    assert (started.caller, started.caller_name) == ("5?5?", "Al?[2Jice?")
    assert (started.user_agent[:10], len(started.user_agent)) == ("?[31mxxxxx", 256)
    b.bye(extra='Reason: SIP;cause=200;text="\x1b[31m"\r\n')
    assert a.last["reason"] == 'SIP;cause=200;text="?[31m"'
    a.reply(200, to="BYE")
    for message in site.wire:
        if message.source == ("10.0.0.1", 5060):
            head = message.data.partition(b"\r\n\r\n")[0].decode()
            ours = [
                line for line in head.split("\r\n") if not line.startswith(("Via", "From", "To"))
            ]
            assert all(line.isprintable() for line in ours), head[:200]
            assert len(head) < 4_000
    for event in site.events:
        for text in msgspec.to_builtins(event).values():
            assert not isinstance(text, str) or (text.isprintable() and len(text) <= 256)
    assert all(line.isprintable() for line in caplog.messages)
    site.end()


def test_the_limit_of_texts(tmp_path: Path) -> None:
    site = World(tmp_path, CONFIG + "limits: {max_text: 5}\n")
    phone = site.phone("1001", "10.9.0.1")
    a = trunk(site).call("1001", from_='"Alexandra" <sip:1234567@c>')
    started = site.events[0]
    assert (started.caller, started.caller_name, started.dialled) == ("12345", "Alexa", "1001")
    assert phone.line.received[0]["from"].startswith('"Alexa" <sip:12345@')
    phone.line.reply(486)
    a.acknowledge(a.last)
    site.end()


def test_what_is_to_go_over_tls_does(world: World) -> None:
    switch = world.switch
    before = switch.network.flow_to("udp", "10.9.0.9", 5070)
    assert before is not None
    for uri in (
        "sips:bob@10.9.0.9",
        "sip:bob@10.9.0.9;transport=TLS",
        "sips:10.9.0.9;transport=tcp",
    ):
        del world.connects[:]
        world.streams.clear()
        switch.flow_to(parse_uri(uri), before)
        assert world.connects == [("10.9.0.9", 5061)], uri
    del world.connects[:]
    assert switch.flow_to(parse_uri("sip:bob@10.9.0.9:5070"), before) is before
    assert switch.flow_to(parse_uri("sips:bob@pbx.example"), before) is before
    assert world.connects == []
