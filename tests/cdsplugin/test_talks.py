"""The TMS: talks, transfers and merges become call data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cds_calls import AT, SECOND, answered_call, started
from cds_fakes import START, FakeNet, FakeServer, Listener
from cds_talks import A, B, C, Sites, blind

from cdsplugin.archive.disk import Beat
from cdsplugin.archive.journal import Found
from cdsplugin.archive.recovery import Recovery
from cdsplugin.archive.view import View
from cdsplugin.data.call_data import CallData
from cdsplugin.tms.tms import Tms
from softswitch.events import (
    CallEnded,
    CallerTold,
    CallRestored,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    LegMoved,
    LegReferred,
    SwitchStarted,
    TalkBegan,
    TalkEnded,
    TollAlarm,
)


class Turns:
    """A server whose switch tells in turns: what is told in one is written at its end."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.soon: list[Any] = []
        self.tms = Tms(server.store, server.clock, self.soon.append)

    def turn(self, *events: Event) -> None:
        for event in events:
            self.tms.event(event)
        soon, self.soon[:] = list(self.soon), []
        for what in soon:
            what()

    def talks(self) -> dict[str, Any]:
        values = self.server.values("c1")
        return {name: value for name, value in values.items() if name.startswith("talk/")}


@pytest.fixture
def hq() -> Turns:
    return Turns(FakeNet().server("hq"))


def in_turns(at: int = AT) -> list[list[Event]]:
    """The plain call of ``cds_calls``, each moment apart."""
    turns: list[list[Event]] = []
    for event in answered_call("c1", at=at):
        if turns and turns[-1][0].at == event.at:
            turns[-1].append(event)
        else:
            turns.append([event])
    return turns


@pytest.mark.parametrize("order", ["leg first", "talk first", "talk last"])
def test_an_ordinary_call_says_nothing_of_its_talk(hq: Turns, order: str) -> None:
    *before, last = in_turns()
    for turn in before:
        hq.turn(*turn)
    first, quiet, second, over = last
    hq.turn(
        *{
            "leg first": (first, quiet, second, over),
            "talk first": (quiet, first, second, over),
            "talk last": (first, second, quiet, over),
        }[order]
    )
    assert hq.talks() == {}
    values = hq.server.values("c1")
    assert values["leg/hq/0"]["answered_at"] == AT + 3 * SECOND
    assert values["answer"]["answered_at"] == AT + 3 * SECOND
    assert hq.tms.live() == 0


def test_a_leg_that_answered_has_not_answered_the_call(hq: Turns) -> None:
    events = answered_call("c1")[:6]
    assert type(events[-1]) is LegAnswered
    hq.turn(*events)
    values = hq.server.values("c1")
    assert "answered_at" in values["leg/hq/1"]
    assert "answered_at" not in values["leg/hq/0"]
    assert "answer" not in values


BASE: dict[str, Any] = {"call_id": "c1", "switch": "hq"}


def test_a_talk_that_ends_before_its_legs_is_written_in_that_turn(hq: Turns) -> None:
    hq.turn(*answered_call("c1")[:7])
    hq.turn(TalkEnded(**BASE, at=AT + 8 * SECOND, talk=1))
    assert hq.talks() == {
        "talk/hq/1": {
            "legs": "0 1",
            "began_at": AT + 3 * SECOND,
            "ended_at": AT + 8 * SECOND,
            "how": "dialled",
            "by": "extension:1001",
        }
    }
    hq.turn(TalkBegan(**BASE, at=AT + 9 * SECOND, talk=2, legs=(0, 1), how="returned", by=B))
    assert hq.talks()["talk/hq/2"] == {
        "legs": "0 1", "began_at": AT + 9 * SECOND, "how": "returned", "by": B,
    }  # fmt: skip


@pytest.mark.parametrize(
    "begins",
    [
        {"how": "pickup"},
        {"how": "dialled", "by": C},
        {"how": "dialled", "legs": (1, 0)},
        {"how": "queue", "legs": (0,)},
    ],
)
def test_a_first_talk_that_is_not_ordinary(hq: Turns, begins: dict[str, Any]) -> None:
    hq.turn(*answered_call("c1")[:6])
    talk = {"legs": (0, 1), "by": A, **begins}
    hq.turn(TalkBegan(**BASE, at=AT + 3 * SECOND, talk=1, **talk))
    assert hq.talks()["talk/hq/1"]["how"] == begins["how"]
    assert hq.server.values("c1")["leg/hq/0"]["answered_at"] == AT + 3 * SECOND


def test_an_alarm_of_what_calls_cost(hq: Turns) -> None:
    hq.turn(*answered_call("c1")[:6])
    said = {"rule": "abroad", "party": A, "what": "calls", "most": 30}
    hq.turn(TollAlarm(**BASE, at=AT + SECOND, used=24, refused=False, **said))
    assert hq.server.values("c1")["toll/hq"] == {**said, "used": 24, "refused": False}
    hq.turn(TollAlarm(**BASE, at=AT + 2 * SECOND, used=30, refused=True, incoming=2, **said))
    assert hq.server.values("c1")["toll/hq/2"] == {**said, "used": 30, "refused": True}


