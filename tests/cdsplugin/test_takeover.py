"""Takeover: the caretaker of a dead owner's calls, hand-back, and one row a call in the end."""

from __future__ import annotations

from functools import partial

import pytest
from cds_fakes import START, FakeNet, Listener
from cds_world import DEAD, LIVE, NAMES, Rows, Site, World, listed
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsplugin.data.call_data import CallData
from cdsplugin.data.frames import (
    Alive,
    EndOfCall,
    Listing,
    Refused,
    Register,
    Registered,
    Update,
)

HOUR = 3_600_000_000


def test_the_list_travels_to_each_participant_in_its_order() -> None:
    world = World("ant", "bee", "cat", "dog")
    world.call()
    for name in ("bee", "cat", "dog"):
        assert listed(world[name].server) == ("bee", "cat", "dog")
    world["cat"].leave("c1")
    world.pass_time(0.2)
    assert listed(world["dog"].server) == listed(world["bee"].server) == ("bee", "dog")


def test_the_list_costs_one_small_frame_for_many_calls_and_none_for_two_servers() -> None:
    world = World("ant", "bee", "cat")
    for n in range(50):
        world["ant"].join(f"c{n}")
        world["bee"].join(f"c{n}")
    world.pass_time(1)
    assert not [f for _, _, f in world.net.log if isinstance(f, Listing)]
    for n in range(50):
        world["cat"].join(f"c{n}")
    world.pass_time(1)
    frames = [(to, len(f.calls)) for _, to, f in world.net.log if isinstance(f, Listing)]
    assert {to for to, _ in frames} == {"bee"}
    assert sum(calls for _, calls in frames) == 50
    assert len(frames) < 40


def test_the_first_living_name_takes_care_and_the_others_register_with_it() -> None:
    world = World("ant", "bee", "cat", "dog")
    world.call()
    world["ant"].kill()
    world.pass_time(36)
    assert world["bee"].stage() == DEAD
    assert world["cat"].stage() == world["dog"].stage() == LIVE
    assert world["bee"].server.health[-1] == ("ant", False)
    world["cat"].write("c1", "later")
    world.pass_time(0.2)
    assert "later" in world["dog"].has() & world["bee"].has()
    # The update went to the caretaker, and from there to the one other.
    world.net.log.clear()
    world["cat"].write("c1", "once")
    world.net.run()
    assert [(a, b) for a, b, _ in world.net.log] == [("cat", "bee"), ("bee", "dog")]


def test_a_caretaker_that_dies_too_is_followed_by_the_next_name() -> None:
    world = World("ant", "bee", "cat", "dog")
    world.call()
    world["ant"].kill()
    world.pass_time(36)
    world["bee"].kill()
    world.pass_time(45)
    assert world["cat"].stage() == DEAD
    assert world["dog"].stage() == LIVE
    world["dog"].write("c1", "d")
    world.pass_time(0.2)
    assert "d" in world["cat"].has()


def test_the_caretaker_ends_the_call_writes_its_record_and_hands_it_over() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    world["ant"].kill()
    world.pass_time(36)
    for name in ("cat", "bee"):
        world["cat"].write("c1", "end", {"disposition": "answered", "ended_at": START})
        world[name].leave("c1")
    world.pass_time(29)
    assert world.rows() == {}
    world.pass_time(3)
    assert world.rows() == {"c1": ["bee"]}
    row = world["bee"].rows.cdrs["c1"]
    assert (row.owner, row.written_by) == ("ant", "bee"), (
        "the owner stays the owner, and the row says who wrote it"
    )
    assert len(world["bee"].server.store) == len(world["cat"].server.store) == 0
    ends = [(a, b) for a, b, f in world.net.log if isinstance(f, EndOfCall)]
    assert ends == [("bee", "cat")]
    # Back without its memory, the owner gets the call, writes the record and says so.
    world["ant"].start()
    world.pass_time(20)
    assert world.rows() == {"c1": ["ant", "bee"]}, "never none"
    world.pass_time(20)
    assert world.rows() == {"c1": ["ant"]}
    row = world["ant"].rows.cdrs["c1"]
    assert (row.owner, row.written_by) == ("ant", "ant")
    assert world["ant"].rows.entries["c1"] == {"from ant", "from bee", "from cat"}
    assert world["bee"].server.store.kept == {}
    world.pass_time(40)
    assert len(world["ant"].server.store) == 0
    for site in world.sites.values():
        assert site.server.proxy._registrations.joined == {}


def test_the_record_stays_until_the_owners_is_on_disk() -> None:
    world = World("ant", "bee")
    world.call()
    world["ant"].kill()
    world["bee"].leave("c1")
    world.pass_time(70)
    assert world.rows() == {"c1": ["bee"]}
    world["ant"].start()
    world["ant"].rows.slow = True
    world.pass_time(50)
    assert "c1" in world["bee"].rows.cdrs
    # It dies with its record still in memory.
    world["ant"].rows.cdrs.clear()
    world["ant"].kill()
    world.pass_time(50)
    assert world.rows() == {"c1": ["bee"]}
    world["ant"].rows = Rows()
    world["ant"].start()
    world.pass_time(60)
    assert world.rows() == {"c1": ["ant"]}


