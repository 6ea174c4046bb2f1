"""Follow me: a list of where calls find an extension; what the caller is told of forwarding."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, SDP, Agent, Line, World
from calls.test_forwarding import CODES, by, dial, failed, made, over, phones, users
from calls.test_steps import ELSEWHERE, RANG_OUT, cancelled, invited, reasons
from calls.test_transfer import CAROL, heard, notes, refer, talk
from calls.test_transfer_sites import BRANCH, BRANCH_AT, BRANCH_PLAN
from softswitch import events
from softswitch.config import FollowStep

LIST = '1002 follow: [{to: "1002", timeout: 15}, {to: "8555", timeout: 25}, "1003"]'


def pstn(world: World) -> Agent:
    return world.agent("10.2.0.1", "pstn")


def rings(*agents: Agent) -> None:
    for agent in agents:
        agent.line.reply(180)


def test_one_after_the_other(tmp_path: Path) -> None:
    """Its phone is just rung; where else it is found it pays for, as for a forwarding."""
    world = made(tmp_path, LIST)
    alice, bob, carol = phones(world)
    mobile = pstn(world)
    a = alice.call("1002")
    rings(bob)
    assert "diversion" not in bob.line.last
    assert a.what == ["180 INVITE"]
    world.run(15.1)
    assert cancelled(bob.line) == RANG_OUT
    rings(mobile)
    assert a.what == ["180 INVITE", "181 INVITE", "180 INVITE"]
    assert mobile.line.invited is not None
    assert mobile.line.invited.uri.startswith("sip:555@")
    world.run(24.8)
    assert "CANCEL" not in mobile.line.what
    world.run(0.2)
    assert cancelled(mobile.line) == RANG_OUT
    rings(carol)
    assert carol.line.invited is not None
    assert carol.line.invited["diversion"] == "<sip:1002@10.0.0.1:5060>;reason=follow-me;counter=1"
    assert users(carol.line.invited["history-info"]) == ["1002", "1003"]
    assert a.count("181 INVITE") == 1, "of one list it is told once"
    over(a, carol.line)
    world.end()
    assert by(world) == [
        ("extension:1002", ""),
        ("trunk:pstn", "extension:1002"),
        ("extension:1003", "extension:1002"),
    ]
    (began,) = world.of(events.TalkBegan)
    assert (began.how, began.by) == ("forward", "extension:1002")
    assert [at for at, _ in invited(world)] == [0.0, 15.0, 40.0]


def test_answered_at_its_own_phone(tmp_path: Path) -> None:
    world = made(tmp_path, LIST)
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    over(a, bob.line)
    assert "181 INVITE" not in a.what
    world.end()
    (began,) = world.of(events.TalkBegan)
    assert (began.how, began.by) == ("dialled", "extension:1001")


@pytest.mark.parametrize("first", ["desk", "mobile"])
def test_at_once(tmp_path: Path, first: str) -> None:
    world = made(tmp_path, '1002 follow: [{all: ["1002", "8555"], timeout: 20}]')
    alice, bob, _ = phones(world)
    mobile = pstn(world)
    a = alice.call("1002")
    rings(bob, mobile)
    winner, other = (bob, mobile) if first == "desk" else (mobile, bob)
    winner.line.reply(200, CAROL)
    assert cancelled(other.line) == ELSEWHERE
    a.ack()
    a.bye()
    winner.line.reply(200, to="BYE")
    world.end()
    (began,) = world.of(events.TalkBegan)
    expected = ("dialled", "extension:1001") if first == "desk" else ("forward", "extension:1002")
    assert (began.how, began.by) == expected
    lost = 2 if first == "desk" else 1
    assert reasons(world)[lost] == (487, "Answered elsewhere")


def test_busy_or_away_is_the_next_ones_turn(tmp_path: Path) -> None:
    world = made(tmp_path, LIST, '1004 follow: ["1004", "1003"]')
    alice, bob, carol = phones(world)
    mobile = pstn(world)
    a = alice.call("1002")
    bob.line.reply(486)
    mobile.line.reply(486)
    over(a, carol.line)
    b = bob.call("1004")
    over(b, carol.line)
    world.end()


def test_nobody(tmp_path: Path) -> None:
    """What it says itself of calls that nobody takes, then what the route does."""
    plan = CODES.replace(
        '"1XXX", from: any, dial: extension, timeout: 20',
        '"1XXX", from: any, dial: extension, timeout: 20, else: {status: 480, reason: Gone}',
    )
    world = made(
        tmp_path,
        '1002 follow: [{to: "1002", timeout: 5}, {to: "8555", timeout: 5}], '
        'forward: {no_answer: "1003", busy: "1004"}, caller_id: {number: "+49301002"}',
        '1003 follow: ["8777"]',
        plan=plan,
    )
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    mobile = pstn(world)
    a = alice.call("1002")
    rings(bob)
    world.run(5.1)
    cancelled(bob.line)
    mobile.line.reply(486)
    # Carol's list counts, too.
    assert len(mobile.lines) == 2
    assert users(mobile.line.last["history-info"])[-1] == "777"
    assert mobile.line.last["history-info"].count("cause%3D408") == 1
    mobile.line.reply(486)
    assert not carol.lines
    assert not dave.lines
    assert failed(a) == "480 Gone"
    world.end()


def test_nobody_and_nothing_else(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 follow: [{all: ["1002", "1003"], timeout: 8}]')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    rings(bob, carol)
    world.run(8.1)
    assert [cancelled(one.line) for one in (bob, carol)] == [RANG_OUT] * 2
    assert failed(a) == "480 No Answer"
    world.end()


def test_its_phone_declines(tmp_path: Path) -> None:
    """Then who is called has declined; anybody else declines for himself."""
    world = made(
        tmp_path,
        '1002 follow: [{all: ["1002", "1003"]}, "1004"], forward: {no_answer: "1004"}',
    )
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a = alice.call("1002")
    rings(bob, carol)
    bob.line.reply(603)
    assert cancelled(carol.line) == 'SIP;cause=603;text="Declined elsewhere"'
    assert failed(a).startswith("603 ")
    assert not dave.lines
    a = alice.call("1002")
    rings(bob, carol)
    carol.line.reply(603)
    assert "CANCEL" not in bob.line.what
    bob.line.reply(486)
    over(a, dave.line)
    world.end()


def test_do_not_disturb(tmp_path: Path) -> None:
    """Neither its phone nor anybody of its list; who is not to be disturbed on it is left out."""
    world = made(
        tmp_path, '1002 dnd: true, follow: ["1002", "8555"]', "1003 dnd: true",
        '1004 follow: [{all: ["1004", "1003"]}, "1003", "8555"]',
    )  # fmt: skip
    alice, bob, carol = phones(world)
    mobile = pstn(world)
    assert failed(alice.call("1002")) == "486 Do Not Disturb"
    assert not bob.lines
    assert not mobile.lines
    a = alice.call("1004")
    over(a, mobile.line)
    assert not carol.lines
    world.end()


def test_always_goes_before(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 follow: ["8555"], forward: {always: "1003"}')
    alice, _, carol = phones(world)
    over(alice.call("1002"), carol.line)
    world.end()


def test_not_from_a_group(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 follow: ["8555"]')
    _, bob, _ = phones(world)
    mobile = pstn(world)
    caller = world.agent("10.1.0.1", "caller")
    line = caller.call("600")
    rings(bob)
    assert not mobile.lines
    over(line, bob.line)
    world.end()


def test_a_step_that_is_a_group(tmp_path: Path) -> None:
    """Its order is gone through within the time of the step."""
    plan = CODES.replace(
        'match: "601", from: any, dial: {order: ["1001", "1002"]}, timeout: 10',
        'match: "601", from: any, dial: {order: ["1001", "1003"]}, timeout: 10',
    )
    world = made(
        tmp_path, '1002 follow: [{to: "601", timeout: 14}, {to: "1002", timeout: 6}]', plan=plan
    )
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    d = dave.call("1002")
    rings(alice)
    world.run(10.1)
    cancelled(alice.line)
    rings(carol)
    world.run(3.8)
    assert "CANCEL" not in carol.line.what
    world.run(0.2)
    cancelled(carol.line)
    rings(bob)
    world.run(6)
    cancelled(bob.line)
    assert failed(d) == "480 No Answer"
    world.end()


def test_the_time_of_a_step_is_for_whom_it_leads_to_as_well(tmp_path: Path) -> None:
    world = made(
        tmp_path,
        '1002 follow: [{to: "1003", timeout: 12}, "8555"]',
        '1003 forward: {no_answer: {to: "1004", after: 9}}',
    )
    alice, _, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    mobile = pstn(world)
    a = alice.call("1002")
    rings(carol)
    world.run(9.1)
    cancelled(carol.line)
    rings(dave)
    world.run(3)
    cancelled(dave.line)
    over(a, mobile.line)
    world.end()
    assert [at for at, _ in invited(world)] == [0.0, 9.0, 12.0]


def test_the_other_carrier(tmp_path: Path) -> None:
    """Of a number that rings together with a phone, as alone; for the rest of the step."""
    world = made(tmp_path, '1002 follow: [{all: ["1002", "9555"], timeout: 20}]')
    alice, bob, _ = phones(world)
    first, second = pstn(world), world.agent("10.3.0.1", "backup")
    a = alice.call("1002")
    rings(bob)
    first.line.reply(503)
    rings(second)
    assert second.line.invited is not None
    assert by(world)[-1] == ("trunk:backup", "extension:1002")
    assert "CANCEL" not in bob.line.what
    world.run(20.1)
    assert [cancelled(one.line) for one in (bob, second)] == [RANG_OUT] * 2
    assert failed(a) == "480 No Answer"
    # What a carrier says of the number, it says for the others.
    a = alice.call("1002")
    first.line.reply(486)
    assert len(second.lines) == 1
    over(a, bob.line)
    # All of it fails before the phone does.
    a = alice.call("1002")
    first.line.reply(500)
    second.line.reply(500)
    over(a, bob.line)
    world.end()


def test_the_other_carrier_when_the_first_is_full(tmp_path: Path) -> None:
    config = CONFIG.replace("max_calls: 5", "max_calls: 1").replace(
        '"1002": {', '"1002": {follow: [{all: ["1002", "9555"]}], '
    )
    world = World(tmp_path, config, CODES)
    alice, bob, carol = phones(world)
    first, second = pstn(world), world.agent("10.3.0.1", "backup")
    c = carol.call("8777")
    first.line.reply(200, ANSWER)
    c.ack()
    a = alice.call("1002")
    second.line.reply(200, CAROL)
    assert cancelled_unheard(bob.line)
    a.ack()
    for line, there in ((a, second.line), (c, first.line)):
        line.bye()
        there.reply(200, to="BYE")
    world.end()


def cancelled_unheard(line: Line) -> bool:
    """Of one that has said nothing yet: it is told once it does (RFC 3261 §9.1)."""
    assert "CANCEL" not in line.what
    line.reply(180)
    return cancelled(line) == ELSEWHERE


def test_who_calls_is_passed_over(tmp_path: Path) -> None:
    """The list's members may call; and who calls itself hears its phones."""
    world = made(tmp_path, '1002 follow: ["1001", "1003"]', '1003 follow: ["1001"]')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    over(a, carol.line)
    assert not bob.lines
    a = alice.call("1003")
    over(a, carol.line)
    second = world.phone("1002", "10.9.0.12")
    b = bob.call("1002")
    over(b, second.line)
    world.end()


