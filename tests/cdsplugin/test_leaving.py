"""Who has left a call while its owner was away: the owner is told, and does not wait for it."""

from __future__ import annotations

import msgspec
import pytest
from cds_fakes import START
from cds_world import DEAD, LIVE, World

from cdsplugin.data.frames import (
    EndOfCall,
    Frame,
    Listing,
    Register,
    Registered,
    Unregister,
)


def present(world: World, at: str = "ant") -> list[str]:
    """Who is registered there for the call."""
    call = world[at].server.store.get("c1")
    assert call is not None
    listed = world[at].server.proxy.monitor.of("c1")
    return sorted(listed.present) if listed is not None else []


def hang_up(world: World, *names: str) -> None:
    """The call ends at these sites; at its owner with the record's last word."""
    for name in names:
        if name == "ant":
            world["ant"].write("c1", "end", {"disposition": "answered", "ended_at": START})
        else:
            world[name].write("c1", f"last of {name}")
        world[name].leave("c1")


def away(world: World, owner: str = "ant") -> None:
    """The owner is cut off for long enough that somebody takes care."""
    world.net.part(owner, " ".join(name for name in world.sites if name != owner))
    world.pass_time(40)


@pytest.mark.parametrize("owner", ["cut off", "restarted"])
def test_who_left_with_the_caretaker_is_not_waited_for(owner: str) -> None:
    world = World("ant", "bee", "cat", "dog", commit=0.0)
    world.call()
    away(world)
    assert world["bee"].stage() == DEAD
    hang_up(world, "ant", "cat", "dog", "bee")
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant", "bee"]}
    if owner == "restarted":
        world["ant"].restart()
        world["ant"].join("c1")
        world.pass_time(1)
        assert present(world) == ["bee", "cat", "dog"]
        world["ant"].leave("c1")
    world["cat"].kill()
    world["dog"].kill()
    world.net.heal()
    world.pass_time(2)
    assert present(world) == []
    world.pass_time(31 if owner == "cut off" else 51)  # a restarted one waits for its switch too
    assert world.rows() == {"c1": ["ant"]}
    row = world["ant"].rows.cdrs["c1"]
    assert (row.owner, row.written_by) == ("ant", "ant")
    assert world["ant"].rows.entries["c1"] >= {"last of bee", "last of cat", "last of dog"}
    ends = [to for a, to, f in world.net.log if a == "ant" and isinstance(f, EndOfCall)]
    assert set(ends) >= {"bee"}
    for site in world.sites.values():
        assert site.server.store.kept == {}
        assert site.server.proxy._registrations.joined == {}


def test_a_call_that_goes_on_at_the_caretaker_waits_for_that_alone() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    away(world)
    hang_up(world, "ant", "cat")
    world.pass_time(2)
    world.net.heal()
    world.pass_time(2)
    assert present(world) == ["bee"]
    assert world["bee"].stage() == LIVE
    world.pass_time(60)
    assert world["ant"].server.store.get("c1") is not None
    hang_up(world, "bee")
    world.pass_time(31)
    assert world["ant"].rows.cdrs["c1"].written_by == "ant"
    assert world.rows() == {"c1": ["ant"]}


@pytest.mark.parametrize("lingers", [True, False])
def test_a_caretaker_that_was_killed_meanwhile_says_it_when_it_is_back(lingers: bool) -> None:
    world = World("ant", "bee", "cat", commit=0.0)
    world.call()
    away(world)
    hang_up(world, "ant", "cat", "bee")
    world.pass_time(5 if lingers else 40)
    world["bee"].kill()
    world.net.closed_ways.discard(frozenset(("ant", "cat")))
    world.pass_time(2)
    assert present(world) == ["bee", "cat"]
    # The restarted server of cat has nothing to say: it has been told that bee has everything.
    world["cat"].kill()
    world.net.heal()
    world["bee"].start()
    world.pass_time(4)
    assert present(world) == []
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant"]}