def test_an_owner_that_comes_back_takes_a_live_call_over() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    world["ant"].kill()
    world.pass_time(40)
    world["cat"].write("c1", "meanwhile")
    world.pass_time(1)
    world["ant"].start()
    world.pass_time(12)
    assert world["ant"].has() == {"from ant", "from bee", "from cat", "meanwhile"}
    assert world["bee"].stage() == world["cat"].stage() == LIVE
    call = world["ant"].server.store.get("c1")
    assert set(world["ant"].server.proxy.participants(call)) == {"bee", "cat"}
    bee_call = world["bee"].server.store.get("c1")
    assert world["bee"].server.proxy.participants(bee_call) == ["ant"]
    for name in ("bee", "cat"):
        world[name].leave("c1")
    world.pass_time(70)
    assert world.rows() == {"c1": ["ant"]}


@pytest.mark.parametrize("ends", ["while apart", "after healing"])
def test_two_caretakers_on_the_two_sides_of_a_partition_do_no_harm(ends: str) -> None:
    world = World("ant", "bee", "cat", "dog", "elk")
    world.call()
    world["ant"].kill()
    world.net.part("bee cat", "dog elk")
    world.pass_time(70)
    assert world["bee"].stage() == DEAD
    assert world["dog"].stage() == DEAD
    assert world["cat"].stage() == world["elk"].stage() == LIVE
    world["cat"].write("c1", "left")
    world["elk"].write("c1", "right")
    world.pass_time(1)
    if ends == "while apart":
        for name in ("bee", "cat", "dog", "elk"):
            world[name].leave("c1")
        world.pass_time(70)
        assert world.rows() == {"c1": ["bee", "dog"]}
    world.net.heal()
    world.pass_time(20)
    if ends == "after healing":
        # Even with the owner dead there is one caretaker again.
        assert world["bee"].stage() == DEAD
        assert [world[n].stage() for n in ("cat", "dog", "elk")] == [LIVE] * 3
        assert {"left", "right"} <= world["dog"].has() & world["cat"].has()
        for name in ("bee", "cat", "dog", "elk"):
            world[name].leave("c1")
    world.pass_time(70)
    assert world.rows() == {"c1": ["bee"]}
    assert {"left", "right"} <= world["bee"].rows.entries["c1"]
    world["ant"].start()
    world.pass_time(60)
    assert world.rows() == {"c1": ["ant"]}
    assert {"left", "right"} <= world["ant"].rows.entries["c1"]


def test_a_partition_with_a_living_owner_ends_in_one_row() -> None:
    world = World("ant", "bee", "cat", "dog")
    world.call()
    world.net.part("ant bee", "cat dog")
    world.pass_time(50)
    assert world["bee"].stage() == LIVE
    assert world["cat"].stage() == DEAD
    assert world["dog"].stage() == LIVE
    for name, site in world.sites.items():
        site.write("c1", f"last of {name}")
        site.leave("c1")
    world.pass_time(400)
    assert world.rows() == {"c1": ["ant", "cat"]}
    world.net.heal()
    world.pass_time(90)
    assert world.rows() == {"c1": ["ant"]}
    assert world["ant"].rows.entries["c1"] >= {f"last of {name}" for name in world.sites}


def test_who_reaches_the_owner_speaks_for_who_does_not() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    pair = frozenset(("ant", "cat"))
    world.net.cut("ant", "cat")
    world.net.closed_ways.add(pair)
    world.pass_time(50)
    assert world["cat"].stage() == LIVE
    assert world["bee"].stage() == LIVE
    world["cat"].write("c1", "by way of bee")
    world["ant"].write("c1", "back the same way")
    world.pass_time(1)
    assert "by way of bee" in world["ant"].has()
    assert "back the same way" in world["cat"].has()
    world.net.heal()
    world.pass_time(12)
    assert world["cat"].server.proxy.participants(world["cat"].server.store.get("c1")) == ["ant"]
    call = world["bee"].server.store.get("c1")
    assert world["bee"].server.proxy.participants(call) == ["ant"]


def test_a_server_that_is_not_the_caretaker_says_who_is() -> None:
    world = World("ant", "bee", "cat", "dog")
    world.call()
    world["ant"].kill()
    world.pass_time(40)
    asked = world["cat"].server
    asked.net.dial("dog", "cat")
    asked.proxy.received("dog", Register("c1", "ant", 1, {}, [], [], []))
    world.net.run()
    refused = [f for _, to, f in world.net.log if isinstance(f, Refused) and to == "dog"]
    assert refused[-1].instead == "bee"
    assert world["dog"].stage() == LIVE