def test_legs_that_are_referred_placed_for_others_and_moved(hq: Turns) -> None:
    hq.turn(*answered_call("c1")[:7])
    at = AT + 8 * SECOND
    refers: dict[str, Any] = {**BASE, "leg": 1, "to": "1003", "how": "blind-transfer"}
    hq.turn(LegReferred(**refers, at=at))
    assert list(hq.talks()) == ["talk/hq/1"]
    values = hq.server.values("c1")["leg/hq/1"]
    assert (values["referred_to"], values["referred_how"]) == ("1003", "blind-transfer")
    assert "referred_status" not in values
    hq.turn(
        LegInvited(**BASE, at=at, leg=2, party="trunk:pstn", uri="", address="", sip_call_id="c",
                   by=B),
        LegReferred(**refers, at=at, status=200),
        LegMoved(**BASE, at=at, leg=3, was_call="c2", was_leg=1, direction="out",
                 party="trunk:branch", number="2003", address="udp:1.1.1.1:5060", sip_call_id="d",
                 codec="PCMA/8000", user_agent="x", between=True, came="branch/0", incoming=5),
    )  # fmt: skip
    values = hq.server.values("c1")
    assert values["leg/hq/1"]["referred_status"] == 200
    assert values["leg/hq/2"]["by"] == B
    assert values["leg/hq/3"] == {
        "direction": "out",
        "party": "trunk:branch",
        "callee": "2003",
        "address": "udp:1.1.1.1:5060",
        "sip_call_id": "d",
        "codec": "PCMA/8000",
        "user_agent": "x",
        "between": True,
        "came": "branch/0",
        "incoming": 5,
        "invited_at": at,
        "answered_at": at,
        "status": 200,
        "was": "c2 hq/1",
    }


@pytest.mark.parametrize("plain", [True, False])
def test_a_caller_who_was_told_late(hq: Turns, plain: bool) -> None:
    hq.turn(*answered_call("c1")[:6])
    how = "dialled" if plain else "queue"
    hq.turn(TalkBegan(**BASE, at=AT + 3 * SECOND, talk=1, legs=(0, 1), how=how, by=A))
    hq.turn(CallerTold(**BASE, at=AT + 4 * SECOND, leg=0))
    values = hq.server.values("c1")
    assert values["answer"] == {
        "callee": "2001", "callee_party": "trunk:branch", "answered_at": AT + 4 * SECOND,
    }  # fmt: skip
    assert values["leg/hq/0"]["answered_at"] == AT + 4 * SECOND
    if plain:
        hq.turn(LegReferred(**BASE, at=AT + 5 * SECOND, leg=1, to="1", how="blind-transfer"))
    assert hq.talks()["talk/hq/1"]["began_at"] == AT + 4 * SECOND


def transferred(tmp_path: Path) -> list[list[Event]]:
    """What hq tells of a blind transfer, by turns."""
    sites = Sites(tmp_path, "hq")
    blind(sites)
    turns: list[list[Event]] = []
    for event in sites["hq"].told:
        if turns and turns[-1][0].at == event.at:
            turns[-1].append(event)
        else:
            turns.append([event])
    sites.close()
    return turns


def whole(turns: list[list[Event]]) -> dict[str, Any]:
    hq = Turns(FakeNet().server("hq"))
    for turn in turns:
        hq.turn(*turn)
    return hq.server.values("c1")


@pytest.mark.parametrize("crash", range(1, 5))
def test_a_transferred_call_is_taken_up_from_the_store(tmp_path: Path, crash: int) -> None:
    turns = transferred(tmp_path)
    before = Turns(FakeNet().server("hq"))
    for turn in turns[:crash]:
        before.turn(*turn)
    back = FakeNet().server("hq")
    was = before.server.store.get("c1")
    assert was is not None
    back.store.linger(back.store.register(Listener(), "c1", "hq"))
    back.store.update(None, "c1", list(was.data.properties.values()))
    hq = Turns(back)
    hq.tms.alive("hq", ["c1"])
    assert hq.tms.live() == 1
    for turn in turns[crash:]:
        hq.turn(*turn)
    assert back.values("c1") == whole(turns)
    assert hq.tms.live() == 0


@pytest.mark.parametrize("told", range(1, 5))
@pytest.mark.parametrize("known", ["module", "store", "nothing"])
def test_a_transferred_call_that_its_switch_restored(tmp_path: Path, told: int, known: str) -> None:
    """Whatever was lost with a process, the data is that of a call without accident."""
    turns = transferred(tmp_path)
    hq = Turns(FakeNet().server("hq"))
    if known != "nothing":
        for turn in turns[: max(told - 1, 1)]:
            hq.turn(*turn)
    if known == "store":
        hq = Turns(hq.server)
    events = [event for turn in turns[:told] for event in turn]
    hq.turn(CallRestored(**BASE, at=START, leg=0, told=tuple(events)))  # type: ignore[arg-type]
    hq.turn(SwitchStarted(at=START, switch="hq"))
    assert hq.tms.live() == 1
    for turn in turns[told:]:
        hq.turn(*turn)
    values, right = hq.server.values("c1"), whole(turns)
    assert values == right
    assert hq.tms.unknown_events == 0


