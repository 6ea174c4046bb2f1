"""Who has left a call while its owner was away: the owner is told, and does not wait for it."""

from __future__ import annotations

from cds_fakes import START
from cds_world import World

from cdsplugin.data.frames import Listing, Unregister


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
    assert world["ant"].rows.cdrs["c1"][1:3] == ("ant", "ant")
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


def test_an_owner_dials_who_is_waited_for_and_no_longer() -> None:
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
    assert ant.wanted == set()