def test_whoever_asks_the_wrong_one_is_shown_the_caretaker_and_goes_there() -> None:
    world = World("ant", "bee", "cat", "dog")
    world.call()
    # dog was told another order than the others.
    world["dog"].server.proxy.received("ant", Listing([("c1", ["cat", "bee", "dog"])]))
    world["ant"].kill()
    world.pass_time(45)
    assert world["bee"].stage() == DEAD
    assert world["dog"].stage() == LIVE
    call = world["dog"].server.store.get("c1")
    assert world["dog"].server.proxy.participants(call) == ["bee"]


def test_of_two_who_take_each_other_for_the_caretaker_the_first_name_is_it() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    world["bee"].server.proxy.received("ant", Listing([("c1", ["cat", "bee"])]))
    world["ant"].kill()
    world.pass_time(45)
    assert world["bee"].stage() == DEAD
    assert world["cat"].stage() == LIVE
    world["cat"].write("c1", "c")
    world["bee"].write("c1", "b")
    world.pass_time(1)
    assert world["bee"].has() == world["cat"].has()


def test_an_owner_dead_before_it_was_ever_reached() -> None:
    world = World("bee", "cat")
    for name in ("bee", "cat"):
        world[name].join("c1")
        world[name].write("c1", f"from {name}")
    world.pass_time(40)
    assert world["bee"].stage() == world["cat"].stage() == DEAD
    world["bee"].join("c2")
    assert world["bee"].stage("c2") == DEAD, "known to be dead by now"
    for name in ("bee", "cat"):
        world[name].leave("c1")
    world["bee"].leave("c2")
    world.pass_time(40)
    assert world.rows() == {"c1": ["bee", "cat"]}, "neither knows of the other"
    world.sites["ant"] = Site(world.net, "ant")
    world.pass_time(60)
    assert world.rows() == {"c1": ["ant"]}
    assert world["ant"].rows.entries["c1"] == {"from bee", "from cat"}


def test_a_caretaker_without_memory_learns_the_call_from_who_registers() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    world["bee"].kill()
    world["ant"].kill()
    world["bee"].start()
    world.pass_time(50)
    assert world["cat"].stage() == LIVE
    assert world["bee"].stage() == DEAD
    assert world["bee"].has() == {"from ant", "from bee", "from cat"}
    world["cat"].leave("c1")
    world.pass_time(40)
    assert world.rows() == {"c1": ["bee"]}


def test_what_is_kept_for_owners_is_limited_and_the_record_stays() -> None:
    world = World("ant", "bee", kept_calls=3)
    for n in range(5):
        world["ant"].join(f"c{n}")
        world["bee"].join(f"c{n}")
        world["bee"].write(f"c{n}", "b")
    world.pass_time(1)
    world["ant"].kill()
    for n in range(5):
        world["bee"].leave(f"c{n}")
        world.pass_time(1)
    world.pass_time(70)
    assert list(world["bee"].server.store.kept) == ["c2", "c3", "c4"]
    assert world["bee"].server.proxy.kept_dropped == 2
    world["ant"].start()
    world.pass_time(60)
    assert world.rows() == {"c0": ["bee"], "c1": ["bee"], **{f"c{n}": ["ant"] for n in (2, 3, 4)}}


def test_a_kept_call_goes_on_when_somebody_speaks_of_it_again() -> None:
    world = World("ant", "bee")
    world.call()
    world["ant"].kill()
    world["bee"].leave("c1")
    world.pass_time(70)
    assert world.rows() == {"c1": ["bee"]}
    world["bee"].join("c1")
    world["bee"].write("c1", "note")
    assert world["bee"].has() == {"from ant", "from bee", "note"}
    world["ant"].start()
    world.pass_time(12)
    world["bee"].leave("c1")
    world.pass_time(70)
    assert world.rows() == {"c1": ["ant"]}
    assert "note" in world["ant"].rows.entries["c1"]


class Switch(Listener):
    switch = "ant"


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_call_brought_back_by_others_is_held_for_no_switch_after_a_restart(goes_on: bool) -> None:
    """It ended at its owner while bee was away, and bee's copy does not know that."""
    world = World("ant", "bee", commit=0.0, reregister_within=20.0)
    ant, bee = world["ant"], world["bee"]
    world.call()
    ant.write("c1", "call", {"switch": "ant"})
    ant.write("c1", "leg/ant/0", {"direction": "in", "invited_at": START})
    world.pass_time(1)
    world.net.part("ant", "bee")
    ant.write("c1", "leg/ant/0", {"direction": "in", "invited_at": START, "ended_at": START + 1})
    ant.write("c1", "end", {"disposition": "answered", "ended_at": START + 1})
    ant.leave("c1")
    world.pass_time(70)
    assert ant.rows.cdrs["c1"].ended_at == "2027-01-15T08:00:00.000001Z"
    world.net.heal()
    world.pass_time(5)
    assert "end" not in ant.has()
    if goes_on:  # it comes back to the switch
        ant.server.store.register(Switch(), "c1", "ant")
    ant.restart()
    world.pass_time(30)
    assert ("end" in ant.has()) == goes_on
    assert ("ended_at" in ant.server.values("c1")["leg/ant/0"]) == goes_on
    bee.leave("c1")
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant"]}


