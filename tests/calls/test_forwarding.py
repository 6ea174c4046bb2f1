"""Calls that go elsewhere than dialled: always, busy, no answer, unreachable; not to be disturbed;
set by configuration and by star codes; loops; what each side is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import CONFIG, PLAN, SDP, Agent, Line, World
from calls.test_transfer_sites import BRANCH, BRANCH_AT, BRANCH_PLAN
from calls.transfers import BOB, CAROL, heard, port, refer, talk
from softswitch import events
from softswitch.configuration import load_config
from softswitch.features import WISHES

CODES = (
    PLAN
    + """
  - {match: "*72.", strip: 3, do: {forward: always}}
  - {match: "*72", strip: 3, do: {forward: always}}
  - {match: "*90.", strip: 3, do: {forward: busy}}
  - {match: "*92.", strip: 3, do: {forward: no_answer}}
  - {match: "*93.", strip: 3, do: {forward: unreachable}}
  - {match: "*73", do: {forward: off}}
  - {match: "*78", do: {dnd: on}}
  - {match: "*79", do: {dnd: off}}
  - {match: "*76", do: dnd}
  - {match: "*66", do: redial}
  - {match: "*69", do: return}
  - {match: "+.", from: any, dial: "trunk:pstn"}
"""
)


def made(folder: Path, *settings: str, plan: str = CODES, journal: bool = False) -> World:
    """A world whose extensions say so: ``1002 forward: {busy: "1003"}``."""
    config = CONFIG
    for setting in settings:
        number, _, said = setting.partition(" ")
        config = config.replace(f'"{number}": {{', f'"{number}": {{{said}, ')
    world = World(folder, config, plan, journal=journal)
    world.config = config  # type: ignore[attr-defined]
    return world


def phones(world: World, count: int = 3) -> list[Agent]:
    return [world.phone(f"100{n}", f"10.9.0.{n}") for n in range(1, count + 1)]


def dial(phone: Agent, code: str) -> str:
    """Dial a star code; the final answer in short."""
    line = phone.call(code)
    line.acknowledge(line.last)
    return line.last.start.removeprefix("SIP/2.0 ")


def over(caller: Line, callee: Line) -> None:
    """It is answered and ended."""
    callee.reply(200, CAROL)
    caller.ack()
    caller.bye()
    callee.reply(200, to="BYE")


def failed(line: Line) -> str:
    line.acknowledge(line.last)
    return line.last.start.removeprefix("SIP/2.0 ")


def users(value: str) -> list[str]:
    return [part.partition("sip:")[2].partition("@")[0] for part in value.split(", ")]


def by(world: World) -> list[tuple[str, str]]:
    return [(e.party, e.by) for e in world.of(events.LegInvited)]


def test_always(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {always: "1003"}')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    assert not bob.lines
    c = carol.line
    assert c.last["diversion"] == "<sip:1002@10.0.0.1:5060>;reason=unconditional;counter=1"
    assert c.last["history-info"] == (
        "<sip:1002@10.0.0.1:5060?Reason=SIP%3Bcause%3D302>;index=1, "
        "<sip:1003@10.9.0.3:5060;cause=302>;index=1.1;mp=1"
    )
    assert '"Alice" <sip:1001@' in c.last["from"]
    over(a, c)
    world.end()
    assert by(world) == [("extension:1003", "extension:1002")]
    (began,) = world.of(events.TalkBegan)
    assert (began.how, began.by) == ("forward", "extension:1002")
    assert world.ended.disposition == "answered"


def test_busy_and_what_follows(tmp_path: Path) -> None:
    """Busy by the phone; the next one forwards who does not answer, after its own time."""
    world = made(
        tmp_path,
        '1002 forward: {busy: "1003"}',
        '1003 forward: {no_answer: {to: "1001", after: 7}}',
    )
    _, bob, carol = phones(world)
    alice = world.phone("1001", "10.9.0.1")
    dave = world.phone("1004", "10.9.0.4")
    d = dave.call("1002")
    bob.line.reply(486)
    c = carol.line
    c.reply(180)
    world.run(6.9)
    assert not alice.lines
    world.run(0.2)
    assert c.last.what == "CANCEL"
    c.reply(200, to="CANCEL")
    c.reply(487)
    a = alice.line
    assert a.last["diversion"] == (
        "<sip:1003@10.0.0.1:5060>;reason=no-answer;counter=1, "
        "<sip:1002@10.0.0.1:5060>;reason=user-busy;counter=1"
    )
    assert a.last["history-info"] == (
        "<sip:1002@10.0.0.1:5060?Reason=SIP%3Bcause%3D486>;index=1, "
        "<sip:1003@10.0.0.1:5060;cause=486?Reason=SIP%3Bcause%3D408>;index=1.1;mp=1, "
        "<sip:1001@10.9.0.1:5060;cause=408>;index=1.1.1;mp=1.1"
    )
    over(d, a)
    world.end()
    assert by(world)[1:] == [
        ("extension:1003", "extension:1002"),
        ("extension:1001", "extension:1003"),
    ]


@pytest.mark.parametrize(
    ("status", "goes"), [(486, True), (600, True), (603, False), (480, False), (404, False)]
)
def test_what_is_busy(tmp_path: Path, status: int, goes: bool) -> None:
    world = made(tmp_path, '1002 forward: {busy: "1003"}')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(status)
    if goes:
        over(a, carol.line)
    else:
        assert failed(a).startswith(f"{status} ")
        assert not carol.lines
    world.end()


def test_the_line_is_full(tmp_path: Path) -> None:
    world = made(tmp_path, '1004 forward: {busy: "1003"}')
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a, d = talk(alice, dave)
    b = bob.call("1004")
    over(b, carol.line)
    a.bye()
    d.reply(200, to="BYE")
    world.end()


def test_one_of_two_phones_is_busy(tmp_path: Path) -> None:
    """The other rings on; it is when neither takes it that the call is forwarded."""
    world = made(tmp_path, '1002 forward: {busy: "1003"}')
    alice, bob, carol = phones(world)
    second = world.phone("1002", "10.9.0.12")
    a = alice.call("1002")
    bob.line.reply(486)
    assert not carol.lines
    second.line.reply(480)
    over(a, carol.line)
    world.end()


@pytest.mark.parametrize("away", ["gone", "silent"])
def test_unreachable(tmp_path: Path, away: str) -> None:
    world = made(tmp_path, '1002 forward: {unreachable: "1003", no_answer: "1004"}')
    alice = world.phone("1001", "10.9.0.1")
    carol = world.phone("1003", "10.9.0.3")
    if away == "silent":
        world.phone("1002", "10.9.0.2")
        world.dead.add(("10.9.0.2", 5060))
    a = alice.call("1002")
    if away == "silent":
        world.run(5.1)
    assert "reason=unavailable" in carol.line.last["diversion"]
    over(a, carol.line)
    world.end()


def test_no_answer_by_the_time_of_the_route(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {no_answer: "1003"}')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    b = bob.line
    b.reply(180)
    world.run(19.9)
    assert not carol.lines
    world.run(0.2)
    b.reply(200, to="CANCEL")
    b.reply(487)
    over(a, carol.line)
    world.end()


def test_the_phone_says_that_nobody_answers(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {no_answer: "1003"}')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(480)
    over(a, carol.line)
    world.end()


def test_what_else_the_route_says_comes_after(tmp_path: Path) -> None:
    """Nobody takes the forwarded call: then the route's `else`."""
    plan = CODES.replace(
        '"1XXX", from: any, dial: extension, timeout: 20',
        '"1XXX", from: any, dial: extension, timeout: 20, else: {status: 480, reason: Gone}',
    )
    world = made(tmp_path, '1002 forward: {busy: "1003"}', plan=plan)
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(486)
    carol.line.reply(486)
    assert failed(a) == "480 Gone"
    world.end()


