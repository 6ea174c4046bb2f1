"""Lamps: phones watch the dialogs of others (RFC 4235), and are told of each change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from calls.call_world import CONFIG, PLAN, World
from calls.transfers import CAROL, GROUPS, phones, refer, talk
from notifier.watchers import Watch, lamp

from softswitch.configuration import load_config
from softswitch.notifier.dialog_info import write_dialogs
from softswitch.notifier.lines import Line
from softswitch.notifier.xml import parse_xml

PARKING = PLAN + '  - {match: "70X", do: park}\n'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_state_of_a_call(world: World) -> None:
    alice, bob, carol = phones(world)
    of_bob, of_alice = Watch(carol, "1002"), Watch(carol, "1001")
    assert of_bob.final.status == 200
    assert of_bob.final["expires"] == "600"
    assert ";tag=" in of_bob.final["to"]
    assert of_bob.note["event"] == "dialog"
    assert of_bob.note["subscription-state"] == "active;expires=600"
    assert of_bob.note["content-type"] == "application/dialog-info+xml"
    assert 'entity="sip:1002@10.0.0.1"' in of_bob.note.body
    assert lamp(of_bob) == lamp(of_alice) == "idle"
    a = alice.call("1002")
    world.run(0.2)
    assert of_bob.states == [("trying", "recipient")]
    assert of_alice.states == [("early", "initiator")]
    b = bob.line
    b.reply(180)
    world.run(0.2)
    assert of_bob.states == [("early", "recipient")]
    b.reply(200)
    a.ack()
    world.run(0.2)
    assert of_bob.states == [("confirmed", "recipient")]
    assert of_alice.states == [("confirmed", "initiator")]
    b.bye()
    a.reply(200, to="BYE")
    world.run(0.2)
    assert lamp(of_bob) == lamp(of_alice) == "idle"
    assert of_bob.versions == list(range(len(of_bob.notes)))
    of_bob.ask(0)
    of_alice.ask(0)
    assert of_bob.note["subscription-state"] == "terminated;reason=timeout"
    world.end()


def test_a_call_that_was_there_before(world: World) -> None:
    alice, bob, carol = phones(world)
    a, b = talk(alice, bob)
    watch = Watch(carol, "1002")
    assert lamp(watch) == "busy"
    a.bye()
    b.reply(200, to="BYE")
    world.run(0.2)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end()


@pytest.mark.parametrize("to", ["<pres:1002@x>", "<tel:1002>", "<urn:service:sos>", "<sip:>"])
def test_a_name_that_is_none_of_sip(world: World, to: str) -> None:
    """The Request-URI says who is watched; what the To says is the subscriber's business."""
    alice, bob, carol = phones(world)
    odd, watch = Watch(carol, "1002", to=to), Watch(carol, "1002")
    a, b = talk(alice, bob)
    world.run(0.2)
    assert lamp(odd) == lamp(watch) == "busy"
    assert 'entity="sip:1002@10.0.0.1' in odd.note.body
    a.bye()
    b.reply(200, to="BYE")
    world.run(700)
    assert odd.note["subscription-state"] == "terminated;reason=timeout"
    world.end()


def test_what_others_say_stays_xml() -> None:
    line = Line("d", "early", "recipient", "<9", "a\x01\ufffe&b", "ab\x01c", 't"', "\uffff")
    document = parse_xml(write_dialogs("sip:1@h", "1", "h", 0, [line]))
    (dialog,) = document
    assert (dialog.get("call-id"), dialog.get("local-tag")) == ("ab?c", 't"')


def test_who_gives_up_and_who_is_busy(world: World) -> None:
    alice, bob, carol = phones(world)
    watch = Watch(carol, "1002")
    a = alice.call("1002")
    bob.line.reply(180)
    world.run(0.2)
    assert lamp(watch) == "ringing"
    a.cancel()
    world.run(0.2)
    assert lamp(watch) == "idle", "it is cancelled, whatever the phone says to that"
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    world.run(0.2)
    alice.call("1002")
    bob.line.reply(486)
    world.run(0.2)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end()


def test_changes_at_once_are_told_once(world: World) -> None:
    """While a NOTIFY is under way nothing else is said, and then how it stands by then."""
    alice, bob, carol = phones(world)
    watch = Watch(carol, "1002")
    watch.answers = 0
    world.run(0.2)
    a = alice.call("1002")
    bob.line.reply(180)
    world.run(0.05)
    count = len(watch.notes)
    bob.line.reply(200)
    a.ack()
    world.run(0.3)
    assert len(watch.notes) == count
    watch.answers = 200
    world.run(0.5)  # it comes again, and is answered
    assert lamp(watch) == "busy"
    assert len(watch.notes) == count + 1
    a.bye()
    bob.line.reply(200, to="BYE")
    watch.ask(0)
    world.end()