def test_entries_of_a_wrong_clock_are_put_right_before_anybody_sees_them() -> None:
    world = World("ant")
    world.sites["bee"] = Site(world.net, "bee", wrong=5 * HOUR)
    world.net.closed_ways.add(frozenset(("ant", "bee")))
    world["ant"].join("c1")
    world["bee"].join("c1")
    world["bee"].write("c1", "x", "early")
    world["bee"].server.store.write(None, "c1", "bee", {}, ["one", "two"])
    assert world["bee"].server.store.get("c1").data.newest > START + 4 * HOUR
    world.pass_time(2)
    world["ant"].write("c1", "x", "later")
    world.net.heal()
    world.pass_time(2)
    for site in world.sites.values():
        assert site.server.values("c1")["x"] == "later"
        data = site.server.store.get("c1").data
        assert data.newest < START + 10_000_000
        assert [line.text for line in data.log_lines()] == ["one", "two"]


@pytest.mark.parametrize("ended", [False, True])
def test_entries_of_a_wrong_clock_are_put_right_after_a_restart_too(ended: bool) -> None:
    """It is killed before it has ever reached the owner."""
    world = World("ant")
    bee = world.sites["bee"] = Site(world.net, "bee", wrong=5 * HOUR, commit=0.0)
    world.net.closed_ways.add(frozenset(("ant", "bee")))
    world["ant"].join("c1")
    bee.join("c1")
    bee.write("c1", "x", "early")
    bee.server.store.write(None, "c1", "bee", {}, ["one"])
    if ended:
        bee.leave("c1")
        world.pass_time(70)
        assert "c1" in bee.server.store.kept
    bee.restart()
    world.pass_time(2)
    world["ant"].write("c1", "x", "later")
    world.net.heal()
    world.pass_time(2)
    assert world["ant"].server.values("c1")["x"] == "later"
    data = world["ant"].server.store.get("c1").data
    assert data.newest < START + 100_000_000
    assert [line.text for line in data.log_lines()] == ["one"]
    # And what was seen once is not moved again.
    bee.restart()
    world.pass_time(15)
    assert world["ant"].server.store.get("c1").data == data
    assert len(data.log_lines()) == 1


def test_what_is_written_after_a_restart_waits_for_the_owners_time_too() -> None:
    world = World("ant")
    bee = world.sites["bee"] = Site(world.net, "bee", wrong=5 * HOUR, commit=0.0)
    world.call()
    world.pass_time(1)
    before = world["ant"].server.store.get("c1").data.newest
    world.net.closed_ways.add(frozenset(("ant", "bee")))
    bee.restart()
    bee.join("c1")
    bee.write("c1", "x", "early")
    bee.server.store.write(None, "c1", "bee", {}, ["one", "two"])
    world.pass_time(1)
    bee.restart()  # and once more, so that only the journal knows
    bee.join("c1")
    world["ant"].write("c1", "y", "later")
    world.net.heal()
    world.pass_time(15)
    for site in world.sites.values():
        data = site.server.store.get("c1").data
        assert [line.text for line in data.log_lines()] == ["one", "two"]
        assert before < min(line.stamp for line in data.log_lines())
        assert data.newest < START + 30_000_000
        assert {"from ant", "from bee", "x", "y"} <= set(data.properties)


def test_who_came_back_to_a_call_that_it_had_forgotten_gets_all_of_it_after_a_restart() -> None:
    world = World("ant", "bee", commit=0.0)
    bee = world["bee"]
    world.call()
    bee.leave("c1")
    world.pass_time(70)
    assert bee.server.store.get("c1") is None
    world.net.part("ant", "bee")
    bee.join("c1")
    bee.write("c1", "note")
    bee.restart()
    bee.join("c1")
    world.net.heal()
    world.pass_time(15)
    assert bee.has() == world["ant"].has() == {"from ant", "from bee", "note"}


def test_what_a_caretaker_has_of_one_who_came_back_to_the_owner_is_not_taken_for_known() -> None:
    """The owner has newer entries of that server, and yet not all."""
    world = World("ant", "bee", "cat", commit=0.0)
    ant, bee, cat = (world[name] for name in ("ant", "bee", "cat"))
    world.call()
    world.net.part("ant", "bee cat")
    world.pass_time(40)
    assert bee.stage() == DEAD
    cat.write("c1", "to the caretaker")
    world.pass_time(1)
    cat.leave("c1")
    world.pass_time(70)
    assert cat.server.store.get("c1") is None
    world.net.part("ant cat", "bee")
    cat.join("c1")
    cat.write("c1", "to the owner")
    world.pass_time(15)
    assert {"from cat", "to the owner"} <= ant.has()
    bee.restart()
    world.net.heal()
    world.pass_time(30)
    everything = {"from ant", "from bee", "from cat", "to the caretaker", "to the owner"}
    assert ant.has() == cat.has() == everything