def test_to_a_group_and_from_one(tmp_path: Path) -> None:
    """The members of a ring group do not forward, and those not to be disturbed do not ring."""
    world = made(
        tmp_path,
        '1003 forward: {always: "600"}',
        '1002 forward: {always: "1004"}',
        "1001 dnd: true",
    )
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    d = dave.call("1003")
    assert not carol.lines
    assert not alice.lines
    assert "diversion" in bob.line.last
    over(d, bob.line)
    world.end()


def test_do_not_disturb(tmp_path: Path) -> None:
    world = made(
        tmp_path,
        "1002 dnd: true",
        '1003 dnd: {status: 480, reason: Away}, forward: {busy: "1001"}',
        '1004 dnd: true, forward: {always: "1001"}',
    )
    alice, bob, carol = phones(world)
    world.phone("1004", "10.9.0.4")
    assert failed(alice.call("1002")) == "486 Do Not Disturb"
    assert not bob.lines
    b = bob.call("1003")
    assert not carol.lines
    assert "reason=do-not-disturb" in alice.line.last["diversion"]
    over(b, alice.line)
    b = bob.call("1004")
    assert "reason=unconditional" in alice.line.last["diversion"], "that goes before it"
    over(b, alice.line)
    # Who alone may be called does not hear a call that it makes itself.
    assert failed(alice.call("1003")) == "480 Away"
    world.end()
    assert world.of(events.CallEnded)[0].disposition == "busy"


