"""Somebody sets a clock, in mid call or between two lives of a server: the call's times are those
of one clock, its owner's as the call began, at every server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cds_calls import SECOND, started
from cds_fakes import START, FakeServer
from cds_world import Site, World

from cdsplugin.archive.view import View
from cdsplugin.data.call import Call
from cdsplugin.tms.tms import Tms
from softswitch.events import (
    CallEnded,
    CallerTold,
    CallRestored,
    CallStarted,
    LegAnswered,
    LegEnded,
    LegInvited,
    SwitchStarted,
    TalkBegan,
    TalkEnded,
    Told,
)

HOUR = 3600 * SECOND


class Switch:
    """A switch beside a server: its calls have a time base of their own, as real ones have."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.bases: dict[str, int] = {}
        self.told: dict[str, list[Told]] = {}
        self.start()

    def start(self) -> None:
        server = self.site.server
        self.tms = Tms(server.store, server.clock)

    def restart(self, power: bool = False) -> None:
        """Server and switch are killed; what the switch had in its journal comes back."""
        self.site.restart(power)
        self.start()
        timers = self.site.server.timers
        for call_id, told in self.told.items():
            if power:
                base = timers.now_us() - timers.monotonic_us()
                self.bases[call_id] = max(base, told[-1].at - timers.monotonic_us())
            self.tms.event(
                CallRestored(
                    call_id=call_id,
                    at=self._at(call_id),
                    switch=self.site.name,
                    leg=0,
                    told=tuple(told),
                )
            )

    def begins(self, call_id: str = "c1", owner: str = "ant") -> None:
        timers = self.site.server.timers
        self.bases[call_id] = timers.now_us() - timers.monotonic_us()
        self._tell(started(call_id, self.site.name, owner, self._at(call_id)))
        self._tell(
            LegInvited(
                **self._of(call_id), leg=1, party="trunk:x", uri="sip:x", address="", sip_call_id=""
            )
        )

    def begins_again(self, leg: int, call_id: str = "c1", owner: str = "ant") -> None:
        at = self._at(call_id)
        self._tell(started(call_id, self.site.name, owner, at, leg=leg))

    def answers(self, call_id: str = "c1") -> None:
        self._tell(
            LegAnswered(
                **self._of(call_id), leg=1, status=200, callee="2001", codec="", user_agent=""
            )
        )
        self._tell(TalkBegan(**self._of(call_id), talk=1, legs=(0, 1), how="dialled", by=""))

    def late(self, call_id: str = "c1") -> None:
        self._tell(CallerTold(**self._of(call_id), leg=0))

    def ends(self, call_id: str = "c1") -> None:
        of = self._of(call_id)
        for leg in (0, 1):
            self._tell(LegEnded(**of, leg=leg, status=200, reason="", by="remote"))
        self._tell(TalkEnded(**of, talk=1))
        self._tell(
            CallEnded(**of, disposition="answered", sip_status=200, reason="", hangup_by="caller")
        )
        del self.told[call_id]

    def _at(self, call_id: str) -> int:
        return self.bases[call_id] + self.site.server.timers.monotonic_us()

    def _of(self, call_id: str) -> dict[str, Any]:
        return {"call_id": call_id, "at": self._at(call_id), "switch": self.site.name}

    def _tell(self, event: Any) -> None:
        self.told.setdefault(event.call_id, []).append(event)
        self.tms.event(event)


@pytest.fixture
def world() -> World:
    return World("ant", "bee", commit=0.0)


def held(server: FakeServer, call_id: str = "c1") -> Call:
    call = server.store.get(call_id)
    assert call is not None
    return call


def times(world: World, name: str, switch: str, call_id: str = "c1") -> dict[str, float]:
    """The times of a switch's leg 0 as the server ``name`` has it, in seconds since the start."""
    leg: Any = world[name].server.values(call_id)[f"leg/{switch}/0"]
    return {k: round((v - START) / 1e6, 2) for k, v in leg.items() if k.endswith("_at")}


def step(world: World, name: str, by: int) -> None:
    world[name].server.timers.wrong += by


def test_times_that_are_the_owners_are_not_moved_after_a_restart(world: World) -> None:
    """Though nothing was written since it was known that they are, as the owner has none such:
    another estimate of its time is another by what the frames took."""
    bee = Switch(world["bee"])
    bee.begins("c0")
    world.pass_time(2)  # its time is well known by now
    bee.begins()
    world.pass_time(2)
    before = times(world, "bee", "bee")
    assert held(world["bee"].server).based
    world["bee"].restart()
    assert held(world["bee"].server).based
    step(world, "ant", SECOND)
    world.pass_time(2)
    assert times(world, "bee", "bee") == times(world, "ant", "bee") == before


