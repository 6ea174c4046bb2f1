"""A phone at `branch` watches one at `hq`: the switches ask each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls.call_world import ANSWER, Agent, Line, World
from calls.test_by_chance import BRANCH
from calls.transfers import phones, talk
from notifier.watchers import Watch, lamp

PLAN = """
routes:
  - {match: "1XXX", from: internal, dial: "trunk:hq", timeout: 20}
  - {match: "2XXX", from: any, dial: extension, timeout: 20}
"""


class Site:
    """hq with its phones, and one phone at branch that watches."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alice, self.bob, self.carol = phones(world)
        self.branch()
        self.watcher = Agent(world, ("10.8.0.9", 5060), "2001", "c")
        self.watcher.switch = ("10.0.0.2", 5060)
        assert self.watcher.register().status == 200

    def branch(self) -> None:
        switch = self.world.add_switch("branch", ("10.0.0.2", 5060), BRANCH, PLAN)
        switch.opened()

    def talk(self) -> tuple[Line, Line]:
        return talk(self.alice, self.bob)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(World(tmp_path, journal=True))


def hang_up(a: Line, b: Line) -> None:
    a.bye()
    b.reply(200, to="BYE")


def test_each_state(site: Site) -> None:
    world = site.world
    watch = Watch(site.watcher, "1002")
    assert watch.final.status == 200
    world.run(0.3)
    assert lamp(watch) == "idle"
    a = site.alice.call("1002")
    site.bob.line.reply(180)
    world.run(0.3)
    assert lamp(watch) == "ringing"
    assert "call-id" not in watch.note.body
    site.bob.line.reply(200)
    a.ack()
    world.run(0.3)
    assert lamp(watch) == "busy"
    hang_up(a, site.bob.line)
    world.run(0.3)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.run(1)
    assert len(world.switch.notifier) == 0, "nobody asks hq any more"
    world.end()


def test_many_watch_and_hq_is_asked_once(site: Site) -> None:
    watches = [Watch(site.watcher, "1002") for _ in range(5)]
    site.world.run(0.3)
    assert len(site.world.switch.notifier) == 1
    a, b = site.talk()
    site.world.run(0.3)
    assert [lamp(one) for one in watches] == ["busy"] * 5
    hang_up(a, b)
    for one in watches:
        one.ask(0)
    site.world.end()


def test_hq_is_killed(site: Site) -> None:
    world = site.world
    watch = Watch(site.watcher, "1002")
    a, b = site.talk()
    world.restart(away=3)
    world.run(0.3)
    assert lamp(watch) == "busy"
    hang_up(a, b)
    world.run(0.3)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end()


def test_hq_has_lost_its_journal(site: Site) -> None:
    """The next refresh finds out, and asks anew."""
    world = site.world
    watch = Watch(site.watcher, "1002", expires=7200)
    world.run(0.3)
    world.kill()
    assert world.rows is not None
    world.rows.rows.clear()
    world.start()
    for phone in (site.alice, site.bob):
        phone.register()
    world.run(3300)
    assert len(world.switch.notifier) == 1
    a, b = site.talk()
    world.run(0.3)
    assert lamp(watch) == "busy"
    hang_up(a, b)
    watch.ask(0)
    world.end()


def test_hq_is_away(site: Site) -> None:
    """Nothing is known then; it is asked until it is there."""
    world = site.world
    world.dead.add(("10.0.0.1", 5060))
    watch = Watch(site.watcher, "1002", expires=7200)
    world.run(100)
    assert lamp(watch) == "idle"
    world.dead.clear()
    world.run(70)
    a, b = site.talk()
    world.run(0.3)
    assert lamp(watch) == "busy"
    hang_up(a, b)
    watch.ask(0)
    world.end()


def test_a_number_that_hq_does_not_show(site: Site) -> None:
    watch = Watch(site.watcher, "1777")
    site.world.run(3)
    assert watch.final.status == 200
    assert lamp(watch) == "idle"
    asked = [m for m in site.world.wire if m.what == "SUBSCRIBE" and m.target[0] == "10.0.0.1"]
    assert len(asked) == 1, "not again and again"
    watch.ask(0)
    site.world.end()


def test_presence(site: Site) -> None:
    world = site.world
    watch = Watch(site.watcher, "1002", package="presence")
    world.run(0.3)
    assert "<basic>open</basic>" in watch.note.body
    a, b = site.talk()
    world.run(0.3)
    assert "on-the-phone" in watch.note.body
    hang_up(a, b)
    world.run(0.3)
    assert "on-the-phone" not in watch.note.body
    watch.ask(0)
    world.end()


def test_what_hq_says_is_read_with_care(site: Site) -> None:
    """Some other program at its address may say anything."""
    world = site.world
    watch = Watch(site.watcher, "1002")
    world.run(0.3)
    (asked,) = [m for m in world.wire if m.what == "SUBSCRIBE" and m.target[0] == "10.0.0.1"]
    world.dead.add(("10.0.0.1", 5060))
    hq = Line(Agent(world, ("10.0.0.1", 5060), "hq"), asked["call-id"])
    hq.agent.switch = ("10.0.0.2", 5060)
    (told,) = [m for m in world.wire if m.what == "NOTIFY" and m.source[0] == "10.0.0.1"]
    hq.local, hq.remote, hq.uri = told["from"], told["to"], told.uri
    hq.cseq = 500
    count = len(watch.notes)
    bombs = (
        "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        "<dialog-info",
        "<other/>",
        '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" state="partial"/>',
    )
    kind = (
        "Event: dialog\r\nSubscription-State: active\r\nContent-Type: application/dialog-info+xml"
    )
    for bomb in bombs:
        world.dead.clear()
        hq.send("NOTIFY", bomb, f"{kind}\r\n")
        world.run(0.3)
    assert len(watch.notes) > count
    assert lamp(watch) == "idle"
    stranger = Line(Agent(world, ("10.0.0.3", 5060), "x"), asked["call-id"])
    stranger.agent.switch = ("10.0.0.2", 5060)
    stranger.local, stranger.remote = "<sip:x@x>;tag=guessed", told["to"]
    stranger.uri = told.uri
    stranger.agent.lines.append(stranger)
    stranger.send("NOTIFY", "", f"{kind}\r\n")
    assert stranger.last.what == "481 NOTIFY"
    watch.ask(0)
    world.run(200)


def test_nobody_hears_a_guess_after_a_restart(site: Site) -> None:
    """How it stands at the other switch has to be asked there first."""
    world = site.world
    watch = Watch(site.carol, "2001")
    a = site.bob.call("2001")
    site.watcher.line.reply(200, ANSWER)
    a.ack()
    world.run(0.3)
    assert lamp(watch) == "busy"
    count = len(watch.notes)
    world.restart(away=1)
    world.run(3)
    assert len(watch.notes) > count
    assert all("confirmed" in note.body for note in watch.notes[count:])
    a.bye()
    site.watcher.line.reply(200, to="BYE")
    world.run(0.3)
    assert lamp(watch) == "idle"
    watch.ask(0)
    world.end()