# --- circles


def test_in_a_circle(tmp_path: Path) -> None:
    """Two follow each other: each phone rings, and nobody twice for that."""
    world = made(tmp_path, '1002 follow: ["1002", "1003"]', '1003 follow: ["1003", "1002"]')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(486)
    carol.line.reply(486)
    bob.line.reply(486)
    assert failed(a).startswith("486 ")
    assert (len(bob.lines), len(carol.lines)) == (2, 1)
    world.end()


def test_in_a_circle_without_phones(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 follow: ["1003"]', '1003 follow: ["1002"]')
    alice, bob, carol = phones(world)
    assert failed(alice.call("1002")) == "482 Forwarded In A Circle"
    assert not bob.lines
    assert not carol.lines
    world.end()


def test_a_long_way(tmp_path: Path) -> None:
    """`limits.max_redirects` bounds lists within lists."""
    extensions = "".join(
        f'  "10{n}": {{password: b, follow: ["10{n + 1}", "8{n}"]}}\n' for n in range(10, 20)
    )
    config = CONFIG.replace("trunks:\n", f"{extensions}trunks:\n")
    world = World(tmp_path, config, CODES)
    alice = world.phone("1001", "10.9.0.1")
    last = Agent(world, ("10.9.0.15", 5060), "1015", "b")
    last.register()
    mobile = pstn(world)
    a = alice.call("1010")
    last.line.reply(486)
    said = []
    while a.last.status < 200 and len(said) < 20:
        said.append(mobile.line.last.uri.partition("@")[0])
        mobile.line.reply(486)
    assert said == [f"sip:{n}" for n in (14, 13, 12, 11, 10)]
    a.acknowledge(a.last)
    world.end()


@pytest.mark.parametrize("own", [True, False])
def test_it_was_here_before(tmp_path: Path, own: bool) -> None:
    numbers = '"1002", "1003"' if own else '"1003"'
    world = made(tmp_path, f"1002 follow: [{numbers}]")
    _, bob, carol = phones(world)
    caller = world.agent("10.1.0.1", "caller")
    extra = "Diversion: <sip:1002@10.0.0.9>;reason=follow-me\r\n"
    line = caller.call("1002", extra=extra)
    if own:
        over(line, bob.line)
    else:
        assert failed(line) == "482 Forwarded In A Circle"
    assert not carol.lines
    world.end()


# --- where it leads to


def test_what_leads_nowhere_is_passed_over(tmp_path: Path) -> None:
    """No route, a route that rings nobody; with nothing left its phone rings."""
    world = made(
        tmp_path, '1002 follow: ["777", "*78", "666", "1003"]', '1003 follow: ["777", "666"]'
    )
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    over(a, carol.line)
    assert not bob.lines
    world.end()
    assert not world.switch.forwardings["1002"].dnd


def test_a_member_redirects(tmp_path: Path) -> None:
    """By itself, before the list goes on."""
    world = made(tmp_path, '1002 follow: ["1002", "8555"]')
    alice, bob, carol = phones(world)
    mobile = pstn(world)
    a = alice.call("1002")
    bob.line.reply(302, contact="Contact: <sip:1003@10.0.0.1>\r\n")
    assert "reason=deflection" in carol.line.last["diversion"]
    carol.line.reply(486)
    over(a, mobile.line)
    world.end()


def test_a_session_that_is_too_short(tmp_path: Path) -> None:
    """422: asked once more as the one that it was, of several that ring."""
    world = made(tmp_path, '1002 follow: [{all: ["1002", "1003"]}]')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    rings(carol)
    bob.line.reply(422, extra="Min-SE: 1800\r\n")
    assert "diversion" not in bob.line.last
    carol.line.reply(422, extra="Min-SE: 1800\r\n")
    assert "follow-me" in carol.line.last["diversion"]
    over(a, carol.line)
    assert cancelled_unheard(bob.line)
    world.end()


def test_a_transfer_follows(tmp_path: Path) -> None:
    """Who asked for it is told that it goes on."""
    world = made(tmp_path, '1003 follow: ["1003", "1004"]')
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a, b = talk(alice, bob)
    refer(b, "1003")
    heard(b)
    carol.line.reply(486)
    heard(b)
    dave.line.reply(200, CAROL)
    a.reply(200, SDP)
    heard(b)
    said = [note[:3] for note in notes(b)]
    assert said == ["100", "181", "200"]
    b.bye()
    a.bye()
    dave.line.reply(200, to="BYE")
    world.end()


# --- set by programs


def test_set_by_a_program_over_a_restart(tmp_path: Path) -> None:
    world = made(tmp_path, LIST, journal=True)
    features = world.switch.phone_features
    features.set_follow("1002", [FollowStep(("1003",), 5.0), FollowStep(("1002", "1001"))])
    features.set_follow("1003", [])
    features.set_follow("1004", [FollowStep(("1003",))])
    features.clear_follow("1004")
    world.restart(5, world.config, CODES)  # type: ignore[attr-defined]
    alice, bob, carol = phones(world)
    assert world.switch.forwardings["1002"].follow == (
        FollowStep(("1003",), 5.0),
        FollowStep(("1002", "1001")),
    )
    assert world.switch.forwardings.keys() == {"1002"}
    caller = world.agent("10.1.0.1", "caller")
    line = caller.call("1002")
    rings(carol)
    world.run(5.1)
    cancelled(carol.line)
    rings(bob)
    alice.line.reply(200, CAROL)
    assert cancelled(bob.line) == ELSEWHERE
    line.ack()
    line.bye()
    alice.line.reply(200, to="BYE")
    # None at all goes before what the configuration says.
    world.switch.phone_features.set_follow("1002", [])
    world.restart(5, world.config, CODES)  # type: ignore[attr-defined]
    assert not world.switch.forwardings
    world.switch.phone_features.clear_follow("1002")
    assert len(world.switch.forwardings["1002"].follow) == 3
    world.end()


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([FollowStep(("777",))], "No Route To 777"),
        ([FollowStep(("1002", "*78"))], r"\*78 Is A Star Code"),
        ([FollowStep(("666",))], "666 Rings Nobody"),
        ([FollowStep(("",))], "Not A Number To Forward To"),
        ([FollowStep(())], "A Step Without A Number"),
        ([FollowStep(("1003",), -1.0)], "Not Seconds To Ring: -1"),
        ([FollowStep(("1003",), float("nan"))], "Not Seconds To Ring: nan"),
        ([FollowStep(("1003",) * 6)] * 2, "More Than 10 Numbers"),
    ],
)
def test_what_cannot_be(tmp_path: Path, steps: list[FollowStep], told: str) -> None:
    world = made(tmp_path)
    features = world.switch.phone_features
    with pytest.raises(ValueError, match=told):
        features.set_follow("1002", steps)
    with pytest.raises(LookupError):
        features.set_follow("1009", [])
    assert not world.switch.forwardings
    world.end()