@pytest.mark.parametrize("by", [HOUR, -HOUR])
@pytest.mark.parametrize("who", ["ant", "bee"])
def test_a_step_in_mid_call(world: World, who: str, by: int) -> None:
    """At the owner, or at a participant."""
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    ant.begins()
    bee.begins()
    world.pass_time(2)
    step(world, who, by)
    world.pass_time(2)
    ant.answers()
    bee.answers()
    world.pass_time(12)
    ant.ends()
    bee.ends()
    world.pass_time(1)
    for switch in ("ant", "bee"):
        found = times(world, "ant", switch)
        assert found == {"invited_at": 0.0, "answered_at": 4.0, "ended_at": 16.0}
        assert found == times(world, "bee", switch)
    row = View(held(world["ant"].server)).cdr("ant", False)
    assert (row.duration, row.billsec) == (16.0, 12.0)


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_who_joins_after_the_owners_clock_was_set(world: World, by: int) -> None:
    """The call's time is what it was; that of the next call is by the new clock."""
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    ant.begins()
    world.pass_time(5)
    step(world, "ant", by)
    bee.begins()
    world.pass_time(5)
    bee.ends()
    world.pass_time(1)
    assert times(world, "ant", "bee") == {"invited_at": 5.0, "ended_at": 10.0}
    ant.begins("c2")
    bee.begins("c2")
    world.pass_time(1)
    assert times(world, "ant", "bee", "c2")["invited_at"] == 11.0 + by / SECOND


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_the_first_call_after_an_owner_has_restarted_with_its_clock_put_right(
    world: World, by: int
) -> None:
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    step(world, "ant", -by)
    for switch in (ant, bee):
        switch.begins("c0")
        world.pass_time(1)
        switch.ends("c0")
    world.pass_time(10)
    step(world, "ant", by)
    ant.restart()
    # The INVITE is quicker than the servers.
    ant.begins()
    bee.begins()
    assert bee.site.server.clock.base("ant") is None, "it is in doubt"
    world.pass_time(3)
    bee.ends()
    world.pass_time(1)
    assert times(world, "ant", "bee") == {"invited_at": 12.0, "ended_at": 15.0}
    stamps = [e.stamp for e in held(world["ant"].server).data.properties.values()]
    assert START + 12 * SECOND <= min(stamps) <= max(stamps) < START + 17 * SECOND


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_whole_call_while_the_owner_is_away(world: World, by: int) -> None:
    """What was written by the old clock is put right before anybody sees it, times as well."""
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    step(world, "ant", -by)
    ant.begins()
    bee.begins("c0")
    bee.begins()
    world.pass_time(1)
    ant.ends()
    bee.ends()
    world.pass_time(60)
    world["ant"].kill()
    bee.begins("c2")
    world.pass_time(5)
    bee.ends("c2")
    world["ant"].wrong = 0
    world["ant"].start()
    world.pass_time(10)
    assert times(world, "ant", "bee", "c2") == {"invited_at": 61.0, "ended_at": 66.0}


@pytest.mark.parametrize("who", ["ant", "bee"])
@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_step_while_a_server_is_away(world: World, who: str, by: int) -> None:
    switches = {name: Switch(world[name]) for name in ("ant", "bee")}
    for switch in switches.values():
        switch.begins()
    world.pass_time(3)
    step(world, who, by)
    switches[who].restart()
    world.pass_time(7)
    world[who].server.store.write(None, "c1", f"{who}/crm", {"mood": "good"})
    for switch in switches.values():
        switch.answers()
    world.pass_time(5)
    for switch in switches.values():
        switch.ends()
    world.pass_time(1)
    for switch in switches:
        assert times(world, "ant", switch) == {
            "invited_at": 0.0,
            "answered_at": 10.0,
            "ended_at": 15.0,
        }
    newest = held(world["ant"].server).data.newest
    assert START + 15 * SECOND <= newest < START + 16 * SECOND


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_call_whose_end_nobody_saw(world: World, by: int, power: bool) -> None:
    """It ends when its server was last alive, by the clock that it had."""
    ant = Switch(world["ant"])
    ant.begins()
    ant.answers()
    world.pass_time(2)
    step(world, "ant", by)
    world.pass_time(10)
    step(world, "ant", -3 * by)
    ant.site.restart(power)
    world.pass_time(25)
    row = View(held(world["ant"].server)).cdr("ant", False)
    assert row.reason == "server restarted"
    assert 10.5 <= row.duration <= 12.1


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_call_that_the_switch_did_not_bring_back(world: World, by: int) -> None:
    """Until the switch's last event it was alive, of whatever call that was."""
    ant = Switch(world["ant"])
    ant.begins()
    world.pass_time(5)
    step(world, "ant", by)
    ant.begins("c2")
    world.pass_time(2)
    ant.answers()
    world.pass_time(5)
    ant.tms.event(SwitchStarted(at=ant.site.server.timers.now_us(), switch="ant"))
    row = View(held(world["ant"].server)).cdr("ant", False)
    assert row.duration == 7.0


