"""Calls that come to conferences: the PIN, `else`, transfers, hold, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from applications.speaking_world import CONFIG, SpeakingWorld, WorkerLine
from calls.call_world import ANSWER, Agent, Line
from calls.transfers import BOB, refer, talk

from softswitch.configuration import load_config
from softswitch.control import conference_rows
from softswitch.media import MediaWorker
from softswitch.media.orders import Digit, Expect, File, Gone, Join, Play, Played, Said, Tone, Up

IN_CALL = CONFIG + 'in_call: {transfer: "##"}\n'
PLAN = """
conferences:
  open: {most: 2}
  pin: {pin: "4711"}
  both: {pin: "4711", leader_pin: "0815", tries: 2, timeout: 5, ends: true}
  guests: {leader_pin: "0815", timeout: 5}
routes:
  - {match: "700", from: any, play: {conference: open}, else: {dial: "1004"}}
  - {match: "701", from: any, play: {conference: pin}}
  - match: "702"
    from: any
    play: {conference: both}
    then: {dial: "1003"}
    else: {dial: "1004"}
  - {match: "703", from: any, play: {conference: guests}}
  - {match: "704", from: any, play: {conference: open}}
  - {match: "1XXX", from: any, dial: extension, timeout: 5}
"""


class Hall(SpeakingWorld):
    """With all its workers."""

    def __init__(self, folder: Path, plan: str = PLAN) -> None:
        self.lines: list[WorkerLine] = []
        super().__init__(folder, IN_CALL, plan)
        self.dora = self.phone("1004", "10.9.0.4")
        self.run(1)

    def _start(self, worker: MediaWorker) -> WorkerLine:
        line = super()._start(worker)
        self.lines.append(line)
        return line

    def newest(self) -> tuple[WorkerLine, Expect]:
        """The port that was taken last, and where."""
        return max(
            ((line, one) for line in self.lines for one in line.orders if isinstance(one, Expect)),
            key=lambda found: found[1].port,
        )

    def ends(self) -> None:
        """All is over: nothing is left."""
        self.run(60)
        pool = self.switch.spoken.workers
        assert pool is not None
        assert pool.busy == 0
        assert not self.switch.spoken.rooms.all
        assert not any(one.kept for one in pool.workers)
        pool.close()
        self.end()


class Visitor:
    """One who calls, and hears what is played."""

    def __init__(self, hall: Hall, caller: Agent, number: str, line: Line | None = None) -> None:
        self.hall, self.caller = hall, caller
        self.line = line or caller.call(number)
        hall.run(0.1)
        self._sits()
        if line is None:
            self.line.ack()
        self.say(Up(self.port))

    def _sits(self) -> None:
        self.way, expected = self.hall.newest()
        self.port = expected.port
        self.worker = self.hall.agents["127.0.0.1", 7000 + self.way.worker.number].line
        assert expected.key in self.worker.find("INVITE").uri
        self.worker.reply(200, ANSWER)

    def goes_on(self) -> None:
        """To another application."""
        way, port, worker = self.way, self.port, self.worker
        self.hall.run(0.1)
        assert self.hall.newest()[1].port != port, "it stays where it is"
        self._sits()
        self.line.reply(200, BOB)
        if self.worker.last.what == "INVITE":
            self.worker.reply(200, ANSWER)
        worker.reply(200, to="BYE")
        way.worker.said(Gone(port))
        self.say(Up(self.port))

    def say(self, said: Said) -> None:
        self.way.worker.said(said)
        self.hall.settle()

    def press(self, keys: str) -> None:
        for key in keys:
            self.say(Digit(self.port, key))

    @property
    def plays(self) -> Play:
        return [o for o in self.way.orders if isinstance(o, Play) and o.port == self.port][-1]

    @property
    def hears(self) -> list[str]:
        names = {Tone: "tone"}
        return [
            Path(one.path).stem if isinstance(one, File) else names[type(one)]
            for one in self.plays.sounds
        ]

    def heard(self) -> None:
        """What is played is at its end."""
        self.say(Played(self.port, self.plays.job))

    @property
    def room(self) -> str:
        joins = [o for o in self.way.orders if isinstance(o, Join) and o.port == self.port]
        return joins[-1].room if joins else ""

    def leaves(self) -> None:
        self.line.bye()
        self.gone()

    def gone(self) -> None:
        self.worker.reply(200, to="BYE")
        self.say(Gone(self.port))

    def hung_up(self) -> None:
        """The application has: the worker says BYE, and so does the switch."""
        self.worker.bye()
        assert self.line.last.what == "BYE"
        self.line.reply(200, to="BYE")


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(tmp_path)


def test_without_a_pin_one_is_in(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "700")
    assert one.room == "open"
    assert one.hears == ["conference-alone"]
    two = Visitor(hall, hall.bob, "700")
    assert two.hears == ["tone"]
    assert hall.facts["members"] == "2"
    assert hall.facts_of_last("conference")["role"] == "leader"
    assert conference_rows(hall.switch) == [
        {
            "conference": "open",
            "people": 2,
            "most": 2,
            "locked": False,
            "speaker": None,
            "media_workers": 1,
            "members": ["1001", "1002"],
        }
    ]
    one.leaves()
    two.leaves()
    assert conference_rows(hall.switch) == []
    hall.ends()


def test_else_if_it_is_full(hall: Hall) -> None:
    people = [Visitor(hall, one, "700") for one in (hall.alice, hall.bob)]
    line = hall.carol.call("700")
    hall.run(0.1)
    assert hall.dora.line.last.what == "INVITE"
    line.cancel()
    hall.dora.line.reply(487)
    line = hall.carol.call("704")
    assert (line.last.status, line.last.start) == (486, "SIP/2.0 486 Conference Full")
    line.ack()
    for one in people:
        one.leaves()
    hall.ends()


def test_a_pin(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "701")
    assert one.hears == ["enter-pin"]
    assert hall.facts == {"conference": "pin"}
    one.press("4")
    assert one.hears == [], "a key silences it"
    one.press("711#")
    one.goes_on()
    assert one.room == "pin"
    assert hall.facts_of_last("conference")["role"] == "leader", "where there are no others"
    told = [str(event) for event in hall.events]
    assert not any("4711" in text for text in told), "a PIN is no call data"
    one.leaves()
    hall.ends()


def test_a_pin_without_the_pound_key(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "702")
    one.press("471")
    hall.run(4.9)
    one.press("1")
    hall.run(4.9)
    assert hall.newest()[1].port == one.port, "there may be more"
    hall.run(0.2)
    one.goes_on()
    assert hall.facts_of_last("conference")["role"] == "guest"
    one.leaves()
    hall.ends()


def test_wrong_pins(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "702")
    one.press("4712#")
    assert one.hears == ["wrong-pin", "enter-pin"]
    one.heard()
    one.press("47110815471108154711081547110815#")
    assert one.hears == ["wrong-pin"]
    one.press("4711#")
    assert one.hears == ["wrong-pin"], "that was the last try"
    one.heard()
    assert hall.dora.line.last.what == "INVITE", "else"
    one.leaves()
    hall.dora.line.reply(487)
    hall.ends()


def test_who_presses_nothing(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "702")
    one.heard()
    hall.run(5.1)
    assert one.hears == ["wrong-pin", "enter-pin"]
    # Its end is not told: it goes on all the same.
    hall.run(10.1)
    assert one.hears == ["wrong-pin"]
    one.heard()
    assert hall.dora.line.last.what == "INVITE"
    one.leaves()
    hall.dora.line.reply(487)
    hall.ends()


@pytest.mark.parametrize("keys", ["#", ""])
@pytest.mark.parametrize("prompts", [True, False])
def test_guests_without_a_pin(hall: Hall, keys: str, prompts: bool) -> None:
    """Where only leaders have one, `#` alone is enough, and so is nothing."""
    if not prompts:
        hall.switch.spoken.sounds = None
    one = Visitor(hall, hall.alice, "703")
    one.press(keys)
    if not keys:
        hall.run(10.1)
    one.goes_on()
    assert one.room == "guests"
    assert hall.facts_of_last("conference")["role"] == "guest"
    one.leaves()
    hall.ends()


def test_wrong_pins_without_prompts(hall: Hall) -> None:
    hall.switch.spoken.sounds = None
    one = Visitor(hall, hall.alice, "701")
    one.press("1#2#3#")
    one.hung_up()
    hall.ends()


def test_one_leaves_at_the_door(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "701")
    one.press("47")
    one.leaves()
    hall.ends()
    assert not hall.switch.spoken.rooms.all


def test_one_leaves_while_it_is_let_in(hall: Hall) -> None:
    one = Visitor(hall, hall.alice, "701")
    one.press("4711#")
    hall.run(0.1)
    assert hall.newest()[1].port != one.port
    assert conference_rows(hall.switch)[0]["people"] == 1
    one.leaves()
    hall.run(1)
    second = hall.agents["127.0.0.1", 7000 + hall.newest()[0].worker.number].line
    if second.last.what == "CANCEL":
        second.reply(200, to="CANCEL")
        second.reply(487)
    hall.run(15)
    hall.newest()[0].worker.said(Gone(hall.newest()[1].port))
    hall.ends()


def test_it_ends(hall: Hall) -> None:
    """Guests go on with `then`."""
    leader, guest = Visitor(hall, hall.alice, "702"), Visitor(hall, hall.bob, "702")
    leader.press("0815#")
    leader.goes_on()
    guest.press("4711#")
    guest.goes_on()
    assert guest.room == leader.room == "both"
    leader.leaves()
    assert guest.hears == ["conference-ended"]
    assert guest.room == ""
    guest.heard()
    print(
        hall.told(),
        hall.facts,
        guest.plays,
        [m.what + " " + str(m.target) for m in hall.wire[-12:]],
    )
    assert hall.carol.line.last.what == "INVITE"
    hall.carol.line.reply(200, BOB)
    guest.line.reply(200, BOB)
    guest.gone()
    hall.carol.line.bye()
    guest.line.reply(200, to="BYE")
    hall.ends()


def test_its_worker_dies(hall: Hall) -> None:
    """`else`, for a call that goes on."""
    one = Visitor(hall, hall.alice, "700")
    one.way.worker.lost()
    hall.settle()
    assert hall.dora.line.last.what == "INVITE"
    assert not hall.switch.spoken.rooms.all
    hall.dora.line.reply(200, BOB)
    one.line.reply(200, BOB)
    one.line.bye()
    hall.dora.line.reply(200, to="BYE")
    hall.ends()


def test_transferred_into_it(hall: Hall) -> None:
    """Carol, who was called by Alice, is sent there: it is her who is in."""
    caller, callee = talk(hall.alice, hall.carol)
    refer(caller, "700")
    hall.run(0.1)
    one = Visitor(hall, hall.carol, "700", callee)
    callee.reply(200, BOB)
    hall.settle()
    assert one.room == "open"
    assert conference_rows(hall.switch)[0]["members"] == ["1003"]
    caller.bye()
    hall.run(1)
    assert one.room == "open"
    one.leaves()
    hall.ends()


def test_put_on_hold(hall: Hall) -> None:
    """It stays in; its worker hears of it."""
    one, two = Visitor(hall, hall.alice, "700"), Visitor(hall, hall.bob, "700")
    one.line.send("INVITE", BOB + "a=sendonly\r\n")
    hall.settle()
    assert one.worker.last.what == "INVITE"
    one.worker.reply(200, BOB + "a=recvonly\r\n")
    hall.settle()
    assert one.line.last.status == 200
    one.line.ack()
    assert [row["people"] for row in conference_rows(hall.switch)] == [2]
    one.leaves()
    two.leaves()
    hall.ends()


def test_a_room_that_is_taken_out_of_the_dialplan(hall: Hall, tmp_path: Path) -> None:
    """Who is in stays; who was at the door is not let in; who dials is told."""
    one, two = Visitor(hall, hall.alice, "704"), Visitor(hall, hall.bob, "701")
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "switch.yaml").write_text(IN_CALL)
    (folder / "plan.yaml").write_text("conferences: {x: {}}\nroutes: []\n")
    hall.switch.take_up(load_config(folder / "switch.yaml"))
    assert one.room == "open"
    one.press("*1")
    assert hall.facts["muted"] == "yes"
    two.press("4711#")
    two.hung_up()
    one.leaves()
    hall.ends()