def test_who_comes_back_is_waited_for() -> None:
    """To the caretaker, or to the owner before that hears of the leaving."""
    world = World("ant", "bee", "cat", "dog")
    world.call()
    away(world)
    hang_up(world, "cat", "dog")
    world["cat"].join("c1")
    world.pass_time(1)
    assert world["bee"].server.proxy._registrations.joined["c1"].left == ("dog",)
    # dog reaches the owner before bee does.
    world.net.closed_ways.discard(frozenset(("ant", "dog")))
    world["dog"].join("c1")
    world.pass_time(8)
    world.net.closed_ways.discard(frozenset(("ant", "bee")))
    world.pass_time(3)
    assert "dog" in present(world)
    assert present(world, "bee") == ["cat"]
    world["ant"].write("c1", "x")
    world.pass_time(1)
    assert "x" in world["cat"].has() & world["dog"].has() & world["bee"].has()


def test_two_caretakers_tell_of_those_on_their_sides() -> None:
    world = World("ant", "bee", "cat", "dog", "elk")
    world.call()
    world.net.part("ant", "bee cat", "dog elk")
    world.pass_time(70)
    assert world["bee"].stage() == world["dog"].stage() == DEAD
    hang_up(world, "ant", "cat", "elk", "bee", "dog")
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant", "bee", "dog"]}
    world["cat"].kill()
    world["elk"].kill()
    world.net.heal()
    world.pass_time(3)
    assert present(world) == []
    world.pass_time(31)
    assert world.rows() == {"c1": ["ant"]}
    assert world["ant"].rows.entries["c1"] >= {f"last of {n}" for n in ("bee", "cat", "dog", "elk")}


def test_a_caretaker_passes_on_what_another_has_told_it() -> None:
    world = World("ant", "bee", "cat", "dog", "elk", commit=0.0)
    world.call()
    world.net.part("ant", "bee cat", "dog elk")
    world.pass_time(70)
    hang_up(world, "elk")
    world.pass_time(2)
    world.net.part("ant", "bee cat dog elk")
    world.pass_time(15)
    assert [world[n].stage() for n in ("bee", "dog")] == [DEAD, LIVE]
    hang_up(world, "ant", "dog", "cat", "bee")
    world.pass_time(40)
    world["dog"].kill()
    world["elk"].kill()
    world.net.heal()
    world.pass_time(3)
    assert present(world) == []
    world.pass_time(31)
    assert world.rows() == {"c1": ["ant"]}


@pytest.mark.parametrize("first", ["cat", "bee"])
def test_who_leaves_by_way_of_one_who_is_in_touch_with_the_owner(first: str) -> None:
    world = World("ant", "bee", "cat")
    world.call()
    world.net.cut("ant", "cat")
    world.pass_time(50)
    assert world["cat"].stage() == world["bee"].stage() == LIVE
    assert present(world) == ["bee", "cat"]
    if first == "cat":
        hang_up(world, "cat")
        world.pass_time(0.3)
        assert present(world) == ["bee"]
        assert world["bee"].stage() == LIVE
        return
    hang_up(world, "bee", "ant")
    world.pass_time(0.3)
    assert present(world) == ["bee", "cat"]
    hang_up(world, "cat")
    # bee leaves too, when that has been heard.
    world.pass_time(0.5)
    assert present(world) == []
    assert world["ant"].server.values("c1").keys() >= {"last of bee", "last of cat"}


def test_who_was_told_the_end_by_a_caretaker_that_stops_has_left() -> None:
    world = World("ant", "bee", "cat", commit=0.0)
    world.call()
    away(world)
    hang_up(world, "ant")
    world["bee"].server.store.finalize()
    world.net.advance(0.2)
    assert len(world["cat"].server.store) == 0
    world["bee"].restart()
    world["cat"].kill()
    world.net.heal()
    world.pass_time(3)
    assert present(world) == []


def test_who_is_told_the_end_by_one_in_touch_with_the_owner_has_left() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    world.net.cut("ant", "cat")
    world.pass_time(50)
    assert present(world) == ["bee", "cat"]
    world["bee"].server.store.finalize()
    world.net.advance(0.2)
    assert present(world) == []


