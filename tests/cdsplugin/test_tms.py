"""The TMS: events of switches become call data."""

from __future__ import annotations

import gc

import pytest
from cds_calls import AT, SECOND, answered_call, busy_call, started
from cds_fakes import FakeNet, FakeServer, Listener

from cdsplugin.archive.disk import Beat
from cdsplugin.archive.journal import Found
from cdsplugin.archive.recovery import Recovery
from cdsplugin.data.call_data import CallData
from cdsplugin.data.entries import FIRST, LATER
from cdsplugin.tms.tms import Tms
from softswitch.events import (
    CallEnded,
    CallRestored,
    CallRouted,
    LegAnswered,
    LegInvited,
    LegRinging,
    SwitchStarted,
    TalkBegan,
)


def feed(tms: Tms, events: list) -> None:
    for event in events:
        tms.event(event)


@pytest.fixture
def hq() -> FakeServer:
    return FakeNet().server("hq")


def test_all_that_is_known_of_an_answered_call(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    feed(tms, answered_call("c1"))
    values = hq.values("c1")
    assert values["call"] == {
        "switch": "hq",
        "site": "Sunnyvale",
        "caller": "1001",
        "caller_name": "Alice",
        "caller_party": "extension:1001",
        "dialled": "2001",
        "started_at": AT,
    }
    assert values["answer"] == {
        "callee": "2001",
        "callee_party": "trunk:branch",
        "answered_at": AT + 3 * SECOND,
    }
    assert values["end"] == {
        "disposition": "answered",
        "sip_status": 200,
        "reason": "",
        "hangup_by": "caller",
        "ended_at": AT + 13 * SECOND,
    }
    assert values["route/hq"] == {"match": "2XXX", "where": "hq.yaml:3", "number": "2001"}
    assert values["account"] == "outbound"
    assert values["leg/hq/0"] == {
        "direction": "in",
        "party": "extension:1001",
        "address": "udp:127.0.0.1:5061",
        "user_agent": "phone/1",
        "sip_call_id": "a@x",
        "invited_at": AT,
        "answered_at": AT + 3 * SECOND,
        "ended_at": AT + 13 * SECOND,
        "status": 200,
        "ended_by": "remote",
        "reason": "bye",
    }
    assert values["leg/hq/1"] == {
        "direction": "out",
        "party": "trunk:branch",
        "uri": "sip:2001@127.0.0.1:5070",
        "address": "udp:127.0.0.1:5070",
        "sip_call_id": "b@x",
        "invited_at": AT,
        "ringing_at": AT + SECOND,
        "early_media": True,
        "answered_at": AT + 3 * SECOND,
        "callee": "2001",
        "codec": "PCMA/8000",
        "user_agent": "phone/2",
        "held": False,
        "ended_at": AT + 13 * SECOND,
        "status": 200,
        "ended_by": "switch",
    }
    assert tms.live() == 0
    assert hq.store.get("c1").clients == ()


def test_one_update_an_event(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    events = answered_call("c1")
    feed(tms, events)
    assert hq.store.updates == len(events) - 1, "its legs say when an ordinary talk ended"


def test_another_switch_contributes_its_legs_and_its_view() -> None:
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq", wrong=-3_600_000_000)
    at_hq, at_branch = Tms(hq.store, hq.clock), Tms(branch.store, branch.clock)
    mine = answered_call("c1")
    # branch's clock is an hour slow: so are the times of its switch.
    theirs = answered_call("c1", "branch", "hq", AT - 3_600 * SECOND)
    for here, there in zip(mine[:-1], theirs[:-1], strict=True):
        at_hq.event(here)
        at_branch.event(there)
        net.run()
    assert hq.values("c1") == branch.values("c1")
    at_branch.event(theirs[-1])
    at_hq.event(mine[-1])
    net.run()
    values = hq.values("c1")
    assert {"leg/hq/0", "leg/hq/1", "leg/branch/0", "leg/branch/1"} <= set(values)
    assert values["route/branch"]["match"] == "2XXX"
    view = values["switch/branch"]
    assert view["disposition"] == "answered"
    # All in the owner's time base, also what was noted before that was known.
    assert abs(view["started_at"] - AT) < 1000
    assert abs(view["ended_at"] - AT - 13 * SECOND) < 1000
    for leg in ("leg/branch/0", "leg/branch/1"):
        assert abs(values[leg]["invited_at"] - AT) < 1000
        assert abs(values[leg]["ended_at"] - AT - 13 * SECOND) < 1000
    assert values["call"]["switch"] == "hq"
    assert branch.store.get("c1").settled


def routed(
    call_id: str, switch: str, once: str = "", set_: str = "", leg: int = 0, at: int = AT
) -> CallRouted:
    """A route that sets ``account``."""
    return CallRouted(
        call_id=call_id,
        at=at,
        switch=switch,
        match="2XXX",
        where="x:1",
        number="2001",
        properties={"account": set_} if set_ else {},
        once={"account": once} if once else {},
        incoming=leg,
    )


@pytest.mark.parametrize("wrong", [0, -3600 * SECOND, 3600 * SECOND])
@pytest.mark.parametrize(
    ("first", "second", "account"),
    [
        ({"once": "hq"}, {"once": "branch"}, "hq"),
        ({"set_": "hq"}, {"once": "branch"}, "hq"),
        ({"once": "hq"}, {"set_": "branch"}, "branch"),
        ({"set_": "hq"}, {"set_": "branch"}, "branch"),
        ({}, {"once": "branch"}, "branch"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_what_two_switches_set_of_one_name(
    first: dict[str, str], second: dict[str, str], account: str, wrong: int, known: bool
) -> None:
    """The later switch's server has heard of the first one's, or has not: all the same."""
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq", wrong=wrong)
    at_hq, at_branch = Tms(hq.store, hq.clock), Tms(branch.store, branch.clock)
    at_hq.event(started("c1"))
    at_hq.event(routed("c1", "hq", **first))
    net.advance(0.01)
    at_branch.event(started("c1", "branch", "hq", AT + wrong))
    if known:
        net.advance(1)
    at_branch.event(routed("c1", "branch", **second, at=AT + wrong))
    net.advance(1)
    assert hq.values("c1")["account"] == branch.values("c1")["account"] == account
    assert hq.store.get("c1").data == branch.store.get("c1").data
    branch.store.register(app := Listener(), "c1", "hq")
    branch.store.write(app, "c1", "branch/crm", {"account": "note"})
    net.run()
    assert hq.values("c1")["account"] == "note", "an application's word replaces any"


def test_two_participants_that_set_once_while_the_owner_cannot_be_reached() -> None:
    """The first of them, by the owner's clock, has it at all three, whoever comes back first."""
    for order in (("branch", "third"), ("third", "branch")):
        net = FakeNet()
        servers = {"hq": net.server("hq")}
        servers["branch"] = net.server("branch", "hq", wrong=3600 * SECOND)
        servers["third"] = net.server("third", "hq", wrong=-3600 * SECOND)
        tms = {name: Tms(server.store, server.clock) for name, server in servers.items()}
        for name in servers:
            tms[name].event(started("c1", name, "hq"))
        net.advance(1)
        for name in order:
            net.cut("hq", name)
        for name in ("branch", "third"):
            tms[name].event(routed("c1", name, once=name))
            net.advance(1)
        for name in order:
            net.mend("hq", name)
            net.advance(1)
        assert {s.values("c1")["account"] for s in servers.values()} == {"branch"}


def test_where_the_call_began_is_first_whatever_the_stamps_say() -> None:
    """A restarted switch tells its route again, after another has set the name once."""
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq")
    at_hq, at_branch = Tms(hq.store, hq.clock), Tms(branch.store, branch.clock)
    at_hq.event(started("c1"))
    at_branch.event(started("c1", "branch", "hq"))
    at_branch.event(routed("c1", "branch", once="branch"))
    net.advance(1)
    assert hq.values("c1")["account"] == "branch"
    at_hq.event(routed("c1", "hq", once="hq"))
    net.advance(1)
    assert hq.values("c1")["account"] == branch.values("c1")["account"] == "hq"
    assert branch.store.get("c1").data.properties["account"].once == FIRST


def test_once_beside_what_is_not_written_yet(hq: FakeServer) -> None:
    """Events of one turn are written together: a `set:` that came first is there for a later
    `set_once:`, and one that comes later replaces it."""
    turn: list = []
    tms = Tms(hq.store, hq.clock, turn.append)
    for call_id, passages in (
        ("c1", [{"set_": "first"}, {"once": "second"}]),
        ("c2", [{"once": "first"}, {"set_": "second"}]),
        ("c3", [{"once": "first"}, {"once": "second"}]),
        ("c4", [{"once": "first"}, {}]),
    ):
        tms.event(started(call_id))
        for leg, says in enumerate(passages):
            tms.event(routed(call_id, "hq", **says, leg=leg * 2))
    tms.event(started("c5"))
    tms.event(routed("c5", "hq", set_="first"))
    sealed = tms.seal()
    tms.event(routed("c5", "hq", once="second", leg=2))
    tms.write(sealed)
    tms.flush()
    accounts = [hq.values(f"c{n}")["account"] for n in range(1, 6)]
    assert accounts == ["first", "second", "first", "first", "first"]


def test_stamps_put_right_keep_what_was_set_once() -> None:
    """Before the owner's clock is known: the entries are stamped anew, and are what they were."""
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq", wrong=-3600 * SECOND)
    tms = Tms(branch.store, branch.clock)
    tms.event(started("c1", "branch", "hq"))
    tms.event(routed("c1", "branch", once="branch"))
    before = branch.store.get("c1").data.properties["account"]
    net.advance(1)
    for server in (hq, branch):
        entry = server.store.get("c1").data.properties["account"]
        assert entry.once == LATER
        assert entry.stamp > before.stamp + 3599 * SECOND


def test_names_that_set_once_may_not_use(hq: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    tms = Tms(hq.store, hq.clock)
    tms.event(started("c1"))
    base = {"call_id": "c1", "at": AT, "switch": "hq", "match": "x", "where": "hq.yaml:7"}
    tms.event(
        CallRouted(**base, number="1", properties={}, once={"end": "x", "leg/hq/0": "y", "ok": "z"})
    )
    assert set(hq.values("c1")) == {"call", "leg/hq/0", "route/hq", "ok"}
    assert caplog.text.count("hq.yaml:7: set:") == 2


def test_two_switches_of_one_server(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    mine, theirs = answered_call("c1"), answered_call("c1", "annex", "hq")
    for here, there in zip(mine, theirs, strict=True):
        tms.event(here)
        assert len(hq.store.get("c1").clients) == (1 if here is mine[-1] or here is mine[0] else 2)
        tms.event(there)
    assert hq.store.get("c1").clients == ()
    assert {"leg/hq/1", "leg/annex/1", "switch/annex"} <= set(hq.values("c1"))


def test_a_call_that_goes_on_after_its_owner_ended_it_is_taken_up_again() -> None:
    net = FakeNet()
    hq, branch = net.server("hq"), net.server("branch", "hq")
    tms = Tms(branch.store, branch.clock)
    events = answered_call("c1", "branch", "hq")
    feed(tms, events[:7])
    net.run()
    hq.store.finalize()
    branch.store.end("c1")
    net.run()
    assert branch.store.get("c1") is None
    feed(tms, events[7:])
    net.run()
    assert hq.values("c1")["leg/branch/1"]["answered_at"] == AT + 3 * SECOND
    assert hq.values("c1")["switch/branch"]["disposition"] == "answered"


def there_and_back(at: int = AT) -> list:
    """hq to branch and back to hq, where it is answered: leg 2 comes in, leg 3 is the phone's."""
    base = {"call_id": "c1", "switch": "hq"}
    invited = {"address": "udp:127.0.0.1:5070", "sip_call_id": "x@x"}
    return [
        started("c1", at=at),
        CallRouted(**base, at=at, match="2XXX", where="hq.yaml:3", number="2001", properties={}),
        LegInvited(**base, at=at, leg=1, party="trunk:branch", uri="sip:2001@b", **invited),
        started("c1", at=at + 10, owner="hq", origin=False, leg=2, party="trunk:branch",
                dialled="1002", site="Annex"),
        CallRouted(**base, at=at + 10, match="1XXX", where="hq.yaml:9", number="1002",
                   properties={}, incoming=2),
        LegInvited(**base, at=at + 10, leg=3, party="extension:1002", uri="sip:1002@p",
                   incoming=2, **invited),
        LegAnswered(**base, at=at + SECOND, leg=3, status=200, callee="1002", codec="",
                    user_agent=""),
        TalkBegan(**base, at=at + SECOND, talk=1, legs=(2, 3), how="dialled", by="trunk:branch",
                  incoming=2),
        LegAnswered(**base, at=at + SECOND + 9, leg=1, status=200, callee="2001", codec="",
                    user_agent=""),
        TalkBegan(**base, at=at + SECOND + 9, talk=2, legs=(0, 1), how="dialled",
                  by="extension:1001"),
        CallEnded(**base, at=at + 2 * SECOND, disposition="answered", sip_status=200, reason="",
                  hangup_by="callee", leg=2),
        CallEnded(**base, at=at + 2 * SECOND + 9, disposition="answered", sip_status=200,
                  reason="there", hangup_by="callee", leg=0),
    ]  # fmt: skip


def test_a_call_that_comes_back_to_the_switch(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    events = there_and_back()
    feed(tms, events[:-1])
    assert tms.live() == 1
    assert len(hq.store.get("c1").clients) == 1
    values = hq.values("c1")
    # The summary is the first passage's alone.
    assert (values["call"]["dialled"], values["call"]["started_at"]) == ("2001", AT)
    assert values["answer"] == {
        "callee": "2001", "callee_party": "trunk:branch", "answered_at": AT + SECOND + 9,
    }  # fmt: skip
    assert "end" not in values
    # The second one has names of its own; each incoming leg is answered by its own passage.
    assert values["route/hq"]["match"] == "2XXX"
    assert values["route/hq/2"]["match"] == "1XXX"
    assert values["leg/hq/2"]["direction"] == "in"
    assert values["leg/hq/2"]["answered_at"] == AT + SECOND
    assert values["leg/hq/0"]["answered_at"] == AT + SECOND + 9
    view = values["switch/hq/2"]
    assert (view["dialled"], view["site"], view["started_at"]) == ("1002", "Annex", AT + 10)
    tms.event(events[-1])
    assert tms.live() == 0
    assert hq.store.get("c1").clients == ()
    assert hq.values("c1")["end"]["reason"] == "there"
    assert "switch/hq" not in hq.values("c1")


@pytest.mark.parametrize("back_first", [True, False])
def test_the_passages_may_end_in_any_order(hq: FakeServer, back_first: bool) -> None:
    tms = Tms(hq.store, hq.clock)
    events = there_and_back()
    ends = events[-2:] if back_first else events[:-3:-1]
    feed(tms, events[:-2])
    tms.event(ends[0])
    assert (tms.live(), len(hq.store.get("c1").clients)) == (1, 1)
    tms.event(ends[1])
    assert (tms.live(), len(hq.store.get("c1").clients)) == (0, 0)
    assert tms.unknown_events == 0


@pytest.mark.parametrize("crash", range(1, 12))
def test_calls_are_taken_up_from_the_store_after_a_restart(crash: int) -> None:
    """The store came back with what it had; the module's own memory is gone."""
    whole = FakeNet().server("hq")
    feed(Tms(whole.store, whole.clock), there_and_back())
    hq = FakeNet().server("hq")
    feed(Tms(hq.store, hq.clock), there_and_back()[:crash])
    back = FakeNet().server("hq")
    was = hq.store.get("c1").data
    back.store.linger(back.store.register(Listener(), "c1", "hq"))
    back.store.update(None, "c1", list(was.properties.values()))
    tms = Tms(back.store, back.clock)
    tms.alive("hq", ["c1", "c2"])
    assert tms.live() == 1
    feed(tms, there_and_back()[crash:])
    assert tms.unknown_events == 0
    assert tms.live() == 0
    assert back.values("c1") == whole.values("c1")


def restarted(server: FakeServer) -> tuple[FakeServer, Tms, Recovery]:
    """The server is killed and starts again; its journal had everything."""
    back = FakeNet().server("hq")
    recovery = Recovery(back.store, back.clock, back.timers, 20.0)
    data = server.store.get("c1").data
    recovery.begin([Found("c1", "hq", CallData(data.properties.values()))], Beat(AT), back.proxy)
    return back, Tms(back.store, back.clock), recovery


@pytest.mark.parametrize("said", [True, False])
def test_a_passage_given_up_after_a_restart_stays_so_after_the_next(said: bool) -> None:
    """The call came in at that switch another time in between, and that passage lives."""
    hq = FakeNet().server("hq")
    feed(Tms(hq.store, hq.clock), there_and_back()[:3])
    hq, tms, recovery = restarted(hq)
    if said:
        recovery.reported("hq")
    else:
        hq.timers.advance(21)
        tms.alive("hq", [])
    assert hq.values("c1")["end"]["disposition"] == "failed"
    feed(tms, there_and_back()[3:8])
    hq, tms, _ = restarted(hq)
    tms.alive("hq", ["c1"])
    assert tms.live() == 1
    tms.event(there_and_back()[10])
    assert tms.live() == 0
    assert hq.store.get("c1").clients == ()


def test_a_call_given_up_for_its_switchs_silence_goes_on_when_that_speaks() -> None:
    whole = FakeNet().server("hq")
    feed(Tms(whole.store, whole.clock), there_and_back())
    hq = FakeNet().server("hq")
    feed(Tms(hq.store, hq.clock), there_and_back()[:8])
    hq, tms, _ = restarted(hq)
    hq.timers.advance(21)
    assert "ended_at" in hq.values("c1")["leg/hq/0"]
    tms.alive("hq", ["c1"])
    assert "ended_at" not in hq.values("c1")["leg/hq/3"]
    feed(tms, there_and_back()[8:10])
    # Should it be killed once more, what was supposed at first does not count.
    again, _, recovery = restarted(hq)
    recovery.reported("hq")
    end = again.values("c1")["end"]
    assert (end["disposition"], end["ended_at"]) == ("answered", AT + SECOND + 9)
    feed(tms, there_and_back()[10:])
    assert tms.live() == 0
    assert hq.values("c1") == whole.values("c1")


def test_replayed_events_change_nothing(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    feed(tms, there_and_back())
    values = hq.values("c1")
    feed(tms, there_and_back())
    assert hq.values("c1") == values
    assert tms.live() == 0


def test_calls_of_a_switch_that_is_gone_are_let_go_and_taken_up_again(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    events = answered_call("c1")
    feed(tms, events[:7])
    assert tms.release("annex") == 0
    assert tms.release("hq") == 1
    assert hq.store.get("c1").clients == ()
    hq.timers.advance(31)
    assert hq.store.get("c1") is None
    feed(tms, events[7:])
    assert hq.values("c1")["leg/hq/1"]["answered_at"] == AT + 3 * SECOND
    assert hq.values("c1")["end"]["disposition"] == "answered"
    assert hq.store.get("c1").clients == ()
    assert tms.live() == 0


@pytest.mark.parametrize("told", range(1, 9))
@pytest.mark.parametrize("memory", ["module", "store", "nothing"])
def test_a_call_that_its_switch_restored(memory: str, told: int) -> None:
    """Whatever was lost with a process, the record is that of a call without accident."""
    events = answered_call("c1")
    whole = FakeNet().server("hq")
    feed(Tms(whole.store, whole.clock), events)
    hq = FakeNet().server("hq")
    tms = Tms(hq.store, hq.clock)
    if memory != "nothing":
        feed(tms, events[: max(told - 1, 1)])
        hq.store.write(None, "c1", "hq/crm", {"account": "4711"})
    if memory == "store":
        tms = Tms(hq.store, hq.clock)
    known = [e for e in events[: max(told, 7)] if type(e) is not LegRinging or e.status == 180]
    tms.event(CallRestored(call_id="c1", at=AT, switch="hq", leg=0, told=tuple(known)))
    tms.event(SwitchStarted(at=AT, switch="hq"))
    assert tms.live() == 1
    feed(tms, events[max(told, 7) :])
    values, right = hq.values("c1"), whole.values("c1")
    if memory != "nothing" and told > 2:
        assert values.pop("account") == "4711", "what somebody wrote after the route"
    values.pop("account", None), right.pop("account")
    for leg in (values["leg/hq/1"], right["leg/hq/1"]):
        leg.pop("early_media", None)
    assert values == right
    assert tms.live() == 0
    assert tms.unknown_events == 0


def test_a_call_whose_end_the_switch_forgot_keeps_it(hq: FakeServer) -> None:
    """Killed between telling the end and noting it in its own journal, the switch ends it again."""
    events = answered_call("c1")
    feed(Tms(hq.store, hq.clock), events)
    first = hq.values("c1")
    tms = Tms(hq.store, hq.clock)
    tms.event(
        CallRestored(call_id="c1", at=AT + 20 * SECOND, switch="hq", leg=0, told=tuple(events[:7]))
    )
    tms.event(SwitchStarted(at=AT + 20 * SECOND, switch="hq"))
    later = CallEnded(
        call_id="c1",
        at=AT + 60 * SECOND,
        switch="hq",
        disposition="answered",
        sip_status=200,
        reason="a side vanished",
        hangup_by="switch",
    )
    tms.event(later)
    assert hq.values("c1") == first
    assert tms.live() == 0


def test_calls_that_the_switch_did_not_bring_back_are_over(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    feed(tms, answered_call("c1")[:7])
    hq.timers.advance(60)
    feed(tms, busy_call("c2", AT + 60 * SECOND)[:2])
    hq.timers.advance(3540)
    tms.event(SwitchStarted(at=AT + 3600 * SECOND, switch="hq"))
    assert tms.live() == 0
    end = hq.values("c1")["end"]
    assert (end["disposition"], end["reason"]) == ("answered", "switch restarted")
    assert end["ended_at"] == AT + 60 * SECOND, "its last event: until then it was alive"
    assert hq.values("c1")["leg/hq/1"]["ended_at"] == AT + 60 * SECOND
    assert hq.values("c2")["end"]["disposition"] == "failed"
    assert hq.store.get("c1").clients == ()


@pytest.mark.parametrize("memory", [True, False])
def test_a_passage_that_its_switch_did_not_bring_back_is_over(hq: FakeServer, memory: bool) -> None:
    """Another one of the same call goes on."""
    tms = Tms(hq.store, hq.clock)
    feed(tms, there_and_back()[:8])
    if not memory:
        tms = Tms(hq.store, hq.clock)
    tms.event(CallRestored(call_id="c1", at=AT, switch="hq", leg=2, told=()))
    tms.event(SwitchStarted(at=AT, switch="hq"))
    values = hq.values("c1")
    assert (values["end"]["disposition"], values["end"]["reason"]) == ("failed", "switch restarted")
    assert [n for n in range(4) if "ended_at" in values[f"leg/hq/{n}"]] == [0, 1]
    assert tms.live() == 1
    tms.event(there_and_back()[10])
    assert tms.live() == 0
    if memory:
        assert hq.store.get("c1").clients == ()


def test_events_of_unknown_calls_are_counted(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    feed(tms, answered_call("c1")[1:])
    assert tms.unknown_events == len(answered_call("c1")) - 1
    assert len(hq.store) == 0


def test_names_of_our_own_cannot_be_set(hq: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    tms = Tms(hq.store, hq.clock)
    for _ in range(2):
        tms.event(started("c1"))
        tms.event(
            CallRouted(call_id="c1", at=AT, switch="hq", match="x", where="f:1", number="1",
                       properties={"call": "x", "leg/hq/0": "x", "": "x", "fine": "y"})
        )  # fmt: skip
    assert hq.values("c1")["call"]["caller"] == "1001"
    assert hq.values("c1")["fine"] == "y"
    assert "" not in hq.values("c1")
    assert caplog.text.count("set: 'call': such names belong") == 1


def test_undecodable_text_becomes_text_that_can_be_stored(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    tms.event(started("c1", user_agent="Tel\udcff", caller_name="Zoë"))
    assert hq.values("c1")["leg/hq/0"]["user_agent"] == "Tel?"
    assert hq.values("c1")["call"]["caller_name"] == "Zoë"


def test_legs_beyond_the_names_made_beforehand(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    tms.event(started("c1"))
    event = busy_call("c1")[1]
    for leg in range(1, 30):
        tms.event(
            type(event)(**{f: getattr(event, f) for f in event.__struct_fields__} | {"leg": leg})
        )
    assert "leg/hq/29" in hq.values("c1")


def test_a_call_that_applications_have_filled_has_its_end(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    tms.event(started("c1"))
    assert hq.store.write(None, "c1", "hq/crm", {f"p{n}": n for n in range(100)})
    assert not hq.store.write(None, "c1", "hq/crm", {}, ["one more"])
    feed(tms, answered_call("c1")[1:])
    assert "end" in hq.values("c1")
    assert tms.live() == 0


def test_calls_through_the_tms_leave_no_garbage(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock)
    watcher = Listener()
    hq.store.watch(watcher)
    feed(tms, answered_call("first"))
    gc.collect()
    gc.disable()
    try:
        for n in range(100):
            feed(tms, answered_call(f"c{n}"))
        hq.timers.advance(31)
        watcher.over.clear()
        watcher.told.clear()
        assert len(hq.store) == 0
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_what_was_told_after_the_asking_is_not_written_with_it(hq: FakeServer) -> None:
    """The switch has its own journal on disk for what was told until then, and for no more."""
    tms = Tms(hq.store, hq.clock, lambda flush: None)
    events = answered_call("c1")
    feed(tms, events[:3])
    first = tms.seal()
    feed(tms, events[3:])
    feed(tms, [started("c2")])
    second = tms.seal()
    feed(tms, [started("c3")])
    assert hq.values("c1") == {}
    tms.write(first)
    assert set(hq.values("c1")) >= {"call", "route/hq", "leg/hq/0"}
    assert "end" not in hq.values("c1")
    assert hq.store.get("c1").clients, "its end is told, and not written yet"
    assert hq.values("c2") == hq.values("c3") == {}
    tms.write(second)
    assert "end" in hq.values("c1")
    assert hq.store.get("c1").clients == ()
    assert "call" in hq.values("c2")
    assert hq.values("c3") == {}
    tms.flush()
    assert "call" in hq.values("c3")


def test_what_was_sealed_is_written_in_order_whoever_asks(hq: FakeServer) -> None:
    tms = Tms(hq.store, hq.clock, lambda flush: None)
    events = answered_call("c1")
    for event in events:
        tms.event(event)
        tms.seal()
    tms.flush()
    other = Tms(hq.store, hq.clock)
    feed(other, answered_call("c2"))
    for name in ("answer", "end"):
        assert hq.values("c1")[name] == hq.values("c2")[name]
    assert hq.store.get("c1").clients == ()
    assert tms.live() == 0
