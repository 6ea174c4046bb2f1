"""``play: {stream: URL}``: what the worker is ordered, and what becomes of the call when the
program is there, is not, or goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from applications.speaking_world import CONFIG, Heard, SpeakingWorld
from applications.test_menus import over
from applications.test_played import dies
from calls.transfers import BOB, hangs_up, refer

from softswitch import events
from softswitch.media.orders import (
    Digit,
    Stream,
    StreamEnded,
    Streaming,
    encode,
    order_of,
)

PLAN = """
menus:
  main:
    say: welcome
    choices: {"1": {play: {stream: "ws://agent.example/menu"}, else: {dial: "1003", timeout: 5}}}
routes:
  - {match: "80", from: any, play: {stream: "wss://agent.example:8443/t0ken"}}
  - match: "81"
    from: any
    play:
      stream:
        url: ws://agent.example/x
        headers: {Authorization: Bearer s3cret}
        parameters: {lang: en, callee: sales}
        format: l16
        connect: 2
        ping: 3
        buffer: 4
        backlog: 5
        message: 6000
    then: {dial: "1002", timeout: 5}
    else: {dial: "1003", timeout: 5}
  - {match: "500", from: any, play: {menu: main}}
  - {match: "1XXX", from: any, dial: extension, timeout: 5, else: {play: {stream: "ws://a.example"}}}
"""


@pytest.fixture
def world(tmp_path: Path) -> SpeakingWorld:
    return SpeakingWorld(tmp_path, CONFIG, PLAN)


def stream(one: Heard) -> Stream:
    found = [order for order in one.orders if isinstance(order, Stream)]
    assert found[-1].port == one.number
    return found[-1]


def ends(one: Heard, why: str, error: str = "", seconds: float = 2.5) -> None:
    order = stream(one)
    one.say(StreamEnded(one.number, order.job, why, error, seconds))


def test_what_the_worker_is_ordered(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "80")
    order = stream(one)
    call_id = world.of(events.CallStarted)[-1].call_id
    assert order.url == "wss://agent.example:8443/t0ken"
    assert order.sid == f"{call_id}/hq/1"
    assert (order.call_id, order.switch) == (call_id, "hq")
    assert dict(order.parameters) == {"caller": "1001", "callerName": "Alice", "callee": "80"}
    assert (order.linear, order.headers, order.ca) == (False, (), "")
    one = Heard(world, world.bob, "81")
    order = stream(one)
    assert order.headers == (("Authorization", "Bearer s3cret"),)
    assert dict(order.parameters) == {
        "caller": "1002",
        "callerName": "Bob",
        "callee": "sales",
        "lang": "en",
    }
    assert (order.linear, order.connect, order.ping) == (True, 2, 3)
    assert (order.buffer, order.backlog, order.message) == (4, 5, 6000)


def test_who_withholds_its_number(world: SpeakingWorld) -> None:
    """Withholds it from the program as well."""
    one = Heard(world, world.carrier, "80", extra="Privacy: id\r\n")
    assert dict(stream(one).parameters) == {"caller": "", "callerName": "", "callee": "80"}


def test_whatever_a_caller_is_called(world: SpeakingWorld) -> None:
    """Old gateways send names that are no UTF-8: as readable as they are anywhere."""
    name = b'"M\xfcller \x1b[2J" <sip:+15550100@10.0.9.1>'.decode("utf-8", "surrogateescape")
    order = stream(Heard(world, world.carrier, "80", from_=name))
    parameters = dict(order.parameters)
    assert parameters["caller"] == "+15550100"
    assert parameters["callerName"] == "Müller ?[2J"
    assert order_of(encode(order)) == order


def test_the_caller_hangs_up(world: SpeakingWorld) -> None:
    """Keys, and since when there was somebody, are in the call's data; no secret is."""
    one = Heard(world, world.alice, "80")
    assert world.facts == {"host": "agent.example:8443"}
    one.say(Streaming(one.number, stream(one).job))
    one.press("12")
    facts = world.facts
    assert facts.pop("streaming_from").endswith("+00:00")
    assert facts == {"host": "agent.example:8443", "digits": "12"}
    one.left()
    told = world.told()
    ends(one, "stopped")
    one.say(Digit(one.number, "3"))
    assert world.told() == told, "a call that is over has no more data"
    one.gone()
    over(world)
    assert world.ended.hangup_by == "caller"


