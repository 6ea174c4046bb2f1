"""On from an application: what is heard meanwhile, who is parked, whose call is over, and what of a
caller's requests a media worker hears."""

from __future__ import annotations

from pathlib import Path

import pytest
from applications.speaking_world import CONFIG, Heard, SpeakingWorld
from applications.test_menus import over
from applications.test_played import dies
from calls.transfers import BOB, attended, hangs_up, refer

from softswitch import events
from softswitch.media.orders import Digit, Release

IN_CALL = CONFIG + 'in_call: {transfer: "##"}\n'
PLAN = """
menus:
  main:
    say: welcome
    choices:
      "1": {do: park, strip: 3, prepend: "71"}
      "2": {dial: "1003", timeout: 5}
    else: {dial: "1003", timeout: 5}
routes:
  - {match: "*43", from: any, play: echo}
  - {match: "500", from: any, play: {menu: main}}
  - {match: "600", from: any, play: {announcement: welcome}, then: {dial: "1003", timeout: 5}}
  - match: "601"
    from: any
    play: {announcement: welcome}
    then: {dial: "1003", timeout: 5}
    else: {dial: "1002", timeout: 5}
  - {match: "602", from: any, play: {announcement: welcome}, then: {play: echo}}
  - {match: "603", from: any, play: number}
  - {match: "604", from: any, play: echo, else: {dial: "1003", timeout: 5}}
  - {match: "7X", from: any, do: park}
  - {match: "1XXX", from: any, dial: extension, timeout: 5}
"""


@pytest.fixture
def world(tmp_path: Path) -> SpeakingWorld:
    return SpeakingWorld(tmp_path, IN_CALL, PLAN)


def talks(world: SpeakingWorld) -> list[str]:
    """How they began and ended, in their order."""
    return [
        one.how if isinstance(one, events.TalkBegan) else "ended"
        for one in world.events
        if isinstance(one, events.TalkBegan | events.TalkEnded)
    ]


# --- what is heard


def test_ringing_after_an_announcement(world: SpeakingWorld) -> None:
    """Nobody is to wait in silence."""
    one = Heard(world, world.alice, "600")
    one.heard()
    assert world.carol.line.last.what == "INVITE"
    assert one.hears == ["beep"]
    world.carol.line.reply(200, BOB)
    one.line.reply(200, BOB)
    one.worker.reply(200, to="BYE")
    one.gone()
    assert talks(world) == ["application", "ended", "dialled"]
    hangs_up(one.line, world.carol.line)
    over(world)


def test_no_ringing_before_another_application(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "602")
    one.heard()
    assert one.hears == ["welcome"]
    other = world.worker.line
    if other is one.worker:  # it went to another worker
        other = world.agents["127.0.0.1", 7002].line
    other.reply(200, BOB)
    one.line.reply(200, BOB)
    assert one.worker.last.what == "BYE"
    one.worker.reply(200, to="BYE")
    assert talks(world) == ["application", "ended", "application"]


def test_then_and_else_both_come_to_nothing(world: SpeakingWorld) -> None:
    """Each is tried once, and then the application hangs up."""
    one = Heard(world, world.alice, "601")
    one.heard()
    one.reject(world.carol, 486)
    one.reject(world.bob, 486)
    assert one.over
    assert len(world.carol.lines) == len(world.bob.lines) == 1
    one.worker.bye()
    one.line.reply(200, to="BYE")
    over(world)
    assert world.ended.hangup_by == "callee"


def test_a_number_without_digits(world: SpeakingWorld) -> None:
    """There is nothing to be read out."""
    assert Heard(world, world.carrier, "603").hears == ["no-number"]


# --- who is parked