def test_what_is_put_right_is_on_disk_before_anybody_sees_it() -> None:
    """Even if the disk refuses: after a crash it would be put right once more, differently."""
    world = World("ant")
    bee = world.sites["bee"] = Site(world.net, "bee", wrong=5 * HOUR, commit=0.0)
    world.net.closed_ways.add(frozenset(("ant", "bee")))
    world["ant"].join("c1")
    bee.join("c1")
    bee.server.store.write(None, "c1", "bee", {}, ["one"])
    bee.disk.full = True
    world.net.heal()
    world.pass_time(3)
    assert world["ant"].server.store.get("c1").data.log_lines() == []
    bee.restart()
    world.pass_time(3)
    bee.disk.full = False
    world.pass_time(15)
    assert [line.text for line in world["ant"].server.store.get("c1").data.log_lines()] == ["one"]


def test_who_registers_while_stamps_are_put_right_does_not_keep_us_from_the_owner() -> None:
    world = World("ant", "bee", "cat", commit=0.0)
    ant, bee, cat = (world[name] for name in ("ant", "bee", "cat"))
    world.call()
    world.net.part("ant", "bee", "cat")
    bee.restart(power=True)
    bee.join("c1")
    bee.write("c1", "early")
    world.pass_time(40)
    assert cat.stage() == DEAD
    bee.disk.full = True
    world.net.closed_ways.discard(frozenset(("ant", "bee")))
    world.pass_time(2)
    world.net.closed_ways.discard(frozenset(("bee", "cat")))
    world.pass_time(2)
    assert bee.stage() != LIVE
    assert cat.stage() == LIVE
    bee.disk.full = False
    world.pass_time(5)
    assert bee.stage() == LIVE
    assert ant.has() == cat.has() == {"from ant", "from bee", "from cat", "early"}


def test_stamps_are_put_right_however_long_the_owner_takes_to_say_its_time() -> None:
    """They are behind what was shared before on a full disk, and lost."""
    world = World("ant")
    bee = world.sites["bee"] = Site(world.net, "bee", wrong=-HOUR, commit=0.0)
    world.call()
    bee.disk.full = True
    world.pass_time(1)
    bee.write("c1", "x", "shared")
    world.pass_time(1)
    assert world["ant"].server.values("c1")["x"] == "shared"
    carry = world.net.carry
    world.net.carry = lambda s, r, f: None if isinstance(f, Alive) else carry(s, r, f)
    bee.disk.full = False
    bee.restart()
    bee.join("c1")
    bee.write("c1", "x", "last")
    world.pass_time(4)
    world.net.carry = carry
    world.pass_time(2)
    for site in world.sites.values():
        assert site.server.values("c1")["x"] == "last"


def test_the_owner_is_asked_for_its_time_on_a_connection_that_it_has_opened() -> None:
    world = World("ant", "cat")
    bee = world.sites["bee"] = Site(world.net, "bee", wrong=5 * HOUR)
    bee.join("c0", "bee")
    world["ant"].join("c0", "bee")
    world.net.advance(0.2, step=0.01)
    world["ant"].join("c1")
    bee.join("c1")
    bee.write("c1", "x", "early")
    world.net.advance(0.2, step=0.01)
    assert bee.stage() == LIVE
    assert world["ant"].server.values("c1")["x"] == "early"
    assert world["ant"].server.store.get("c1").data.newest < START + 10_000_000


def test_what_was_shared_on_a_full_disk_and_lost_is_not_newer_than_what_comes_next() -> None:
    """Its clock having been set back, a server counts on from the newest stamp that it knows."""
    world = World("ant", "bee", commit=0.0)
    world.call()
    ant, bee = world["ant"], world["bee"]
    ant.server.timers.wrong -= HOUR
    ant.disk.full = True
    for n in range(5):
        ant.write("c1", "x", n)
    world.pass_time(1)
    assert bee.server.values("c1")["x"] == 4
    ant.restart()
    ant.join("c1")
    ant.write("c1", "x", "last")
    ant.disk.full = False
    world.pass_time(15)
    assert ant.server.values("c1")["x"] == bee.server.values("c1")["x"] == "last"


def test_what_was_shared_on_a_full_disk_and_lost_comes_back_from_the_owner() -> None:
    world = World("ant", "bee", commit=0.0)
    world.call()
    ant, bee = world["ant"], world["bee"]
    bee.disk.full = True
    bee.write("c1", "shared")
    world.pass_time(1)
    assert "shared" in ant.has()
    world.net.part("ant", "bee")
    bee.restart()
    bee.disk.full = False
    bee.join("c1")
    bee.write("c1", "later")
    assert "shared" not in bee.has()
    world.net.heal()
    world.pass_time(15)
    assert ant.has() == bee.has() == {"from ant", "from bee", "shared", "later"}