# --- 181


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('forward: {always: "1003"}', 0),
        ('forward: {busy: "1003"}', 486),
        ('forward: {no_answer: "1003"}', 480),
        ('forward: {unreachable: "1003"}', -1),
        ('dnd: true, forward: {busy: "1003"}', 0),
        ('follow: ["1003"]', 0),
        ("", 302),
    ],
)
def test_the_caller_is_told(tmp_path: Path, setting: str, says: int) -> None:
    world = made(tmp_path, *([f"1002 {setting}"] if setting else []))
    alice, carol = world.phone("1001", "10.9.0.1"), world.phone("1003", "10.9.0.3")
    if says >= 0:
        bob = world.phone("1002", "10.9.0.2")
    a = alice.call("1002", extra="Supported: histinfo\r\n")
    if says == 302:
        bob.line.reply(302, contact="Contact: <sip:1003@10.0.0.1>\r\n")
    elif says > 0:
        bob.line.reply(says)
    assert [m for m in a.what if m != "100 INVITE"] == ["181 INVITE"]
    assert a.last.start == "SIP/2.0 181 Call Is Being Forwarded"
    assert a.last["history-info"].startswith("<sip:1002@10.0.0.1:5060?Reason=SIP%3Bcause%3D")
    assert a.last["history-info"].endswith(";index=1"), "where to is not said"
    tag = a.last.tag("to")
    assert tag
    carol.line.reply(180)
    assert (a.last.status, a.last.tag("to")) == (180, tag)
    over(a, carol.line)
    world.end()