def test_whom_calls_go_to_may_call(tmp_path: Path) -> None:
    """The secretary reaches the boss."""
    world = made(tmp_path, '1002 forward: {always: "1003"}')
    _, bob, carol = phones(world)
    c = carol.call("1002")
    over(c, bob.line)
    world.end()


def test_in_a_circle(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {always: "1003"}', '1003 forward: {always: "1002"}')
    alice, bob, carol = phones(world)
    assert failed(alice.call("1002")) == "482 Forwarded In A Circle"
    assert not bob.lines
    assert not carol.lines
    world.end()


def test_in_a_circle_while_busy(tmp_path: Path) -> None:
    """Bob is busy, Carol too: each is tried, and nobody forwards twice."""
    world = made(tmp_path, '1002 forward: {busy: "1003"}', '1003 forward: {busy: "1002"}')
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(486)
    carol.line.reply(486)
    bob.line.reply(486)
    assert failed(a).startswith("486 ")
    assert (len(bob.lines), len(carol.lines)) == (2, 1)
    world.end()


def test_a_long_way(tmp_path: Path) -> None:
    """`limits.max_redirects` bounds it: the last one's phone rings."""
    extensions = "".join(
        f'  "10{n}": {{password: b, forward: {{always: "10{n + 1}"}}}}\n' for n in range(10, 20)
    )
    config = CONFIG.replace("trunks:\n", f"{extensions}trunks:\n")
    world = World(tmp_path, config, CODES)
    alice = world.phone("1001", "10.9.0.1")
    last = Agent(world, ("10.9.0.15", 5060), "1015", "b")
    last.register()
    a = alice.call("1010")
    assert users(last.line.last["diversion"]) == ["1014", "1013", "1012", "1011", "1010"]
    over(a, last.line)
    world.end()


def test_only_where_it_may_call(tmp_path: Path) -> None:
    """A number that the dialplan does not give it is none to forward to; one that is refused is."""
    world = made(tmp_path, '1002 forward: {always: "777"}', '1003 forward: {always: "666"}')
    alice, bob, _ = phones(world)
    a = alice.call("1002")
    over(a, bob.line)
    assert failed(alice.call("1003")) == "403 Not You"
    world.end()


def test_to_a_star_code(tmp_path: Path) -> None:
    world = made(tmp_path, '1002 forward: {always: "*78"}')
    alice, _, _ = phones(world)
    assert failed(alice.call("1002")) == "403 Forwarded To A Star Code"
    assert world.switch.forwardings.keys() == {"1002"}
    world.end()


def test_a_phone_that_redirects_is_shown_too(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(302, contact="Contact: <sip:1003@10.0.0.1>\r\n")
    assert "<sip:1002@10.0.0.1:5060>;reason=deflection" in carol.line.last["diversion"]
    over(a, carol.line)
    world.end()
    assert world.of(events.TalkBegan)[0].how == "forward"


def test_a_phone_redirects_to_one_who_forwards(tmp_path: Path) -> None:
    world = made(tmp_path, '1003 forward: {always: "1004"}')
    alice, bob, _ = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a = alice.call("1002")
    bob.line.reply(302, contact="Contact: <sip:1003@10.0.0.1>\r\n")
    assert users(dave.line.last["diversion"]) == ["1003", "1002"]
    over(a, dave.line)
    world.end()


def test_silent_until_the_time_is_over(tmp_path: Path) -> None:
    """Three seconds are too short to call a phone unreachable: nobody has answered."""
    world = made(tmp_path, '1002 forward: {no_answer: {to: "1003", after: 3}}')
    alice, _, carol = phones(world)
    world.dead.add(("10.9.0.2", 5060))
    a = alice.call("1002")
    world.run(3.1)
    over(a, carol.line)
    world.end()


def test_the_configuration_read_again(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, carol = phones(world)
    assert dial(bob, "*901003").startswith("480 ")
    config = CONFIG.replace('"1002": {', '"1002": {forward: {always: "1003", busy: "1004"}, ')
    (tmp_path / "switch.yaml").write_text(config)
    (tmp_path / "plan.yaml").write_text(CODES)
    world.switch.take_up(load_config(tmp_path / "switch.yaml"))
    forwarding = world.switch.forwardings["1002"]
    assert (forwarding.always, forwarding.busy) == ("1003", "1003"), "what it has set stays"
    over(alice.call("1002"), carol.line)
    world.end()


# --- outside


def test_what_a_carrier_is_told(tmp_path: Path) -> None:
    """The number that the world may see, or nothing; from outside to outside all that came."""
    world = made(
        tmp_path,
        '1002 forward: {always: "+4930555"}, caller_id: {number: "+49301002"}',
        '1003 forward: {always: "+4930555"}',
        '1004 forward: {always: "+4930555"}, caller_id: {number: "+49301004", anonymous: true}',
    )
    pstn = world.agent("10.2.0.1", "pstn")
    caller = world.agent("10.1.0.1", "caller")
    for number, said in (("1002", ["+49301002"]), ("1003", []), ("1004", [])):
        line = caller.call(
            number, extra="Diversion: <sip:+1555@203.0.113.1>;reason=time-of-day\r\n"
        )
        there = pstn.line
        assert there.uri
        assert users(there.last["diversion"]) == [*said, "+1555"]
        assert f"sip:{number}@" not in there.last["history-info"]
        assert there.last["history-info"].endswith(";index=1.1;mp=1")
        over(line, there)
    world.end()


def test_what_came_is_carried_on(tmp_path: Path) -> None:
    """Of trunks, bounded; a phone is not believed."""
    world = made(tmp_path)
    alice, bob, _ = phones(world)
    caller = world.agent("10.1.0.1", "caller")
    many = ", ".join(f"<sip:+{n}@203.0.113.1>;reason=unknown" for n in range(9))
    history = "<sip:+1@203.0.113.1>;index=1, <sip:1001@203.0.113.1>;index=1.1;mp=1"
    extra = f"Diversion: {many}\r\nHistory-Info: {history}\r\nHistory-Info: nonsense\r\n"
    line = caller.call("1001", extra=extra)
    assert users(alice.line.last["diversion"]) == [f"+{n}" for n in range(5)]
    assert alice.line.last["history-info"] == history
    over(line, alice.line)
    b = bob.call("1001", extra=extra)
    assert "diversion" not in alice.line.last
    assert "history-info" not in alice.line.last
    over(b, alice.line)
    world.end()


@pytest.mark.parametrize(
    "extra",
    [
        "Diversion: <sip:1002@10.0.0.9>;reason=unconditional\r\n",
        "Diversion: <sip:+49301002@10.0.0.9>;reason=unconditional\r\n",
        "History-Info: <sip:1002@10.0.0.9>;index=1, <sip:1@10.0.0.9>;index=1.1\r\n",
        "Diversion: " + ", ".join(f"<sip:+{n}@1.2.3.4>" for n in range(5)) + "\r\n",
    ],
)
def test_it_was_here_before(tmp_path: Path, extra: str) -> None:
    world = made(tmp_path, '1002 forward: {busy: "1003"}, caller_id: {number: "+49301002"}')
    _, bob, carol = phones(world)
    line = world.agent("10.1.0.1", "caller").call("1002", extra=extra)
    bob.line.reply(486)
    assert failed(line).startswith("486 ")
    assert not carol.lines
    world.end()


# --- two switches


def test_over_two_switches_in_a_circle(tmp_path: Path) -> None:
    """1001 of hq to 2001 of branch to 1001: its phone would ring, if it did not forward always."""
    world = made(tmp_path, '1001 forward: {always: "2001"}', '1003 forward: {busy: "2001"}')
    branch = BRANCH.replace("name: Bob,", 'name: Bob, forward: {always: "1001"},')
    world.add_switch("branch", BRANCH_AT, branch, BRANCH_PLAN).opened()
    alice, bob, carol = phones(world)
    b = bob.call("1001")
    assert failed(b) == "482 Forwarded In A Circle"
    assert not alice.lines
    invites = [m for m in world.wire if m.what == "INVITE" and m.target in world.switches]
    assert len({m.branch for m in invites}) == 4, "two of Bob's, one to branch, one back"
    back = invites[-1]
    assert users(back["diversion"]) == ["2001", "1001"]
    assert users(back["history-info"]) == ["1001", "2001", "2001", "1001"]
    b = bob.call("1003")
    carol.line.reply(486)
    assert failed(b).startswith("486 "), "Carol's phone says more than the circle"
    assert not alice.lines
    world.end()


# --- transfers


def test_a_transfer_is_forwarded(tmp_path: Path) -> None:
    world = made(tmp_path, '1003 forward: {busy: "1004"}')
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a, b = talk(alice, bob)
    refer(b, "1003")
    heard(b)
    carol.line.reply(486)
    d = dave.line
    assert "<sip:1003@" in d.last["diversion"]
    d.reply(200, CAROL)
    assert port(a.last.body) == port(CAROL)
    a.reply(200, SDP)
    heard(b)
    b.bye()
    a.bye()
    d.reply(200, to="BYE")
    world.end()
    assert by(world)[1:] == [
        ("extension:1003", "extension:1002"),
        ("extension:1004", "extension:1003"),
    ]


def test_a_ring_back_is_forwarded(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    a, b = talk(alice, bob)
    world.switch.phone_features.set_forward("1002", {"always": "1004"})
    refer(b, "1003")
    b.bye()
    carol.line.reply(486)
    d = dave.line
    d.reply(200, BOB)
    a.reply(200, SDP)
    a.bye()
    d.reply(200, to="BYE")
    world.end()


# --- star codes


def test_by_star_code(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, carol = phones(world)
    assert dial(bob, "*721003") == "480 Forwarding Always To 1003 Is On"
    over(alice.call("1002"), carol.line)
    assert dial(bob, "*72") == "480 Forwarding Always Is Off"
    assert dial(bob, "*901003") == "480 Forwarding On Busy To 1003 Is On"
    a = alice.call("1002")
    bob.line.reply(486)
    over(a, carol.line)
    assert dial(bob, "*73") == "480 Forwarding Is Off"
    over(alice.call("1002"), bob.line)
    assert not world.switch.forwardings
    assert dial(bob, "*78") == "480 Do Not Disturb Is On"
    assert failed(alice.call("1002")) == "486 Do Not Disturb"
    assert dial(bob, "*79") == "480 Do Not Disturb Is Off"
    assert dial(bob, "*76") == "480 Do Not Disturb Is On"
    assert dial(bob, "*76") == "480 Do Not Disturb Is Off"
    world.end()
    first = world.of(events.CallRouted)[1]
    assert first.properties == {"forward.always": "1003"}
    assert (first.match, first.number) == ("*72.", "1003")
    ends = world.of(events.CallEnded)
    assert (ends[0].disposition, ends[0].sip_status) == ("answered", 480)
    assert {e.disposition for e in ends} == {"answered", "busy"}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("*721002", "403 Not To Itself"),
        ("*72777", "403 No Route To 777"),
        ("*72*78", "403 *78 Is A Star Code"),
        ("*72%0D%0A", "403 Not A Number To Forward To"),
        ("*66", "404 No Number To Call"),
        ("*69", "404 No Number To Call"),
    ],
)
def test_what_cannot_be(tmp_path: Path, code: str, told: str) -> None:
    world = made(tmp_path)
    _, bob, _ = phones(world)
    assert dial(bob, code) == told
    world.end()


def test_a_trunk_has_no_phone(tmp_path: Path) -> None:
    plan = CODES.replace('"*78", do', '"*78", from: any, do')
    world = made(tmp_path, plan=plan)
    line = world.agent("10.1.0.1", "caller").call("*78")
    assert failed(line) == "403 Only From A Phone Of This Switch"
    world.end()


def test_transferred_to_a_star_code(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, _ = phones(world)
    a, b = talk(alice, bob)
    refer(b, "*78")
    heard(b)
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert [e.status for e in world.of(events.LegReferred)] == [0, 403]
    assert not world.switch.forwardings


def test_redial_and_return(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, carol = phones(world)
    a = alice.call("1002")
    bob.line.reply(486)
    failed(a)
    again = alice.call("*66")
    over(again, bob.line)
    back = bob.call("*69")
    over(back, alice.line)
    # Whoever does not want to be shown is not called back.
    c = carol.call("1002", extra="Privacy: id\r\n")
    over(c, bob.line)
    over(bob.call("*69"), alice.line)
    world.end()


def test_kept_over_a_restart(tmp_path: Path) -> None:
    world = made(tmp_path, '1003 forward: {busy: "1001"}', journal=True)
    alice, bob, carol = phones(world)
    assert dial(bob, "*721003").startswith("480 ")
    assert dial(carol, "*73").startswith("480 ")
    assert dial(carol, "*78").startswith("480 ")
    a = alice.call("1002")
    assert failed(a) == "486 Do Not Disturb"
    world.restart(5, world.config, CODES)  # type: ignore[attr-defined]
    assert failed(alice.call("*66")) == "486 Do Not Disturb", "it is known whom she called last"
    assert failed(alice.call("1002")) == "486 Do Not Disturb"
    assert dial(carol, "*79").startswith("480 ")
    over(alice.call("*66"), carol.line)
    a = alice.call("1003")
    carol.line.reply(486)
    assert failed(a).startswith("486 "), "what is switched off is off"
    assert world.rows is not None
    rows = sum(map(WISHES.is_one, world.rows.rows.values()))
    world.restart(5, CONFIG.replace('  "1002"', '  "1007"'), CODES.replace("1002", "1007"))
    assert not world.switch.forwardings, "that extension is gone"
    world.rest()
    assert sum(map(WISHES.is_one, world.rows.rows.values())) == rows - 1


def test_what_was_answered_is_on_disk(tmp_path: Path) -> None:
    world = made(tmp_path, journal=True)
    bob = world.phone("1002", "10.9.0.2")
    assert world.rows is not None
    assert not any(map(WISHES.is_one, world.rows.rows.values()))
    assert dial(bob, "*721003").startswith("480 ")
    assert any(map(WISHES.is_one, world.rows.rows.values()))
    world.rest()