def test_a_clock_that_is_set_before_the_first_contact_moves_no_stamp() -> None:
    world = World("ant", "bee")
    world.net.closed_ways.add(frozenset(("ant", "bee")))
    world["bee"].join("c1")
    world["ant"].join("c1")
    world["bee"].write("c1", "x", "early")
    world["bee"].server.timers.wrong += 2 * HOUR
    world.net.heal()
    world.pass_time(2)
    assert START - 1_000_000 < world["ant"].server.store.get("c1").data.newest < START + 1_000_000


def test_what_the_owner_shared_on_a_full_disk_and_lost_comes_back_from_who_has_it() -> None:
    world = World("ant", "bee", commit=0.0)
    world.call()
    ant, bee = world["ant"], world["bee"]
    ant.disk.full = True
    ant.write("c1", "shared")
    world.pass_time(1)
    assert "shared" in bee.has()
    world.net.part("ant", "bee")
    ant.restart()
    ant.disk.full = False
    ant.join("c1")
    ant.write("c1", "later")
    assert "shared" not in ant.has()
    world.net.heal()
    world.pass_time(15)
    assert ant.has() == bee.has() == {"from ant", "from bee", "shared", "later"}


def test_a_call_that_came_back_after_its_end_is_not_over_after_a_restart() -> None:
    """What was written then is in a record, though its owner stays away."""
    world = World("ant", "bee", commit=0.0)
    world.call()
    ant, bee = world["ant"], world["bee"]
    world.net.part("ant", "bee")
    bee.write("c1", "note")
    bee.leave("c1")
    world.pass_time(70)
    assert len(bee.server.store.kept) == 1
    bee.join("c1")
    bee.write("c1", "again")
    world.pass_time(1)
    bee.restart()
    assert (len(bee.server.store), len(bee.server.store.kept)) == (1, 0)
    world.pass_time(130)
    assert {"note", "again"} <= bee.rows.entries["c1"]
    world.net.heal()
    world.pass_time(15)
    ant.leave("c1")
    world.pass_time(70)
    assert {"note", "again"} <= ant.rows.entries["c1"]
    assert world.rows() == {"c1": ["ant"]}
    assert len(bee.server.store.kept) == 0


def test_an_owner_whose_clock_was_set_back_stamps_behind_what_it_shared_and_lost() -> None:
    world = World("ant", "bee", commit=0.0)
    world.call()
    ant, bee = world["ant"], world["bee"]
    world.pass_time(2)
    ant.disk.full = True
    world.pass_time(5)
    ant.write("c1", "x", "shared")
    world.pass_time(1)
    world.net.part("ant", "bee")
    ant.server.timers.wrong = -HOUR
    ant.restart()
    ant.disk.full = False
    ant.join("c1")
    ant.write("c1", "x", "last")
    world.net.heal()
    world.pass_time(15)
    assert ant.server.values("c1")["x"] == bee.server.values("c1")["x"] == "last"


def test_what_was_lost_is_not_asked_of_who_has_heard_of_what_came_next() -> None:
    """By another head: it would send back to the author what that has."""
    world = World("ant", "bee", "cat", commit=0.0, dead_after=5.0)
    world.call()
    ant, bee, cat = world["ant"], world["bee"], world["cat"]
    world.net.part("ant bee", "cat")
    ant.restart()
    ant.join("c1")
    world.pass_time(1)
    ant.write("c1", "later")
    world.pass_time(10)
    world.net.part("ant", "bee cat")
    world.pass_time(20)
    assert "later" in bee.has()
    assert "later" in cat.has()
    world.net.log.clear()
    world.net.heal()
    world.pass_time(15)
    assert ant.has() == bee.has() == cat.has()
    updates = [frame for _, to, frame in world.net.log if type(frame) is Update and to == "ant"]
    assert [e.name for frame in updates for e in frame.properties if e.author == "ant"] == []


def test_what_an_owner_lost_with_the_whole_call_comes_back_while_that_goes_on() -> None:
    world = World("ant", "bee", commit=0.0)
    ant, bee = world["ant"], world["bee"]
    ant.disk.full = True
    world.call()
    ant.server.store.write(None, "c1", "ant", {}, ["shared"])
    world.pass_time(1)
    world.net.part("ant", "bee")
    ant.restart()
    ant.disk.full = False
    world.pass_time(5)
    ant.join("c1")
    ant.write("c1", "from ant", "again")
    world.net.heal()
    world.pass_time(15)
    assert ant.server.store.get("c1").data == bee.server.store.get("c1").data
    assert [line.text for line in ant.server.store.get("c1").data.log_lines()] == ["shared"]