def test_the_program_closes(world: SpeakingWorld) -> None:
    """Without `then` the switch hangs up."""
    one = Heard(world, world.alice, "80")
    one.say(Streaming(one.number, stream(one).job))
    ends(one, "closed")
    assert world.facts.pop("streaming_from")
    facts = world.facts
    assert (facts["ended"], facts["seconds"]) == ("closed", "2.5")
    assert "error" not in facts
    assert one.over
    one.worker.bye()
    one.line.reply(200, to="BYE")
    over(world)
    assert (world.ended.disposition, world.ended.hangup_by) == ("answered", "callee")


def test_then(world: SpeakingWorld) -> None:
    """The program has done its part: on with Bob; nobody is there: with Carol."""
    one = Heard(world, world.alice, "81")
    one.say(Streaming(one.number, stream(one).job))
    ends(one, "closed")
    assert one.hears == ["beep"], "it hears that somebody is rung"
    one.reject(world.bob, 486)
    world.carol.line.reply(200, BOB)
    one.line.reply(200, BOB)
    one.worker.reply(200, to="BYE")
    one.gone()
    hangs_up(one.line, world.carol.line)
    over(world)


@pytest.mark.parametrize(
    "why", ["unreachable", "tls", "refused", "late", "garbage", "flood", "slow", "lost", "stopped"]
)
def test_else(world: SpeakingWorld, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is the matter with the program; the log says it, without secrets."""
    one = Heard(world, world.alice, "81")
    ends(one, why, "it answers 403", 0.0)
    facts = world.facts
    assert (facts["ended"], facts["error"], facts["seconds"]) == (why, "it answers 403", "0.0")
    assert "stream to agent.example: it answers 403" in caplog.text
    assert "s3cret" not in caplog.text
    world.carol.line.reply(200, BOB)
    one.line.reply(200, BOB)
    one.worker.reply(200, to="BYE")
    one.gone()
    hangs_up(one.line, world.carol.line)
    over(world)


def test_else_comes_to_nothing(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "81")
    ends(one, "lost", "it closed with 1011")
    one.reject(world.carol, 486)
    assert one.over
    assert not world.bob.lines


def test_no_else(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "80")
    ends(one, "refused", "it answers 500")
    assert one.over


def test_after_a_phone_that_nobody_answers(world: SpeakingWorld) -> None:
    """The program is told the number that was dialled."""
    one = Heard(world, world.alice, "1002", wait=6)
    assert dict(stream(one).parameters)["callee"] == "1002"


def test_from_a_menu(world: SpeakingWorld) -> None:
    """It is another application, at a port of its own."""
    one = Heard(world, world.alice, "500")
    one.press("1")
    other = world.worker.line
    if other is one.worker:
        other = world.agents["127.0.0.1", 7002].line
    other.reply(200, BOB)
    one.line.reply(200, BOB)
    assert one.worker.last.what == "BYE"


def test_what_is_of_another_stream_is_nothing(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "81")
    job = stream(one).job
    one.say(Streaming(one.number, job + 1))
    one.say(StreamEnded(one.number, job + 1, "lost", "x"))
    assert not world.carol.lines
    ends(one, "lost", "y")
    ends(one, "lost", "y")
    assert len(world.carol.lines) == 1


def test_the_worker_dies(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "81")
    one.say(Streaming(one.number, stream(one).job))
    dies(world)
    world.carol.line.reply(200, BOB)
    one.line.reply(200, BOB)
    hangs_up(one.line, world.carol.line)
    over(world)


def test_who_talks_with_it_is_sent_elsewhere(world: SpeakingWorld) -> None:
    """A transfer: the port is given back, and with it the stream."""
    one = Heard(world, world.alice, "80")
    refer(one.line, "1003")
    one.line.reply(200, to="NOTIFY")
    world.carol.line.reply(200, BOB)
    world.settle()
    assert len(world.carol.lines) == 1