def test_parked_from_a_menu(world: SpeakingWorld) -> None:
    """Who is parked talks with nobody, and somebody goes on with the call."""
    one = Heard(world, world.alice, "500")
    one.press("1")
    assert one.worker.last.what == "BYE"
    one.worker.reply(200, to="BYE")
    one.gone()
    assert one.line.last.what == "INVITE", "on hold"
    assert "a=inactive" in one.line.last.body or "a=sendonly" in one.line.last.body
    one.line.reply(200, BOB)
    assert talks(world) == ["application", "ended"]
    b = world.bob.call("71")
    assert one.line.last.what == "INVITE"
    one.line.reply(200, BOB)
    b.ack()
    assert talks(world) == ["application", "ended", "park"]
    hangs_up(b, one.line)
    over(world)


def test_parked_where_somebody_is_parked(world: SpeakingWorld) -> None:
    """It is in the menu again."""
    first = Heard(world, world.alice, "500")
    first.press("1")
    first.worker.reply(200, to="BYE")
    first.line.reply(200, BOB)
    one = Heard(world, world.bob, "500")
    one.press("1")
    assert one.hears == ["not-available", "welcome"]
    assert one.line.last.what == "200 INVITE"


def test_an_application_is_not_parked(world: SpeakingWorld) -> None:
    """It would wait for ever."""
    one = Heard(world, world.alice, "*43")
    refer(one.line, "72")
    assert not world.switch.orbits
    one.line.reply(200, to="NOTIFY")
    assert talks(world) == ["application", "ended", "returned"]


# --- whose call is over


def test_two_applications_are_not_left_to_each_other(world: SpeakingWorld) -> None:
    """Neither would ever hang up."""
    one = Heard(world, world.alice, "*43")
    other = Heard(world, world.alice, "*43")
    attended(one.line, other.line, "*43")
    for worker in (one.worker, other.worker) * 2:
        if worker.last.what == "INVITE":
            worker.reply(200, BOB)
    world.run(10)
    assert [worker.count("BYE") > 0 for worker in (one.worker, other.worker)] == [True, True]
    for worker in (one.worker, other.worker):
        worker.reply(200, to="BYE")
    for line in (one.line, other.line):
        if "BYE" in line.what:
            line.reply(200, to="BYE")
    for heard in (one, other):
        heard.gone()
    over(world)


def test_the_worker_dies_while_somebody_is_rung_for_the_application(world: SpeakingWorld) -> None:
    """Its caller has sent it on, and has left: with the worker the last leg of the call is gone."""
    one = Heard(world, world.alice, "*43")
    refer(one.line, "1003")
    carol = world.carol.line
    carol.reply(180)
    one.line.bye()
    dies(world)
    assert carol.last.what == "CANCEL"
    carol.reply(200, to="CANCEL")
    carol.reply(487, to="INVITE")
    over(world)
    assert world.ended.reason == "Media Worker Lost"


def test_the_application_leaves_while_somebody_is_rung(world: SpeakingWorld) -> None:
    """Who waits hears nothing any more, and has the phone all the same."""
    one = Heard(world, world.alice, "500")
    one.press("2")
    carol = world.carol.line
    one.worker.bye()
    one.gone()
    assert one.line.last.what == "200 INVITE", "it is not hung up on"
    carol.reply(200, BOB)
    one.line.reply(200, BOB)
    assert talks(world) == ["application", "ended", "dialled"]
    hangs_up(one.line, carol)
    over(world)


def test_the_application_leaves_and_nobody_answers(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "500")
    one.press("2")
    one.worker.bye()
    one.gone()
    world.carol.line.reply(486)
    assert one.line.last.what == "BYE"
    one.line.reply(200, to="BYE")
    over(world)


def test_else_after_the_worker_has_died_comes_to_nothing(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "604")
    dies(world)
    world.carol.line.reply(486)
    assert one.line.last.what == "BYE"
    one.line.reply(200, to="BYE")
    over(world)
    assert world.ended.hangup_by == "switch"


def test_who_hangs_up_while_else_rings(world: SpeakingWorld) -> None:
    one = Heard(world, world.alice, "604")
    dies(world)
    carol = world.carol.line
    carol.reply(180)
    one.line.bye()
    assert carol.last.what == "CANCEL"
    carol.reply(200, to="CANCEL")
    carol.reply(487, to="INVITE")
    over(world)
    assert world.ended.hangup_by == "caller"


