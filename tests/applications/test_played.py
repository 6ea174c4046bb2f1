"""What is played, and what becomes of the call: no room, a worker that dies, callers who leave at
any moment, who hold, or are sent elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from applications.speaking_world import CONFIG, Heard, SpeakingWorld
from applications.test_menus import over
from calls.call_world import HOLD
from calls.transfers import BOB, hangs_up, refer

from softswitch import events
from softswitch.media import Port, User
from softswitch.media.orders import Echo, Release

PLAN = """
routes:
  - {match: "*43", from: any, play: echo}
  - {match: "600", from: any, play: {announcement: {say: [welcome, goodbye], times: 2, pause: 3}}}
  - {match: "601", from: any, play: {announcement: welcome}, then: {dial: "1003"}}
  - {match: "602", from: any, play: echo, else: {dial: "1003"}}
  - {match: "603", from: any, play: number}
  - {match: "604", from: any, play: time}
  - {match: "605", from: any, play: {tone: {hz: 500, seconds: 70}}}
  - {match: "1XXX", from: any, dial: extension, timeout: 5, else: {play: echo}}
"""


@pytest.fixture
def world(tmp_path: Path) -> SpeakingWorld:
    return SpeakingWorld(tmp_path, CONFIG, PLAN)


def no_workers(world: SpeakingWorld) -> None:
    world.switch.spoken.workers = None


def dies(world: SpeakingWorld) -> None:
    assert world.worker_line is not None
    world.worker_line.worker.lost()
    world.settle()


def test_echo(world: SpeakingWorld) -> None:
    """A talk with an application, which hears keys."""
    one = Heard(world, world.alice, "*43")
    assert any(isinstance(order, Echo) for order in one.orders)
    one.press("12#")
    assert world.facts == {"digits": "12#"}
    (talk,) = world.of(events.TalkBegan)
    assert talk.how == "application"
    (invited,) = world.of(events.LegInvited)
    assert (invited.party, invited.by) == ("application:echo", "")
    one.left()
    one.gone()
    over(world)
    assert world.ended.hangup_by == "caller"


def test_an_announcement(world: SpeakingWorld) -> None:
    """Twice, with a pause; then it is the application that hangs up."""
    one = Heard(world, world.alice, "600")
    assert one.hears == ["welcome", "goodbye"]
    one.heard()
    world.run(2.9)
    plays = len([order for order in one.orders if hasattr(order, "sounds")])
    assert plays == 1
    world.run(0.2)
    one.heard()
    assert one.over
    one.worker.bye()
    assert one.line.last.what == "BYE"
    one.line.reply(200, to="BYE")
    over(world)
    assert (world.ended.disposition, world.ended.hangup_by) == ("answered", "callee")


def test_then(world: SpeakingWorld) -> None:
    """On with a phone; nobody takes the call: then it is over."""
    one = Heard(world, world.alice, "601")
    one.heard()
    assert world.carol.line.last.what == "INVITE"
    one.reject(world.carol, 486)
    assert one.over


@pytest.mark.parametrize(
    ("caller", "extra", "said"),
    [
        ("alice", "", ["your-number", "digit-1", "digit-0", "digit-0", "digit-1"]),
        ("pstn", "Privacy: id\r\n", ["no-number"]),
    ],
)
def test_the_callers_number(world: SpeakingWorld, caller: str, extra: str, said: list[str]) -> None:
    """But not to who withholds it."""
    agent = world.alice if caller == "alice" else world.carrier
    assert Heard(world, agent, "603", extra=extra).hears == said


def test_the_time(world: SpeakingWorld) -> None:
    said = Heard(world, world.alice, "604").hears
    assert said[0] == "time-is"
    assert "today-is" in said
    assert len(said) >= 7


def test_a_long_tone(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "605")
    world.run(69.9)
    assert not one.over
    world.run(1.3)
    assert one.over
    tone = [order.sounds[0] for order in one.orders if getattr(order, "sounds", ())][-1]
    assert (tone.first, tone.times) == (500, 0)


def test_no_worker(world: SpeakingWorld) -> None:
    """By itself it fails; with `else` that is done; after a busy phone it is what that has said."""
    no_workers(world)
    a = world.alice.call("*43")
    assert a.last.start == "SIP/2.0 503 No Media Worker"
    a.acknowledge(a.last)
    a = world.alice.call("602")
    world.carol.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    a = world.alice.call("1003")
    world.carol.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)
    assert [one.hangup_by for one in world.of(events.CallEnded)] == ["switch", "callee", "callee"]


def test_a_busy_phone_and_then_an_application(world: SpeakingWorld) -> None:
    a = world.alice.call("1003")
    world.carol.line.reply(486)
    one = Heard(world, world.alice, "", line=a)
    a.ack()
    assert any(isinstance(order, Echo) for order in one.orders)


def test_the_caller_gives_up_before_the_worker_answers(world: SpeakingWorld) -> None:
    a = world.alice.call("*43")
    worker = world.worker.line
    a.cancel()
    a.acknowledge(a.last)
    worker.reply(200, BOB)
    assert worker.what[-2:] == ["ACK", "BYE"]
    worker.reply(200, to="BYE")
    over(world)
    assert world.worker_line is not None
    assert isinstance(world.worker_line.orders[-1], Release), "its port is free again"


def test_the_caller_gives_up_before_there_is_a_port(world: SpeakingWorld) -> None:
    """All are in use, and another worker is about to start: it is not called."""
    workers = world.switch.spoken.workers
    assert workers is not None
    wants: list[tuple[User, Callable[[Port | None], None]]] = []

    class Later:
        def want(self, user: User, address: str, then: Callable[[Port | None], None]) -> None:
            wants.append((user, then))

    world.switch.spoken.workers = Later()  # type: ignore[assignment]
    a = world.alice.call("*43")
    world.run(0.3)
    assert a.last.what == "100 INVITE"
    a.cancel()
    a.acknowledge(a.last)
    world.switch.spoken.workers = workers
    ((user, then),) = wants
    workers.want(user, "10.0.0.1", then)
    world.settle()
    assert not world.of(events.LegInvited)
    over(world)


def test_the_worker_dies(world: SpeakingWorld) -> None:
    """Its caller goes on with `else`."""
    one = Heard(world, world.alice, "602")
    dies(world)
    world.carol.line.reply(200, BOB)
    assert one.line.last.what == "INVITE"
    one.line.reply(200, BOB)
    assert [talk.how for talk in world.of(events.TalkBegan)] == ["application", "dialled"]
    (ended,) = world.of(events.LegEnded)
    assert (ended.reason, ended.by) == ("Media Worker Lost", "switch")
    hangs_up(one.line, world.carol.line)
    over(world)


def test_the_worker_dies_and_there_is_no_else(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "*43")
    dies(world)
    assert one.line.last.what == "BYE"
    assert "Media Worker Lost" in one.line.last["reason"]
    one.line.reply(200, to="BYE")
    over(world)
    assert (world.ended.hangup_by, world.ended.reason) == ("switch", "Media Worker Lost")


def test_the_worker_dies_before_it_answers(world: SpeakingWorld) -> None:
    """As if it had failed."""
    a = world.alice.call("602")
    dies(world)
    assert world.carol.line.last.what == "INVITE"
    world.carol.line.reply(486)
    assert a.last.what == "486 INVITE"
    a.acknowledge(a.last)


def test_a_worker_that_never_answers(world: SpeakingWorld) -> None:
    a = world.alice.call("602")
    world.run(10.2)
    assert world.carol.line.last.what == "INVITE"
    world.carol.line.reply(200, BOB)
    a.ack()
    hangs_up(a, world.carol.line)


def test_hold(world: SpeakingWorld) -> None:
    """The worker is told, and answers."""
    one = Heard(world, world.alice, "*43")
    one.line.invite(HOLD)
    assert one.worker.last.what == "INVITE"
    one.worker.reply(200, BOB)
    assert one.line.last.what == "200 INVITE"
    one.line.ack()
    one.left()
    one.gone()
    over(world)


def test_who_hears_it_is_sent_elsewhere(world: SpeakingWorld) -> None:
    """REFER: the application then talks with somebody else, as anybody would."""
    one = Heard(world, world.alice, "*43")
    refer(one.line, "1003")
    world.carol.line.reply(200, BOB)
    assert one.worker.last.what == "INVITE"
    one.worker.reply(200, BOB)
    assert [talk.how for talk in world.of(events.TalkBegan)] == ["application", "blind-transfer"]