@pytest.mark.parametrize("later", [False, True])
def test_what_an_owner_lost_with_the_whole_call_is_in_its_record(later: bool) -> None:
    """Its disk had nothing of the call, so it does not know that it asks for too little."""
    world = World("ant", "bee", commit=0.0)
    ant, bee = world["ant"], world["bee"]
    ant.disk.full = True
    world.call()
    ant.write("c1", "shared")
    world.pass_time(1)
    assert "shared" in bee.has()
    world.net.part("ant", "bee")
    ant.restart()
    ant.disk.full = False
    world.pass_time(1)
    ant.join("c1")
    if later:
        ant.write("c1", "later")
    bee.leave("c1")
    world.pass_time(70)
    assert len(bee.server.store.kept) == 1
    world.net.heal()
    world.pass_time(15)
    ant.leave("c1")
    world.pass_time(70)
    assert "shared" in ant.rows.entries["c1"]
    assert world.rows() == {"c1": ["ant"]}
    assert (len(ant.server.store), len(bee.server.store.kept)) == (0, 0)


@pytest.mark.parametrize("away", [False, True])
def test_a_stamp_far_in_the_future_is_left_to_who_made_it(away: bool) -> None:
    world = World("ant", "bee", "cat")
    world.call()
    bee = world["bee"].server
    bee.store.get("c1").data.newest = START + 10_000 * HOUR
    world["bee"].write("c1", "mad")
    world.pass_time(1)
    assert "mad" not in world["ant"].has() | world["cat"].has()
    assert world["ant"].server.proxy.insane_entries == 1
    world["cat"].write("c1", "sane")
    world.pass_time(1)
    assert world["ant"].server.store.get("c1").data.newest < START + HOUR
    if away:
        world.net.part("ant", "bee cat")
        world.pass_time(40)
    for site in world.sites.values():
        site.leave("c1")
    world.pass_time(40)
    world.net.heal()
    # It is handed over a few times more, and not for ever.
    world.pass_time(250)
    world.net.log.clear()
    world.pass_time(100)
    assert [f for _, _, f in world.net.log if not isinstance(f, Alive)] == []
    assert world["ant"].rows.entries["c1"] == {"from ant", "from bee", "from cat", "sane"}
    assert "mad" in world["bee"].rows.entries["c1"], "nothing is lost"
    assert world["bee"].server.store.kept == {}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.sampled_from(NAMES[:4]), st.integers(0, 2)),
            st.tuples(st.just("part"), st.sets(st.sampled_from(NAMES[:4])), st.none()),
            st.tuples(st.just("heal"), st.none(), st.none()),
            st.tuples(st.just("pass"), st.sampled_from([0, 1, 20, 45]), st.none()),
            st.tuples(st.just("leave"), st.sampled_from(NAMES[:4]), st.none()),
            st.tuples(st.just("join"), st.sampled_from(NAMES[:4]), st.none()),
            st.tuples(st.just("jump"), st.sampled_from(NAMES[:4]), st.integers(-5, 5)),
            st.tuples(st.just("restart"), st.sampled_from(NAMES[:4]), st.none()),
        ),
        max_size=14,
    ),
    st.sampled_from([0.0, 0.005, 0.7]),
)
@settings(max_examples=100, deadline=None)
def test_whatever_is_cut_and_healed_there_is_one_row_with_everything(
    steps: list, commit: float
) -> None:
    world = World(*NAMES[:4], commit=commit)
    world.call()
    world.pass_time(1)
    written = {f"from {name}" for name in world.sites}
    for number, (what, who, arg) in enumerate(steps):
        if what == "write":
            name = f"n{arg}-{number}"
            if world[who].write("c1", name):
                # Only what is acknowledged counts.
                world[who].journal.after_commit(partial(written.add, name), must=True)
        elif what == "part":
            rest = set(world.sites) - who
            world.net.part(" ".join(sorted(who)), " ".join(sorted(rest)))
        elif what == "heal":
            world.net.heal()
        elif what == "pass":
            world.pass_time(who)
        elif what == "leave":
            world[who].leave("c1")
        elif what == "join":
            world[who].join("c1")
        elif what == "restart":
            world[who].restart()
        elif what == "jump":
            world[who].server.timers.wrong += arg * HOUR
    world.net.heal()
    for site in world.sites.values():
        site.leave("c1")
    world.pass_time(420)
    assert world.rows() == {"c1": ["ant"]}
    assert world["ant"].rows.entries["c1"] >= written
    for site in world.sites.values():
        assert len(site.server.store) == 0
        assert site.server.store.kept == {}
        assert site.server.proxy._registrations.joined == {}
        assert len(site.server.proxy.monitor) == 0
        assert len(site.journal) == 0


def test_a_record_of_another_time_stays() -> None:
    """The call was here when its owner could not be reached by configuration, and comes back when
    that has reached us. What it gets then is not all that the record has."""
    world = World("ant", "bee")
    bee = world["bee"]
    world["ant"].join("c1")
    bee.server.peers = ()
    bee.join("c1")
    assert bee.write("c1", "leg/bee/0", {"ended_at": START})
    bee.leave("c1")
    world.pass_time(70)
    assert world.rows() == {"c1": ["bee"]}
    world.net.dial("ant", "bee")
    bee.join("c1")
    world.pass_time(1)
    world.net.cut("ant", "bee")
    assert bee.write("c1", "later")
    bee.leave("c1")
    world.pass_time(70)
    assert list(bee.server.store.kept) == ["c1"]
    world.net.heal()
    world.net.dial("ant", "bee")
    world.pass_time(2)
    world["ant"].leave("c1")
    world.pass_time(40)
    assert not bee.server.store.kept
    assert world["ant"].rows.entries["c1"] == {"later"}
    assert world.rows() == {"c1": ["ant", "bee"]}
    assert "leg/bee/0" in bee.rows.entries["c1"]