def test_a_phone_that_is_gone(world: World) -> None:
    """Who does not answer a NOTIFY, or knows of no subscription, gets no more (RFC 6665 §4.2.2)."""
    alice, bob, carol = phones(world)
    deaf, stranger = Watch(carol, "1002"), Watch(carol, "1002")
    world.run(1)
    deaf.answers, stranger.answers = 0, 481
    a, b = talk(alice, bob)
    world.run(40)
    assert len(world.switch.notifier) == 0
    assert not world.switch.lamps.awake
    assert deaf.ask().status == 481
    a.bye()
    b.reply(200, to="BYE")
    world.end()


def test_it_runs_out(world: World) -> None:
    _, _, carol = phones(world)
    watch = Watch(carol, "1002", expires=60)
    world.run(50)
    assert watch.ask(60).status == 200
    world.run(50)
    assert watch.note["subscription-state"] == "active;expires=60"
    world.run(20)
    assert watch.note["subscription-state"] == "terminated;reason=timeout"
    assert len(world.switch.notifier) == 0
    world.end()


def test_what_is_refused(world: World) -> None:
    _, _, carol = phones(world)
    assert Watch(carol, "1002", expires=5).final["min-expires"] == "60"
    assert Watch(carol, "4711").final.status == 404
    assert Watch(carol, "666").final.status == 404
    assert Watch(carol, "8555").final.status == 404, "a carrier's number"
    unknown = Watch(carol, "1002", package="conference").final
    assert unknown.status == 489
    assert "dialog" in unknown["allow-events"]
    other = Watch(carol, "1002", extra="Accept: text/plain\r\n").final
    assert (other.status, other["accept"]) == (406, "application/dialog-info+xml")
    assert Watch(carol, "1002", extra="Accept: text/plain, */*\r\n", expires=0).final.status == 200
    assert Watch(carol, "1002", extra="Require: nonsense\r\n").final.status == 420
    pstn = world.agent("10.2.0.1", "pstn")
    assert Watch(pstn, "1002").final.status == 403
    nobody = world.agent("10.7.0.1", "nobody")
    nobody.password = "guess"
    assert Watch(nobody, "1002").final.status == 401
    assert len(world.switch.notifier) == 0
    world.end()


def test_limits(tmp_path: Path) -> None:
    limits = "limits: {max_subscriptions: 3, max_subscriptions_each: 2}\n"
    world = World(tmp_path, CONFIG + limits)
    alice, bob, carol = phones(world)
    mine = [Watch(carol, "1001"), Watch(carol, "1002")]
    assert Watch(carol, "1001").final.status == 403
    mine.append(Watch(bob, "1001"))
    full = Watch(alice, "1001").final
    assert (full.status, full["retry-after"]) == (503, "60")
    for one in mine:
        assert one.ask(0).status == 200
    assert Watch(alice, "1001", expires=0).final.status == 200
    world.end()


def test_a_group_and_who_sees_whom(tmp_path: Path) -> None:
    """Who may pick up sees who calls, and what a Replaces names; others see the state alone."""
    world = World(tmp_path, GROUPS)
    _alice, bob, carol = phones(world)
    dave = world.phone("1004", "10.9.0.4")
    of_group, of_bob, of_alice = Watch(dave, "600"), Watch(carol, "1002"), Watch(bob, "1001")
    a = dave.call("600")
    bob.line.reply(180)
    world.run(0.2)
    assert sorted(of_group.states) == [("early", "recipient"), ("trying", "recipient")]
    assert "call-id" not in of_group.note.body
    assert "remote" not in of_group.note.body
    seen = of_bob.note.body
    assert '<identity display="Dave">sip:1004@10.0.0.1</identity>' in seen
    rung = bob.line.find("INVITE")
    assert f'call-id="{rung["call-id"]}"' in seen
    assert f'remote-tag="{rung.tag("from")}"' in seen
    assert f'local-tag="{bob.line.tag}"' in seen
    assert "remote" not in of_alice.note.body
    # What the lamp says is what one picks up with.
    picked = carol.call(
        "1002",
        extra=f"Replaces: {rung['call-id']};to-tag={bob.line.tag};from-tag={rung.tag('from')}"
        ";early-only\r\n",
    )
    picked.ack()
    picked.reply(200, CAROL)
    a.ack()
    assert bob.line.last.what == "CANCEL"
    world.run(0.5)
    assert lamp(of_bob) == "idle"
    for one in (of_group, of_bob, of_alice):
        one.ask(0)
    a.bye()
    world.end(idle=400)