def test_who_leaves_while_the_caretaker_registers_is_told_of_too() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    away(world)
    world.net.closed_ways.discard(frozenset(("ant", "bee")))
    world.net.redial()
    world["cat"].leave("c1")
    assert [type(f) for a, _, f in world.net.wires if a != "ant"][-2:] == [Register, Unregister]
    world.net.run()
    assert present(world) == ["bee"]


def test_what_comes_late_is_in_the_record() -> None:
    """dog was alone all the time: it knew nothing of a caretaker, and has more to say."""
    world = World("ant", "bee", "cat", "dog", reregister_within=60.0)
    world.call()
    world.net.part("ant", "bee cat", "dog")
    world.pass_time(50)
    assert world["dog"].stage() == DEAD
    hang_up(world, "ant", "cat", "bee")
    world.net.part("ant bee cat", "dog")
    world.pass_time(90)
    assert world.rows() == {"c1": ["ant"]}
    hang_up(world, "dog")
    world.net.heal()
    world.pass_time(80)
    assert world.rows() == {"c1": ["ant"]}
    assert "last of dog" in world["ant"].rows.entries["c1"]
    assert world["dog"].server.store.kept == {}


def test_a_former_caretaker_ends_no_call_of_one_who_is_with_the_owner_again() -> None:
    """cat left by way of bee, and came back with a note when the owner was there again."""
    world = World("ant", "bee", "cat")
    world.call()
    away(world)
    hang_up(world, "ant", "cat", "bee")
    world.pass_time(10)
    world.net.heal()
    world.pass_time(12)
    assert "c1" not in world["bee"].server.store.kept
    world["cat"].join("c1")
    world["cat"].write("c1", "note")
    world.pass_time(11)
    ends = [(a, to) for a, to, f in world.net.log if isinstance(f, EndOfCall)]
    assert ends == [("bee", "cat")]
    assert world["cat"].client.over == []
    assert world["cat"].stage() == LIVE
    world["cat"].leave("c1")
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant"]}
    assert "note" in world["ant"].rows.entries["c1"]


def test_what_only_a_dead_caretaker_was_told_is_told_the_owner_again() -> None:
    """The owner ends the call and lacks what cat has said to bee."""
    world = World("ant", "bee", "cat")
    world.call()
    away(world)
    hang_up(world, "cat", "ant")
    world.pass_time(1)
    world["bee"].kill()
    world.net.heal()
    world.pass_time(22)
    assert world["cat"].server.store.get("c1") is not None, "it lingers there"
    world["ant"].server.store.end("c1")
    world.pass_time(1)
    assert "last of cat" in world["ant"].has()
    world.pass_time(40)
    assert world.rows() == {"c1": ["ant"]}
    assert "last of cat" in world["ant"].rows.entries["c1"]


def test_servers_of_before_understand_and_are_understood() -> None:
    class Before(msgspec.Struct, frozen=True, array_like=True, tag="reg"):
        call_id: str
        owner: str
        sent: int
        have: dict[str, int]
        properties: list
        logs: list
        participants: list[str] = []
        before: int = 0

    encode = msgspec.msgpack.encode
    old = Before("c1", "ant", 1, {"ant": 2}, [], [], ["bee"], 3)
    new = msgspec.msgpack.decode(encode(old), type=Frame)
    assert new == Register("c1", "ant", 1, {"ant": 2}, [], [], ["bee"], 3, [])
    told = Register("c1", "ant", 1, {"ant": 2}, [], [], ["bee"], 3, ["cat"], behind=["dog"])
    assert msgspec.msgpack.decode(encode(told), type=Before) == old

    class Answer(msgspec.Struct, frozen=True, array_like=True, tag="ok"):
        call_id: str
        utc: int
        echo: int
        have: dict[str, int]
        properties: list
        logs: list

    old_answer = Answer("c1", 1, 2, {"ant": 2}, [], [])
    answer = Registered("c1", 1, 2, {"ant": 2}, [], [], since=3)
    assert msgspec.msgpack.decode(encode(answer), type=Answer) == old_answer
    back = msgspec.msgpack.decode(encode(old_answer), type=Frame)
    assert back == Registered("c1", 1, 2, {"ant": 2}, [], [])


# Asked by the owner