def test_the_caretakers_record(world: World) -> None:
    """Pieced of what the owner had said and what is known here."""
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    ant.begins()
    bee.begins()
    world.pass_time(2)
    ant.answers()
    bee.answers()
    world.pass_time(2)
    step(world, "bee", HOUR)
    world["ant"].kill()
    world.pass_time(40)
    bee.ends()
    row = View(held(world["bee"].server)).pieced("bee", True)
    assert row.duration == pytest.approx(44, abs=0.01)
    assert row.billsec == pytest.approx(42, abs=0.01)


def test_stamps_increase_whatever_is_set(world: World) -> None:
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    ant.begins()
    bee.begins()
    world.pass_time(1)
    newest = 0
    for n in range(20):
        for site in (world["ant"], world["bee"]):
            site.server.timers.wrong += (-1) ** n * HOUR
            site.server.store.write(None, "c1", site.name, {"x": n})
            world.pass_time(0.2)
            stamp = held(world["ant"].server).data.properties["x"].stamp
            assert newest < stamp < START + 10 * SECOND
            newest = stamp


def test_an_answer_of_which_the_caller_heard_late(world: World) -> None:
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    ant.begins()
    bee.begins()
    ant.answers()
    bee.answers()
    world.pass_time(8)
    ant.late()
    bee.late()
    world.pass_time(5)
    ant.ends()
    bee.ends()
    world.pass_time(1)
    values: Any = world["ant"].server.values("c1")
    assert values["answer"] == {
        "callee": "2001",
        "callee_party": "trunk:x",
        "answered_at": START + 8 * SECOND,
    }
    for switch in ("ant", "bee"):
        assert times(world, "ant", switch)["answered_at"] == 8.0
        assert values[f"leg/{switch}/1"]["answered_at"] == START, "the callee's 2xx came then"
    row = View(held(world["ant"].server)).cdr("ant", False)
    assert (row.duration, row.billsec) == (13.0, 5.0)


def test_a_late_answer_comes_back_with_its_call(world: World) -> None:
    ant = Switch(world["ant"])
    ant.begins()
    ant.answers()
    world.pass_time(8)
    ant.late()
    ant.restart()
    values: Any = world["ant"].server.values("c1")
    assert values["answer"]["answered_at"] == START + 8 * SECOND
    assert isinstance(ant.told["c1"][0], CallStarted)


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_call_that_is_over_here_before_its_owner_says_what_time_it_is(
    world: World, by: int
) -> None:
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    ant.begins()
    world.pass_time(1)
    step(world, "ant", by)
    world.net.part("ant", "bee")
    bee.begins()
    world.pass_time(5)
    bee.ends()
    world.pass_time(80)
    assert world["bee"].server.store.get("c1") is None, "it is kept"
    world.net.heal()
    world.pass_time(15)
    assert times(world, "ant", "bee") == {"invited_at": 1.0, "ended_at": 6.0}
    ant.ends()
    world.pass_time(45)
    assert not world["bee"].server.store.kept


def test_a_call_that_comes_back_after_it_was_kept_and_stamped_anew(world: World) -> None:
    """What was written while its owner was away got stamps by the owner's clock, which had been set
    ahead of the call's time: what is written later comes after them all the same."""
    ant, bee = Switch(world["ant"]), world["bee"]
    ant.begins()
    world.pass_time(1)
    step(world, "ant", HOUR)
    world.net.part("ant", "bee")
    bee.join("c1")
    assert bee.write("c1", "note")
    bee.leave("c1")
    world.pass_time(80)
    assert list(bee.server.store.kept) == ["c1"]
    world.net.heal()
    world.pass_time(15)
    shown = held(world["ant"].server).data.properties["note"].stamp
    assert shown > START + HOUR
    ant.ends()
    world.pass_time(45)
    assert not bee.server.store.kept
    bee.join("c1")
    world.pass_time(1)
    assert bee.write("c1", "later")
    world.pass_time(1)
    assert held(world["ant"].server).data.properties["later"].stamp > shown


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_a_passage_ends_and_another_begins_in_one_turn(world: World, by: int) -> None:
    """As when a process goes on that was stopped. What is told in one turn is written together, and
    the times of the first passage are put right once."""
    ant, bee = Switch(world["ant"]), Switch(world["bee"])
    step(world, "bee", by)
    later: list[Callable[[], None]] = []
    bee.tms = Tms(world["bee"].server.store, world["bee"].server.clock, later.append)

    def turn() -> None:
        while later:
            later.pop()()
        world.pass_time(1)

    ant.begins()
    bee.begins()
    turn()
    bee.ends()
    bee.begins_again(2)
    turn()
    assert times(world, "ant", "bee") == {"invited_at": 0.0, "ended_at": 1.0}
    found = world["ant"].server.values("c1")["leg/bee/2"]
    assert isinstance(found, dict)
    assert found["invited_at"] == pytest.approx(START + SECOND, abs=10_000)