def test_an_orbit(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG, PARKING)
    alice, bob, carol = phones(world)
    watch = Watch(carol, "701")
    assert lamp(watch) == "idle"
    a, b = talk(alice, bob)
    world.run(1)
    refer(b, "701")
    world.run(0.5)
    assert lamp(watch) == "busy"
    a.bye()
    world.run(0.5)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end(idle=400)


def test_only_the_same_phone_within_the_dialog(world: World) -> None:
    _, _bob, carol = phones(world)
    watch = Watch(carol, "1002")
    was = watch.local
    watch.local = was.replace("tag=w", "tag=x")
    assert watch.ask(0).status == 481
    watch.local = was
    watch.cseq = 0
    assert watch.ask(600).status == 500
    watch.cseq = 10
    assert watch.ask(0).status == 200
    world.end()


def test_a_dialplan_that_changes(world: World) -> None:
    """What may not be watched any more ends; what stands for other phones is told anew."""
    alice, bob, carol = phones(world)
    gone, other = Watch(carol, "600"), Watch(carol, "1002")
    talk(alice, bob)
    world.run(0.2)
    assert lamp(gone) == lamp(other) == "busy"
    changed = PLAN.replace('"600", from: any', '"600", from: "extension:1001"')
    (world.folder / "plan.yaml").write_text(changed)
    (world.folder / "switch.yaml").write_text(CONFIG)
    world.switch.take_up(load_config(world.folder / "switch.yaml"))
    world.settle()
    assert gone.note["subscription-state"] == "terminated;reason=noresource"
    assert other.note["subscription-state"].startswith("active")
    other.ask(0)
    alice.line.bye()
    bob.line.reply(200, to="BYE")
    world.end()


def test_after_a_kill(tmp_path: Path) -> None:
    """Who was subscribed is told how it stands now, and goes on."""
    world = World(tmp_path, journal=True)
    alice, bob, carol = phones(world)
    watch = Watch(carol, "1002")
    a, b = talk(alice, bob)
    world.restart(away=2)
    world.run(0.3)
    assert lamp(watch) == "busy"
    # And once more: what the second process has said is jumped over as well.
    world.restart()
    world.run(0.3)
    assert watch.versions == sorted(set(watch.versions))
    cseqs = [note.cseq for note in watch.notes]
    assert cseqs == sorted(set(cseqs))
    b.bye()
    a.reply(200, to="BYE")
    world.run(0.3)
    assert lamp(watch) == "idle"
    assert watch.ask(600).status == 200
    assert watch.ask(0).status == 200
    world.end()
    assert world.rows is not None
    world.restart()
    assert len(world.switch.notifier) == 0


def test_one_that_ran_out_meanwhile(tmp_path: Path) -> None:
    world = World(tmp_path, journal=True)
    _, _, carol = phones(world)
    watch = Watch(carol, "1002", expires=60)
    count = len(watch.notes)
    world.restart(away=100)
    assert len(world.switch.notifier) == 0
    assert len(watch.notes) == count
    world.end()


def test_each_limit_is_that_of_its_name(tmp_path: Path) -> None:
    names = {
        "max_subscriptions": "most",
        "max_subscriptions_each": "each",
        "max_notified_at_once": "at_once",
        "max_publications": "publications",
        "max_presence": "max_body",
    }
    values = {name: 11 + number for number, name in enumerate(names)}
    limits = ", ".join(f"{name}: {value}" for name, value in values.items())
    settings = World(tmp_path, CONFIG + f"limits: {{{limits}}}\n").switch.notifier.settings
    assert {name: getattr(settings, ours) for name, ours in names.items()} == values


def test_many_after_a_kill(tmp_path: Path) -> None:
    """They are told some after the others, and each of them once."""
    world = World(tmp_path, journal=True)
    _, _, carol = phones(world)
    watches = [Watch(carol, "1002") for _ in range(50)]
    world.run(0.3)
    counts = [len(one.notes) for one in watches]
    world.run(0.25)
    world.kill()
    assert world.rows is not None
    switch = world.switch = world.add_switch("hq", ("10.0.0.1", 5060), CONFIG, PLAN)
    switch.notifier.settings = replace(switch.notifier.settings, at_once=20)
    switch.restore(list(world.rows.rows.items()))
    switch.opened()
    world.run(0.05)
    assert sum(len(one.notes) for one in watches) - sum(counts) == 20
    world.run(1)
    assert [len(one.notes) for one in watches] == [count + 1 for count in counts]
    for one in watches:
        one.ask(0)
    world.end()