def test_who_is_back_is_asked_for_the_calls_it_does_not_register_for() -> None:
    """The caretaker is dead and with it what it knew; cat has no reason of its own to connect."""
    world = World("ant", "bee", "cat")
    world.call()
    away(world)
    hang_up(world, "ant", "cat", "bee")
    world.pass_time(2)
    world["bee"].kill()
    world.net.heal()
    world.pass_time(2)
    assert present(world) == ["bee", "cat"]
    world.pass_time(6)
    assert present(world) == ["bee"]
    told = [f for a, to, f in world.net.log if (a, to) == ("cat", "ant")]
    assert sum(isinstance(f, Unregister) for f in told) == 1


def test_a_participant_that_has_lost_the_call_is_not_waited_for() -> None:
    world = World("ant", "bee")
    world.call()
    world["bee"].restart()  # without a journal
    hang_up(world, "ant")
    world.pass_time(7)
    assert present(world) == []
    world.pass_time(31)
    row = world["ant"].rows.cdrs["c1"]
    assert (row.owner, row.written_by) == ("ant", "ant")
    assert len(world["ant"].server.store) == 0


def test_nobody_is_asked_who_has_registered_again_and_no_call_is_left_by_being_asked() -> None:
    world = World("ant", "bee", "cat")
    world.call()
    for _ in range(3):
        world.net.part("ant", "bee cat")
        world.pass_time(1)
        world.net.heal()
        world.net.log.clear()
        world.pass_time(12)
        assert not [f for _, _, f in world.net.log if isinstance(f, Listing | Unregister)]
    # Asked too early, it knows the call and says nothing.
    world["bee"].server.proxy.received("ant", Listing([("c1", ["bee", "cat"])]))
    world.pass_time(1)
    assert present(world) == ["bee", "cat"]


def test_a_head_that_another_has_taken_the_place_of_is_told_when_it_asks() -> None:
    """cat was registered with bee, restarted without knowing that, and registered with the owner;
    bee takes part in the call on behalf of cat alone."""
    world = World("ant", "bee", "cat", commit=0.0)
    world.call()
    away(world)
    world["bee"].leave("c1")
    world.pass_time(1)
    assert present(world, "bee") == ["cat"]
    world.net.part("ant cat", "bee")
    world["cat"].restart()
    world["cat"].join("c1")
    world.pass_time(2)
    world.net.heal()
    world.pass_time(9)
    assert present(world) == ["cat"]
    assert world["bee"].server.proxy._registrations.joined == {}


def test_an_owner_dials_who_is_waited_for_or_missed_and_no_longer() -> None:
    world = World("ant", "bee", reregister_within=60.0)
    world.call()
    ant = world["ant"].server
    ant.wanted.clear()
    world["bee"].kill()
    world.pass_time(50)
    assert ant.wanted == {"bee"}
    ant.proxy._peers.idle("bee")  # another call of theirs is over
    assert ant.wanted == {"bee"}
    world.pass_time(20)
    assert present(world) == []
    assert ant.wanted == {"bee"}, "it was reported as down"
    world["bee"].start()
    world.pass_time(1)
    assert ant.health == [("bee", False), ("bee", True)]
    assert ant.wanted == set()
    # And one that is away for a moment only.
    world["bee"].join("c1")
    world.pass_time(1)
    world["bee"].kill()
    assert ant.wanted == {"bee"}
    world["bee"].start()
    world.pass_time(10)
    assert present(world) == []
    assert ant.wanted == set()


@pytest.mark.parametrize("back", [False, True])
def test_who_left_while_its_connection_to_the_owner_seemed_alive(back: bool) -> None:
    """The owner has not noticed yet that it is dead. Once it has, who has left is not waited for,
    unless it has registered again since."""
    world = World("ant", "bee", "cat")
    world.call()
    net, ant, cat = world.net, world["ant"], world["cat"]
    net.connected.discard(frozenset(("ant", "cat")))
    net.closed_ways.add(frozenset(("ant", "cat")))
    cat.server.proxy.disconnected("ant")
    world.pass_time(40)
    assert cat.server.proxy._registrations.joined["c1"].head == "bee"
    cat.leave("c1")
    world.pass_time(1)
    assert present(world) == ["bee", "cat"]
    if back:
        ant.server.proxy.received("cat", Register("c1", "ant", 1, {}, [], []))
    ant.server.proxy.disconnected("cat")
    assert present(world) == (["bee", "cat"] if back else ["bee"])
    hang_up(world, "ant", "bee")
    world.pass_time(40)
    assert (ant.server.store.get("c1") is not None) is back
    assert not ant.server.proxy.monitor._gone


