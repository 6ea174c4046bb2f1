"""A switch elsewhere and its server, with the link between them taken by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cds_calls import AT, SECOND, started
from cds_fakes import FakeNet, FakeTimers

from cdsplugin.archive.recovery import Recovery
from cdsplugin.data.frames import Frame, Switch
from cdsplugin.tms.spool import Spool
from cdsplugin.tms.switch_client import PREFIX, SwitchClient
from cdsplugin.tms.switch_link import SwitchLink, SwitchLinkSettings
from cdsplugin.tms.tms import UNTOLD, Tms
from softswitch.events import CallEnded, CallRestored, Event, SwitchStarted


class Pair:
    """The switch hq, its spool, and its server; ``connect`` and ``cut`` are the link."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder / "hq.spool", limit=1 << 20)
        self.spool.open()
        self.switch(FakeTimers())
        self.up = False
        self.hq = FakeNet().server("hq")
        recovery = Recovery(self.hq.store, self.hq.clock, self.hq.timers, 20.0)
        self.tms = Tms(self.hq.store, self.hq.clock)
        line: Any = SimpleNamespace(
            attach=lambda link: None, send=lambda name, frame: self._to_switch(frame)
        )
        proxy: Any = None
        self.link = SwitchLink(
            self.tms, ["hq"], folder / "hq.db.switches", line, proxy, self.hq.timers,
            stored=lambda then, must: then(), reported=recovery.reported,
            settings=SwitchLinkSettings(5.0, 30.0, 20.0),
        )  # fmt: skip
        self.link.start()

    def switch(self, timers: FakeTimers) -> None:
        """The switch's process begins, with the spool that there is."""

        def soon(do: Callable[[], None]) -> None:
            timers.schedule(0, do)

        self.timers = timers
        wires: Any = SimpleNamespace(
            connected=lambda server: self.up,
            want=lambda server, wanted: None,
            send=lambda server, frame: self.link.received(PREFIX + "hq", _carried(frame)),
        )
        self.client = SwitchClient("hq", wires, self.spool, timers, soon)

    def _to_switch(self, frame: Frame) -> None:
        if self.up:
            self.client.received("hq", _carried(frame))

    def connect(self) -> None:
        self.up = True
        self.link.connected(PREFIX + "hq")
        self.client.connected("hq")

    def cut(self) -> None:
        self.up = False
        self.client.disconnected("hq")
        self.link.disconnected(PREFIX + "hq")

    def say(self, *events: Event) -> None:
        for event in events:
            self.client.event(event)
        self.timers.advance(0)

    def lose(self, event: Event) -> None:
        """The switch says something, and there is no room for it."""
        limit, self.spool.limit = self.spool.limit, 0
        self.say(event)
        self.spool.limit = limit

    def values(self) -> dict[str, Any]:
        return self.hq.values("c1")


def _carried(frame: Frame) -> Frame:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(frame), type=Frame)


def began(leg: int = 0, call_id: str = "c1") -> Event:
    event: Event = started(call_id, owner="hq", origin=not leg, leg=leg)
    return event


def ended(leg: int = 0, call_id: str = "c1") -> Event:
    return CallEnded(
        call_id=call_id, at=AT + SECOND, switch="hq", disposition="busy", sip_status=486, reason="",
        hangup_by="callee", leg=leg,
    )  # fmt: skip


BACK = SwitchStarted(at=AT, switch="hq")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    pair.link.stop()


def test_a_passage_whose_end_was_lost_is_over_when_the_switch_greets_again(pair: Pair) -> None:
    """Another passage of the same call lives."""
    pair.connect()
    pair.say(BACK, began(), began(2), began(call_id="c2"))
    pair.lose(ended(2))
    pair.lose(ended(call_id="c2"))
    assert pair.tms.live() == 2
    pair.cut()
    pair.connect()
    values = pair.values()
    assert (values["switch/hq/2"]["reason"], values["leg/hq/2"]["reason"]) == (UNTOLD, UNTOLD)
    assert "ended_at" not in values["leg/hq/0"]
    assert pair.hq.values("c2")["end"]["disposition"] == "failed"
    assert pair.tms.live() == 1
    pair.say(ended())
    assert pair.values()["end"]["disposition"] == "busy"
    assert pair.tms.live() == 0


def test_what_is_still_to_come_is_waited_for(pair: Pair) -> None:
    """While the server was away a passage ended, and another began."""
    pair.connect()
    pair.say(BACK, began(), began(2))
    pair.cut()
    pair.say(ended(2), began(4))
    pair.connect()
    values = pair.values()
    assert values["switch/hq/2"]["disposition"] == "busy"
    assert "ended_at" not in values["leg/hq/4"]
    pair.say(ended(), ended(4))
    assert pair.tms.live() == 0


def test_what_begins_after_the_greeting_is_not_lost(pair: Pair) -> None:
    """Its events come in one frame with those from before."""
    pair.connect()
    pair.say(BACK, began())
    pair.cut()
    pair.say(began(2))
    greeted = pair.client.connected
    answers: list[Frame] = []

    def later(frame: Frame) -> None:
        answers.append(frame)

    receive, pair._to_switch = pair._to_switch, later
    pair.up = True
    pair.link.connected(PREFIX + "hq")
    greeted("hq")
    pair.say(began(call_id="c2"))
    for frame in answers:
        receive(frame)
    assert pair.tms.live() == 2
    assert "end" not in pair.hq.values("c2")


def test_a_switch_that_restarts_says_nothing_of_passages_before_it_knows_them(pair: Pair) -> None:
    pair.connect()
    pair.say(BACK, began(), began(2))
    pair.cut()
    pair.switch(pair.timers)
    pair.connect()
    assert pair.tms.live() == 1
    assert "end" not in pair.values()
    pair.say(CallRestored(call_id="c1", at=AT + SECOND, switch="hq", leg=0, told=(began(),)), BACK)
    values = pair.values()
    assert values["switch/hq/2"]["reason"] == "switch restarted"
    assert "end" not in values


def test_an_older_switch_names_its_calls_alone(pair: Pair) -> None:
    frame = msgspec.msgpack.encode(["switch", "x", 1, 0, ["c1"]])
    assert msgspec.msgpack.decode(frame, type=Frame) == Switch("x", 1, 0, ["c1"])
    pair.connect()
    pair.say(BACK, began(), began(2))
    pair.link.received(PREFIX + "hq", Switch(pair.spool.name, 1, pair.spool.last, ["c1"]))
    assert "switch/hq/2" not in pair.values()