def test_times_are_put_right_once_the_owners_are_known() -> None:
    net = FakeNet()
    hq, branch = Turns(net.server("hq")), Turns(net.server("branch", "hq", wrong=-3_600_000_000))
    hq.turn(*answered_call("c1")[:1])
    net.closed_ways.add(frozenset(("hq", "branch")))
    of: dict[str, Any] = {"call_id": "c1", "switch": "branch", "at": AT - 3_600 * SECOND}
    branch.turn(
        started("c1", "branch", "hq", AT - 3_600 * SECOND, party="trunk:hq"),
        TalkBegan(**of, talk=1, legs=(0,), how="queue", by=""),
    )
    branch.turn(TalkEnded(**{**of, "at": of["at"] + SECOND}, talk=1))
    net.mend("hq", "branch")
    net.advance(1)
    assert hq.talks() == branch.talks()
    assert hq.talks()["talk/branch/1"] == {
        "legs": "0", "began_at": AT, "ended_at": AT + SECOND, "how": "queue", "by": "",
    }  # fmt: skip


def test_talks_that_were_on_when_the_server_vanished(tmp_path: Path) -> None:
    """They end with their legs; and go on with them, should the switch speak later."""
    turns = transferred(tmp_path)
    before = Turns(FakeNet().server("hq"))
    for turn in turns[:4]:
        before.turn(*turn)
    was = before.server.store.get("c1")
    assert was is not None
    server = FakeNet().server("hq")
    recovery = Recovery(server.store, server.clock, server.timers, 20.0)
    data = CallData(was.data.properties.values())
    died = START + 15 * SECOND
    recovery.begin([Found("c1", "hq", data)], Beat(died), server.proxy)
    hq = Turns(server)
    server.timers.advance(21)
    held = server.store.get("c1")
    assert held is not None
    assert server.values("c1")["leg/hq/2"]["supposed"]
    last = View(held).heard[-1]
    assert (last.cause.how, last.ended) == ("blind-transfer", died)
    hq.tms.alive("hq", ["c1"])
    assert "ended_at" not in server.values("c1")["leg/hq/2"]
    for turn in turns[4:]:
        hq.turn(*turn)
    assert server.values("c1") == whole(turns)


def test_talks_of_a_call_that_its_switch_did_not_bring_back(tmp_path: Path) -> None:
    turns = transferred(tmp_path)
    hq = Turns(FakeNet().server("hq"))
    for turn in turns[:4]:
        hq.turn(*turn)
    hq.turn(LegMedia(**BASE, at=START + 20 * SECOND, leg=2, held=True, codec=""))
    hq.turn(SwitchStarted(at=START + 90 * SECOND, switch="hq"))
    held = hq.server.store.get("c1")
    assert held is not None
    view = View(held)
    last = view.heard[-1]
    assert (last.cause.how, last.ended) == ("blind-transfer", START + 20 * SECOND)
    assert view.end["ended_at"] == last.ended


def test_a_second_passage_has_a_talk_of_its_own(hq: Turns) -> None:
    """Told first, it is the ordinary one; the other has a property, and both come back."""
    sip = {"address": "", "sip_call_id": "x", "uri": ""}
    answer: dict[str, Any] = {"status": 200, "callee": "1", "codec": "", "user_agent": ""}
    second: dict[str, Any] = {"incoming": 2}
    hq.turn(
        started("c1"),
        LegInvited(**BASE, at=AT, leg=1, party="trunk:branch", **sip),
        started("c1", owner="hq", origin=False, leg=2, party="trunk:branch"),
        LegInvited(**BASE, at=AT, leg=3, party=C, **sip, **second),
        LegAnswered(**BASE, at=AT, leg=3, **answer),
        TalkBegan(**BASE, at=AT, talk=1, legs=(2, 3), how="dialled", by="trunk:branch", **second),
        LegAnswered(**BASE, at=AT, leg=1, **answer),
        TalkBegan(**BASE, at=AT, talk=2, legs=(0, 1), how="dialled", by=A),
    )
    assert list(hq.talks()) == ["talk/hq/2"]
    again = Turns(hq.server)
    again.tms.alive("hq", ["c1"])
    later = AT + SECOND
    again.turn(
        LegReferred(**BASE, at=later, leg=3, to="9", how="blind-transfer"),
        TalkEnded(**BASE, at=later, talk=1),
    )
    assert hq.talks()["talk/hq/1"] == {
        "legs": "2 3", "began_at": AT, "ended_at": later, "how": "dialled", "by": "trunk:branch",
        "incoming": 2,
    }  # fmt: skip
    again.turn(
        LegEnded(**BASE, at=later, leg=0, status=200, reason="", by="remote"),
        TalkEnded(**BASE, at=later, talk=2),
        CallEnded(**BASE, at=later, disposition="answered", sip_status=200, reason="",
                  hangup_by="caller"),
    )  # fmt: skip
    assert hq.talks()["talk/hq/2"]["ended_at"] == later