def test_forwarded_twice(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {always: "1003"}', '1003 forward: {busy: "1004"}')
    alice, _, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a = alice.call("1002")
    carol.line.reply(486)
    assert a.what == ["181 INVITE", "181 INVITE"]
    assert "history-info" not in a.last, "who does not know it does not get it"
    over(a, dave.line)
    world.end()


def test_to_nobody(tmp_path: Path) -> None:
    """Nobody is there: nothing has been forwarded."""
    world = made(tmp_path, '1002 forward: {always: "1003"}')
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("1002")
    assert "181 INVITE" not in a.what
    assert failed(a).startswith("480 ")
    world.end()


def test_not_after_it_has_heard_somebody(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {no_answer: "1003"}')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(183, ANSWER)
    world.run(20.1)
    cancelled(bob.line)
    assert a.what == ["183 INVITE"]
    over(a, carol.line)
    world.end()


def test_a_caller_that_demands_to_acknowledge_it(tmp_path: Path) -> None:
    """Require: 100rel (RFC 3262 §3)."""
    world = made(tmp_path, '1002 forward: {always: "1003"}')
    alice, _, carol = phones(world)
    a = alice.call("1002", extra="Require: 100rel\r\n")
    told = a.find("181 INVITE")
    assert told["require"] == "100rel"
    a.send("PRACK", extra=f"RAck: {told['rseq']} {told['cseq']}\r\n")
    assert a.last.what == "200 PRACK"
    carol.line.reply(200, CAROL)
    a.ack()
    a.bye()
    carol.line.reply(200, to="BYE")
    world.end()


def test_a_carrier_is_not_told(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {always: "1003"}')
    carol = world.phone("1003", "10.9.0.3")
    caller = world.agent("10.1.0.1", "caller")
    line = caller.call("1002", extra="Supported: histinfo\r\n")
    carol.line.reply(181)
    carol.line.reply(180)
    assert line.what == ["183 INVITE", "180 INVITE"], "nor what a phone of ours says"
    over(line, carol.line)
    world.end()


def test_over_two_switches(tmp_path: Path) -> None:
    """The switch that forwards tells the one before it, that one its phone, but no carrier."""
    world = made(tmp_path, '1002 forward: {always: "1003"}')
    world.add_switch(
        "branch",
        BRANCH_AT,
        BRANCH.replace("trunks:", 'trunks:\n  isp: {to: "sip:10.5.0.1:5060", keepalive: 0}'),
        BRANCH_PLAN,
    ).opened()
    carol = world.phone("1003", "10.9.0.3")
    phone = Agent(world, ("10.9.1.1", 5060), "2001", "b")
    phone.switch = BRANCH_AT
    phone.register()
    isp = world.agent("10.5.0.1", "isp")
    isp.switch = BRANCH_AT
    for agent, told in ((phone, 181), (isp, 183)):
        line = agent.call("1002")
        assert line.last.status == told
        carol.line.reply(200, CAROL)
        line.ack()
        line.bye()
        carol.line.reply(200, to="BYE")
    world.end()


def test_a_plain_call_hears_of_nothing(tmp_path: Path) -> None:
    world = made(tmp_path, LIST)
    alice, _, carol = phones(world)
    a = alice.call("1003")
    rings(carol)
    over(a, carol.line)
    assert "181 INVITE" not in a.what
    assert dial(carol, "*73") == "480 Forwarding Is Off"
    assert len(world.switch.forwardings["1002"].follow) == 3
    world.end()
