"""Before the answer: progress, early media, failover, groups, forks, redirects."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, SDP, Agent, World
from calls.test_answered import parties
from softswitch.events import LegEnded, LegInvited, LegRinging


def trunks(world: World) -> tuple[Agent, Agent, Agent]:
    return (
        world.agent("10.1.0.1", "alice"),
        world.agent("10.2.0.1", "pstn"),
        world.agent("10.3.0.1", "backup"),
    )


def test_progress_passes(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    for status in (100, 181, 182, 180, 180):
        b.reply(status)
    b.reply(183, ANSWER)
    assert a.what == [f"{n} INVITE" for n in (181, 182, 180, 180, 183)]
    assert a.last.body == ANSWER
    assert a.last["contact"] == "<sip:10.0.0.1:5060>"
    b.reply(180)
    b.reply(200, ANSWER)
    assert len({m.tag("to") for m in a.received[1:]}) == 1, "one early dialog, the answered one"
    a.ack()
    a.bye()
    b.reply(200, to="BYE")
    world.end()
    assert [(e.status, e.early_media) for e in world.of(LegRinging)] == [
        (181, False),
        (182, False),
        (180, False),
        (183, True),
        (180, False),
    ]


def test_failover_on_each_kind_of_trunk_failure(world: World) -> None:
    caller, pstn, backup = trunks(world)
    for status in (500, 502, 503, 403, 408):
        a = caller.call("95550100")
        pstn.line.reply(status)
        assert pstn.line.last.what == "ACK"
        backup.line.reply(486)
        assert a.last.what == "486 INVITE"
        a.acknowledge(a.last)
    assert len(pstn.lines) == len(backup.lines) == 5
    world.end()


@pytest.mark.parametrize("status", [404, 480, 484, 486, 487, 488, 600, 603])
def test_what_a_trunk_says_of_the_number_is_final(world: World, status: int) -> None:
    caller, pstn, backup = trunks(world)
    a = caller.call("95550100")
    pstn.line.reply(status, extra="Reason: Q.850;cause=17\r\n")
    assert a.last.what == f"{status} INVITE"
    assert a.last["reason"] == "Q.850;cause=17", "RFC 6432: carriers tell causes in responses too"
    a.acknowledge(a.last)
    assert backup.lines == []
    world.end()
    assert world.ended.sip_status == status
    assert world.ended.hangup_by == "callee"
    assert world.of(LegEnded)[0].reason == "Q.850;cause=17"
    assert world.ended.disposition == {
        480: "no-answer",
        486: "busy",
        487: "cancelled",
        600: "busy",
        603: "rejected",
    }.get(status, "failed")


def test_a_final_answer_of_a_trunk_leaves_the_phones(world: World) -> None:
    """Busy at the carrier ends the search among carriers; a phone that is next still rings."""
    caller, pstn, _ = trunks(world)
    phone = world.phone("1001", "10.9.0.1")
    a = caller.call("605")
    pstn.line.reply(486)
    phone.line.reply(200, ANSWER)
    assert a.last.what == "200 INVITE"
    a.ack()
    a.bye()
    phone.line.reply(200, to="BYE")
    world.end()


def test_a_trunk_that_does_not_respond_at_all(world: World) -> None:
    caller, pstn, backup = trunks(world)
    a = caller.call("95550100")
    world.run(4.9)
    assert backup.lines == []
    world.run(0.2)
    assert backup.line.what == ["INVITE"]
    backup.line.reply(200, ANSWER)
    a.ack()
    # It wakes up after all: nobody wants it any more.
    pstn.line.reply(180)
    assert pstn.line.last.what == "CANCEL"
    pstn.line.reply(200, ANSWER)
    assert pstn.line.what[-2:] == ["ACK", "BYE"]
    pstn.line.reply(200, to="BYE")
    a.bye()
    backup.line.reply(200, to="BYE")
    world.end()
    assert [(e.leg, e.status, e.by) for e in world.of(LegEnded)] == [
        (1, 408, "switch"),
        (0, 200, "remote"),
        (2, 200, "switch"),
    ]


def test_no_trunk_responds(world: World) -> None:
    caller, pstn, backup = trunks(world)
    world.dead |= {pstn.address, backup.address}
    a = caller.call("95550100")
    world.run(10.2)
    assert a.last.status == 504
    a.acknowledge(a.last)
    world.end()
    assert (world.ended.disposition, world.ended.hangup_by) == ("failed", "switch")


def test_nothing_at_all_responds_until_the_ring_timeout(tmp_path: Path) -> None:
    """Nobody was rung, so nobody can be said not to have answered."""
    world = World(tmp_path, CONFIG + "timers: {no_response: 0}\n")
    caller, pstn, _ = trunks(world)
    world.dead.add(pstn.address)
    a = caller.call("85550100")
    world.run(20.1)
    assert a.last.status == 504
    a.acknowledge(a.last)
    world.end()
    assert world.ended.disposition == "failed"


def test_a_trunk_that_is_down_is_passed_over(world: World, tmp_path) -> None:
    config = CONFIG.replace(
        'from: "10.2.0.0/24", max_calls: 5, keepalive: 0', 'from: "10.2.0.0/24", keepalive: 10'
    )
    (tmp_path / "more").mkdir()
    world = World(tmp_path / "more", config)
    caller, pstn, backup = trunks(world)
    world.dead.add(pstn.address)
    for _ in range(4):
        world.switch.trunk_checks.ask()
        world.run(40)
    assert not world.switch.trunks.is_up("pstn")
    a = caller.call("95550100")
    assert pstn.lines == []
    backup.line.reply(486)
    a.acknowledge(a.last)
    world.dead.clear()
    world.switch.trunk_checks.ask()
    world.settle()
    options = pstn.inbox[-1]
    assert options.what == "OPTIONS"
    pstn.send(
        f"SIP/2.0 405 No\r\nVia: {options['via']}\r\nFrom: {options['from']}\r\n"
        f"To: {options['to']};tag=x\r\nCall-ID: {options['call-id']}\r\nCSeq: {options['cseq']}\r\n"
    )
    assert world.switch.trunks.is_up("pstn")
    world.end()


def test_both_trunks_busy_or_failed(world: World) -> None:
    """A 503 is not passed on: the caller would stop using this switch (§16.7)."""
    caller, pstn, backup = trunks(world)
    a = caller.call("95550100")
    pstn.line.reply(503)
    backup.line.reply(503, reason="Full")
    assert a.last.start.startswith("SIP/2.0 500 ")
    a.acknowledge(a.last)
    a = caller.call("95550100")
    pstn.line.reply(401, extra='WWW-Authenticate: Digest realm="x", nonce="y"\r\n')
    backup.line.reply(401)
    assert a.last.what == "500 INVITE"
    a.acknowledge(a.last)
    world.end()


def test_nobody_answers(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    world.run(20.1)
    assert callee.line.last.what == "CANCEL"
    assert "No answer" in callee.line.last["reason"]
    assert a.last.what == "480 INVITE"
    assert a.last["reason"].startswith("Q.850;cause=19")
    callee.line.reply(487)
    a.acknowledge(a.last)
    world.end()
    assert (world.ended.disposition, world.ended.hangup_by) == ("no-answer", "switch")


# --- early media ---------------------------------------------------------------------------------


def test_early_media_then_another_trunk_answers(world: World) -> None:
    """The caller has an answer in the first early dialog and ignores any other in it (§13.2.1)."""
    caller, pstn, backup = trunks(world)
    a = caller.call("95550100")
    pstn.line.reply(183, ANSWER)
    first = a.last.tag("to")
    pstn.line.reply(503)
    backup.line.reply(180)
    assert a.last.what == "180 INVITE"
    backup.line.reply(200, SDP)
    assert a.last.what == "200 INVITE"
    assert a.last.body == SDP
    assert a.last.tag("to") != first
    a.ack()
    assert backup.line.last.what == "ACK"
    world.run(1)
    assert a.count("200 INVITE") == 1, "the ACK found its dialog"
    backup.line.bye()
    assert a.last.what == "BYE"
    assert a.last.tag("from") == a.find("200 INVITE").tag("to")
    a.reply(200, to="BYE")
    world.end()


def test_early_media_of_two_trunks_in_turn(world: World) -> None:
    caller, pstn, backup = trunks(world)
    a = caller.call("95550100")
    pstn.line.reply(183, ANSWER)
    pstn.line.reply(500)
    backup.line.reply(183, SDP)
    tags = [m.tag("to") for m in a.received if m.status == 183]
    assert len(set(tags)) == 2
    backup.line.reply(180)
    backup.line.reply(200, SDP)
    assert a.last.tag("to") == tags[1]
    a.ack()
    a.bye()
    assert a.last.what == "200 BYE"
    backup.line.reply(200, to="BYE")
    world.end()


def test_phones_that_ring_together_are_not_heard(world: World) -> None:
    caller, _ = parties(world)
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = caller.call("600")
    one.line.reply(183, ANSWER)
    assert a.last.what == "180 INVITE"
    assert a.last.body == ""
    two.line.reply(200, SDP)
    assert a.last.body == SDP
    a.ack()
    assert one.line.last.what == "CANCEL"
    assert one.line.last["reason"] == 'SIP;cause=200;text="Call completed elsewhere"'
    one.line.reply(487)
    a.bye()
    two.line.reply(200, to="BYE")
    world.end()


# --- forks behind the callee ---------------------------------------------------------------------


def test_two_answers_of_one_invite(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(183, ANSWER, tag="one")
    b.reply(183, SDP, tag="two")
    assert len({m.tag("to") for m in a.received}) == 2
    b.reply(200, SDP, tag="two")
    assert a.last.tag("to") == a.received[-2].tag("to"), "the answer of the one that was heard"
    a.ack()
    b.reply(200, ANSWER, tag="one")
    assert a.count("200 INVITE") == 1
    assert [(m.what, m.tag("to")) for m in b.received[1:]] == [
        ("ACK", "two"),
        ("ACK", "one"),
        ("BYE", "one"),
    ], "§13.2.2.4"
    b.reply(200, to="BYE")
    b.reply(200, SDP, tag="two")
    assert b.last.what == "ACK"
    assert b.last.tag("to") == "two"
    a.bye()
    assert b.last.tag("to") == "two"
    b.reply(200, to="BYE")
    world.end()
    assert len(world.of(LegInvited)) == 1


def test_made_up_early_dialogs_cost_nothing(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    for number in range(100):
        callee.line.reply(183, ANSWER, tag=f"t{number}")
    assert len({m.tag("to") for m in a.received}) == 16
    callee.line.reply(183, SDP, tag="t3")
    assert a.last.tag("to") == a.find("183 INVITE").tag("to") != a.received[-2].tag("to")
    assert a.last.body == SDP, "one that the caller knows goes on"
    a.cancel()
    callee.line.reply(487)
    a.acknowledge(a.last)
    world.end()


# --- groups --------------------------------------------------------------------------------------


def test_one_of_a_group_declines_for_himself(world: World) -> None:
    """As Asterisk and FreeSWITCH do it: a declined call goes on ringing at the others."""
    caller, _ = parties(world)
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = caller.call("600")
    one.line.reply(180)
    two.line.reply(180)
    one.line.reply(603)
    assert two.line.what == ["INVITE"]
    two.line.reply(200, ANSWER)
    a.ack()
    assert a.last.what == "200 INVITE"
    a.bye()
    two.line.reply(200, to="BYE")
    world.end()


def test_all_of_a_group_decline(world: World) -> None:
    caller, _ = parties(world)
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = caller.call("600")
    one.line.reply(486)
    two.line.reply(603)
    assert a.last.what == "603 INVITE"
    a.acknowledge(a.last)
    world.end()
    assert (world.ended.disposition, world.ended.hangup_by) == ("rejected", "callee")


def test_declined_on_one_phone_of_an_extension_is_declined_on_all(world: World) -> None:
    caller, _ = parties(world)
    desk, mobile = world.phone("1001", "10.9.0.1"), world.phone("1001", "10.9.0.2")
    a = caller.call("1001")
    desk.line.reply(180)
    mobile.line.reply(180)
    desk.line.reply(603)
    assert mobile.line.last.what == "CANCEL"
    assert a.last.what == "603 INVITE"
    a.acknowledge(a.last)
    mobile.line.reply(487)
    world.end()


def test_one_after_the_other(world: World) -> None:
    caller, _ = parties(world)
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = caller.call("601")
    one.line.reply(180)
    assert two.lines == []
    world.run(10.1)
    assert one.line.last.what == "CANCEL"
    assert two.line.what == ["INVITE"]
    two.line.reply(180)
    # The first picks up while its CANCEL is under way.
    one.line.reply(200, ANSWER)
    assert one.line.what[-2:] == ["ACK", "BYE"]
    one.line.reply(200, to="BYE")
    world.run(10.1)
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    two.line.reply(487)
    world.end()


def test_several_contacts_ring_at_once(world: World) -> None:
    caller, _ = parties(world)
    desk, mobile = world.phone("1001", "10.9.0.1"), world.phone("1001", "10.9.0.2")
    a = caller.call("1001")
    mobile.line.reply(180)
    desk.line.reply(486)
    assert a.what == ["180 INVITE"]
    mobile.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    mobile.line.reply(200, to="BYE")
    world.end()


def test_else_when_nobody_is_there(world: World) -> None:
    caller, pstn = parties(world)
    a = caller.call("602")
    assert a.last.what == "404 INVITE", "602 is nobody's number"
    a.acknowledge(a.last)
    b = caller.call("603")
    assert pstn.line.what == ["INVITE"], "1001 is not registered: else"
    pstn.line.reply(486)
    b.acknowledge(b.last)
    phone = world.phone("1001", "10.9.0.1")
    c = caller.call("603")
    phone.line.reply(486)
    pstn.line.reply(200, ANSWER)
    c.ack()
    c.bye()
    pstn.line.reply(200, to="BYE")
    world.end()


# --- redirects -----------------------------------------------------------------------------------


def test_a_phone_that_is_forwarded(world: World) -> None:
    caller, _ = parties(world)
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = caller.call("1001")
    one.line.reply(302, contact="Contact: <sip:1002@10.0.0.1>\r\n")
    assert one.line.last.what == "ACK"
    two.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    two.line.reply(200, to="BYE")
    world.end()
    assert world.told()[:6] == [
        "CallStarted 0",
        "CallRouted",
        "LegInvited 1",
        "LegEnded 1",
        "LegInvited 2",
        "LegAnswered 2",
    ]


@pytest.mark.parametrize("contact", ["<sip:10.66.6.6>", "<sip:0190666@10.66.6.6>", "<tel:+1900>"])
def test_a_phone_forwards_to_where_it_may_not_call(world: World, contact: str) -> None:
    caller, _ = parties(world)
    phone = world.phone("1001", "10.9.0.1")
    victim = world.agent("10.66.6.6")
    a = caller.call("1001")
    phone.line.reply(302, contact=f"Contact: {contact}\r\n")
    world.run(1)
    assert victim.inbox == []
    if contact == "<sip:10.66.6.6>":
        # No number: 1001 again, and round until max_redirects.
        for _ in range(5):
            phone.line.reply(302, contact=f"Contact: {contact}\r\n")
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    world.end()


def test_a_redirect_in_a_circle_ends(world: World) -> None:
    caller, _ = parties(world)
    one, two = world.phone("1001", "10.9.0.1"), world.phone("1002", "10.9.0.2")
    a = caller.call("1001")
    for number in range(6):
        phone, other = (one, 1002) if number % 2 == 0 else (two, 1001)
        phone.line.reply(302, contact=f"Contact: <sip:{other}@10.0.0.1>\r\n")
    assert len(one.lines) + len(two.lines) == 6, "the first, and max_redirects more"
    assert a.last.what == "480 INVITE"
    a.acknowledge(a.last)
    world.end()


def test_a_trunk_redirects_to_another_of_its_addresses(world: World) -> None:
    caller, pstn = parties(world)
    second = world.agent("10.2.0.7")
    a = caller.call("85550100")
    pstn.line.reply(
        302,
        contact="Contact: <sip:10.2.0.8>;q=0.1, <sip:5550199@10.2.0.7>;q=0.9\r\n",
    )
    assert second.line.received[0].uri == "sip:5550199@10.2.0.7", "the greatest q first (§8.1.3.4)"
    assert world.switch.trunks.calls("pstn") == 1
    second.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    second.line.reply(200, to="BYE")
    world.end()


def test_a_redirect_that_is_not_needed_any_more_holds_no_line(world: World) -> None:
    caller, pstn = parties(world)
    a = caller.call("85550100")
    second = world.agent("10.2.0.7")
    pstn.line.reply(302, contact="Contact: <sip:1@10.2.0.7>, <sip:2@10.2.0.8>\r\n")
    second.line.reply(180)
    a.cancel()
    second.line.reply(487)
    a.acknowledge(a.last)
    world.end()


def test_a_trunk_redirects_by_address_alone(world: World) -> None:
    caller, pstn = parties(world)
    second = world.agent("10.2.0.7")
    a = caller.call("85550100")
    pstn.line.reply(302, contact="Contact: <sip:10.2.0.7:5060>\r\n")
    assert second.line.received[0].uri == "sip:5550100@10.2.0.7:5060"
    second.line.reply(486)
    a.acknowledge(a.last)
    world.end()


def test_a_broken_redirect(world: World) -> None:
    caller, pstn, backup = trunks(world)
    for contact in ("<<<", "*", "", '"x', "<mailto:a@b>", "<sip:1@[::1]:99999>"):
        a = caller.call("95550100")
        pstn.line.reply(302, contact=f"Contact: {contact}\r\n")
        backup.line.reply(486)
        assert a.last.what == "486 INVITE"
        a.acknowledge(a.last)
    world.end()


def test_a_redirect_to_a_trunk_that_is_full(world: World) -> None:
    caller, pstn = parties(world)
    calls = [caller.call("85550100") for _ in range(5)]
    first = pstn.lines[0]
    # Somebody is quicker than the redirect: the line is gone as soon as the leg has ended.
    trunk_lines = world.switch.trunks
    listeners = world.switch.listeners._told
    listeners.append(("quick", lambda e: isinstance(e, LegEnded) and trunk_lines.acquire("pstn")))
    first.reply(302, contact="Contact: <sip:1@10.2.0.7>\r\n")
    listeners.pop()
    assert calls[0].last.status == 500
    world.switch.trunks.release("pstn")
    for a, b in zip(calls, pstn.lines, strict=True):
        if b is not first:
            b.reply(486)
        a.acknowledge(a.last)
    world.end()


def test_an_answer_that_cannot_be_used(world: World) -> None:
    """A 2xx without a Contact (§12.1.2): the next trunk gets the call."""
    caller, pstn, backup = trunks(world)
    a = caller.call("95550100")
    pstn.line.reply(200, ANSWER, contact="X-None: \r\n")
    assert pstn.line.what == ["INVITE", "ACK", "BYE"]
    pstn.line.reply(200, to="BYE")
    backup.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    backup.line.reply(200, to="BYE")
    world.end()
    assert world.of(LegEnded)[0].status == 502


def test_progress_that_cannot_be_read(world: World) -> None:
    caller, pstn = parties(world)
    a = caller.call("85550100")
    pstn.line.reply(180, contact="Contact: <<<\r\n")
    assert a.what == []
    pstn.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    pstn.line.reply(200, to="BYE")
    world.end()