@pytest.mark.parametrize("noticed", [True, False])
def test_who_is_with_the_owner_again_is_not_waited_for_where_it_was_meanwhile(
    noticed: bool,
) -> None:
    """It cannot say so there itself, being cut off from that one now."""
    world = World("ant", "bee", "cat")
    world.call()
    net, bee, cat = world.net, world["bee"], world["cat"]
    net.cut("ant", "cat")
    world.pass_time(40)
    assert present(world, "bee") == ["cat"]
    if noticed:
        net.cut("bee", "cat")
    else:
        net.connected.discard(frozenset(("bee", "cat")))
        net.closed_ways.add(frozenset(("bee", "cat")))
        cat.server.proxy.disconnected("bee")
    net.mend("ant", "cat")
    world.pass_time(2)
    assert cat.server.proxy._registrations.joined["c1"].head == "ant"
    assert present(world, "bee") == ([] if noticed else ["cat"])
    hang_up(world, "cat", "bee", "ant")
    world.pass_time(5)
    assert present(world) == ([] if noticed else ["bee"])
    if not noticed:
        bee.server.proxy.disconnected("cat")
    world.pass_time(35)
    assert world["ant"].server.store.get("c1") is None
    assert world.rows() == {"c1": ["ant"]}


@pytest.mark.parametrize("left", [False, True])
def test_who_comes_back_to_the_owner_later_hears_who_is_not_to_be_waited_for(left: bool) -> None:
    """cat took part by way of bee, and is with the owner again before bee is; it may have left
    there too by then, or be cut off."""
    world = World("ant", "bee", "cat", reregister_within=300.0)
    world.call()
    net, cat = world.net, world["cat"]
    net.cut("ant", "cat")
    world.pass_time(40)
    assert present(world, "bee") == ["cat"]
    net.cut("ant", "bee")
    net.cut("bee", "cat")
    net.mend("ant", "cat")
    world.pass_time(2)
    assert cat.server.proxy._registrations.joined["c1"].head == "ant"
    assert present(world, "bee") == ["cat"]
    if left:
        hang_up(world, "cat")
        world.pass_time(1)
    net.mend("ant", "bee")
    world.pass_time(2)
    assert present(world, "bee") == []
    hang_up(world, *("bee", "ant") if left else ("cat", "bee", "ant"))
    world.pass_time(35)
    assert world["ant"].server.store.get("c1") is None
    assert world.rows() == {"c1": ["ant"]}


def test_who_has_gone_back_to_the_caretaker_is_waited_for_there() -> None:
    """The owner, which it was with meanwhile, has given it up."""
    world = World("ant", "bee", "cat", reregister_within=20.0)
    world.call()
    net, bee = world.net, world["bee"]
    net.cut("ant", "cat")
    world.pass_time(40)
    net.cut("ant", "bee")
    net.cut("bee", "cat")
    net.mend("ant", "cat")
    world.pass_time(2)
    assert present(world) == ["bee", "cat"]
    net.cut("ant", "cat")
    net.mend("bee", "cat")
    world.pass_time(40)
    assert present(world) == []
    assert present(world, "bee") == ["cat"]
    net.mend("ant", "bee")
    world.pass_time(2)
    assert present(world, "bee") == ["cat"]
    assert not bee.server.proxy.monitor._gone


def test_older_servers_are_told_of_nobody_who_has_moved() -> None:
    class Before(msgspec.Struct, frozen=True, array_like=True, tag="who"):
        calls: list[tuple[str, list[str]]]

    encode = msgspec.msgpack.encode
    told = encode(Listing([], [("c1", "cat")]))
    assert msgspec.msgpack.decode(told, type=Before) == Before([])
    assert msgspec.msgpack.decode(encode(Before([])), type=Frame) == Listing([])