def test_keys_after_the_end_are_no_data(world: SpeakingWorld) -> None:
    """The worker hears of the end a little later."""
    one = Heard(world, world.alice, "*43")
    one.press("1")
    one.line.bye()
    assert world.told()[-1].startswith("CallEnded")
    one.press("2")
    one.say(Digit(one.number, "3"))
    assert world.told()[-1].startswith("CallEnded")
    assert world.facts == {"digits": "1"}
    one.worker.reply(200, to="BYE")
    one.gone()
    over(world)


def test_who_leaves_before_a_key_leads_on(world: SpeakingWorld) -> None:
    """A key that crosses the caller's BYE calls nobody."""
    one = Heard(world, world.alice, "500")
    one.line.bye()
    one.press("2")
    assert not world.carol.lines
    one.worker.reply(200, to="BYE")
    one.gone()
    over(world)


# --- what a worker hears of a caller's requests

KEYS = [
    ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5"),
    ("application/dtmf-relay", "Signal= 5", "5"),
    ("application/dtmf-relay", "signal=10", "*"),
    ("application/dtmf-relay", "Duration=99999999999\r\nSignal=#\r\n", "#"),
    ("application/dtmf-relay", "Signal=D", "D"),
    ("application/dtmf", "7", "7"),
    ("application/dtmf; x=y", " 11\r\n", "#"),
]
NO_KEYS = [
    ("application/dtmf-relay", "Signal="),  # each of these ends a process with pjsua2
    ("application/dtmf-relay", "Signal"),
    ("application/dtmf-relay", "Signal=\0\r\n"),
    ("application/dtmf-relay", "Signal=é\r\n"),
    ("application/dtmf-relay", "Signal=16\r\n"),
    ("application/dtmf-relay", "Signal=5\r\n" + "x" * 300),
    ("application/dtmf", "Signal=5"),
    ("application/media_control+xml", "<media_control/>"),
    ("text/plain", "5"),
]


@pytest.mark.parametrize(("kind", "body", "key"), KEYS)
def test_a_key_by_info(world: SpeakingWorld, kind: str, body: str, key: str) -> None:
    """The worker is told of it in one way, whatever the phone's is."""
    one = Heard(world, world.alice, "*43")
    one.line.send("INFO", body, f"Content-Type: {kind}\r\n")
    world.run(5)  # it might have become a code
    info = one.worker.find("INFO")
    assert (info["content-type"], info.body) == (
        "application/dtmf-relay",
        f"Signal={key}\r\nDuration=160\r\n",
    )
    one.worker.reply(200, to="INFO")
    assert one.line.last.what == "200 INFO"


@pytest.mark.parametrize(("kind", "body"), NO_KEYS)
@pytest.mark.parametrize("method", ["INFO", "MESSAGE"])
def test_nothing_else_is_for_a_worker(
    world: SpeakingWorld, method: str, kind: str, body: str
) -> None:
    one = Heard(world, world.alice, "*43")
    one.line.send(method, body, f"Content-Type: {kind}\r\n")
    assert one.line.last.what == f"415 {method}"
    world.run(3)
    assert one.worker.what == ["INVITE", "ACK"]


def test_a_digit_that_did_not_become_a_code(world: SpeakingWorld) -> None:
    """`##` transfers; one of them is kept back, and then is a key like others."""
    one = Heard(world, world.alice, "*43")
    one.line.send("INFO", "#", "Content-Type: application/dtmf\r\n")
    assert one.line.last.what == "200 INFO"
    assert "INFO" not in one.worker.what
    world.run(5)
    assert one.worker.find("INFO").body == "Signal=#\r\nDuration=160\r\n"


def test_a_port_is_given_back_once(world: SpeakingWorld) -> None:
    """However an application ends."""
    one = Heard(world, world.alice, "600")
    one.heard()
    one.reject(world.carol, 486)
    one.worker.bye()
    one.line.reply(200, to="BYE")
    one.gone()
    over(world)
    released = [order for order in one.orders if isinstance(order, Release)]
    assert len(released) == 1