def test_a_call_is_kept_for_an_owner_that_was_asked_and_cannot_be_dialled() -> None:
    """It had reached us, and was lost before it answered. It may have heard, and dial again."""
    world = World("ant", "bee")
    ant, bee = world["ant"], world["bee"]
    ant.join("c1")
    bee.server.peers = ()
    world.net.dial("ant", "bee")
    world.pass_time(1)
    bee.join("c1")
    carried(world.net, Alive)
    carried(world.net, Alive)
    assert bee.stage() == "registered for the first time, no answer yet"
    world.net.cut("ant", "bee")
    bee.server.store.register(Listener(), "c1", "ant", holds=False)
    assert bee.write("c1", "leg/bee/0", {"ended_at": START})
    bee.leave("c1")
    world.pass_time(70)
    assert list(bee.server.store.kept) == ["c1"]
    world.net.heal()
    world.net.dial("ant", "bee")
    world.pass_time(2)
    ant.leave("c1")
    world.pass_time(40)
    assert "leg/bee/0" in ant.rows.entries["c1"]
    assert world.rows() == {"c1": ["ant"]}
    assert not bee.server.store.kept


def test_nobody_takes_the_place_of_an_owner_that_is_back() -> None:
    """Of many calls some are dealt with later, when it may be back: also of one that waits until
    what was written meanwhile is on disk with the right stamps."""
    world = World("ant", "bee", commit=0.5)
    world.net.part("ant", "bee")
    world["ant"].join("c1")
    bee = world["bee"]
    bee.join("c1")
    assert bee.write("c1", "note")
    world.pass_time(5)
    world.net.heal()
    world.net.run()
    joined = bee.server.proxy._registrations.joined["c1"]
    assert joined.revealing
    bee.server.proxy._registrations._heads.seek_instead("ant", ["c1"])
    assert bee.stage() != DEAD
    world.pass_time(5)
    assert bee.stage() == LIVE
    assert "note" in world["ant"].has()


def test_an_owner_that_has_reached_us_before_the_call_is_over_gets_it() -> None:
    """The call itself went on unshared, as its owner could not be dialled."""
    world = World("ant", "bee")
    ant, bee = world["ant"], world["bee"]
    ant.join("c1")
    bee.server.peers = ()
    bee.join("c1")
    assert bee.write("c1", "leg/bee/0", {"ended_at": START})
    bee.leave("c1")
    world.pass_time(30)
    world.net.dial("ant", "bee")
    world.pass_time(50)
    assert "leg/bee/0" in ant.has()
    ant.leave("c1")
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant"]}
    assert not bee.server.store.kept


@pytest.mark.parametrize("whole", [False, True])
def test_what_an_owner_lost_is_asked_for_again_if_the_answer_was_lost(whole: bool) -> None:
    """By then the other one has heard of what was written since, also of that with the call anew
    (``whole``: of which nothing was on disk). That does not come back."""
    world = World("ant", "bee", commit=0.0)
    ant, bee, net = world["ant"], world["bee"], world.net
    ant.disk.full = whole
    world.call()
    ant.disk.full = True
    ant.server.store.write(None, "c1", "ant", {"mood": "lost"}, ["lost"])
    world.pass_time(1)
    net.part("ant", "bee")
    ant.restart()
    ant.disk.full = False
    world.pass_time(5)
    ant.join("c1")
    ant.write("c1", "later")
    for _ in range(2):
        net.heal()
        carried(net, Registered)
        assert "later" in bee.has()
        assert "mood" not in ant.has()
        net.cut("ant", "bee")
    net.log.clear()
    net.heal()
    world.pass_time(15)
    data = held(ant)
    assert data == held(bee)
    assert data.value("mood") == "lost"
    assert [line.text for line in data.log_lines()] == ["lost"]
    updates = [frame for _, to, frame in net.log if type(frame) is Update and to == "ant"]
    back = {e.name for frame in updates for e in frame.properties if e.author == "ant"}
    assert "mood" in back
    assert "later" not in back


def held(site: Site) -> CallData:
    call = site.server.store.get("c1")
    assert call is not None
    return call.data


def carried(net: FakeNet, kind: type) -> None:
    """Frames are carried until one of this kind has come."""
    for _ in range(1000):
        if net.wires:
            sender, receiver, frame = net.wires.popleft()
            net.servers[receiver].proxy.received(sender, frame)
            if type(frame) is kind:
                return
        else:
            for timers in net._timers:
                timers.advance(0.1)
    raise AssertionError(f"no {kind.__name__}")
