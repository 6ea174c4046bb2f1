"""Who follows a call does not hold it: when its switches are done it lingers and ends, and all who
follow it are told, wherever."""

from __future__ import annotations

import msgspec
import pytest
from cds_fakes import START, FakeTimers, Listener
from cds_world import DEAD, LIVE, Site, World

from cdsplugin.data.clock import Clock
from cdsplugin.data.frames import Frame, Register
from cdsplugin.data.store import Store, StoreLimits


def follow(site: Site, call_id: str = "c1", owner: str = "ant") -> Listener:
    screen = Listener()
    site.server.store.register(screen, call_id, owner, holds=False)
    return screen


def hang_up(world: World, *names: str) -> None:
    for name in names:
        if name == "ant":
            world["ant"].write("c1", "end", {"disposition": "answered", "ended_at": START})
        world[name].leave("c1")


def nothing_is_left(world: World) -> None:
    for site in world.sites.values():
        proxy = site.server.proxy
        assert len(site.server.store) == len(site.server.store.kept) == len(proxy.monitor) == 0
        assert proxy._registrations.joined == {}


def registrations(world: World, server: str) -> list[bool]:
    """Of those that a server sent: whether it only follows."""
    sent = [f for a, _, f in world.net.log if a == server and isinstance(f, Register)]
    return [frame.follows for frame in sent]


# In the local store


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


@pytest.fixture
def store(timers: FakeTimers) -> Store:
    return Store("hq", Clock("hq", timers), timers, StoreLimits(30, 60))


def test_a_follower_is_told_all_and_holds_nothing(store: Store, timers: FakeTimers) -> None:
    switch, screen, late = Listener(), Listener(), Listener()
    call = store.register(switch, "c1", "hq")
    store.register(screen, "c1", "hq", holds=False)
    store.write(switch, "c1", "hq", {"a": 1})
    assert screen.names() == ["a"]
    assert (call.held, call.only_followed) == (True, False)
    store.unregister(switch, "c1")
    assert (call.held, call.only_followed) == (False, True)
    timers.advance(20)
    store.register(late, "c1", "hq", holds=False)
    store.register(screen, "c1", "hq", holds=False)
    store.write(late, "c1", "hq/crm", {"note": 1})
    store.unregister(late, "c1")
    timers.advance(9)
    assert (len(store), screen.over) == (1, [])
    timers.advance(2)
    assert (len(store), screen.over, late.over) == (0, [call], [])
    assert call.clients == call.followers == ()


def test_who_holds_a_call_may_go_on_following_it(store: Store, timers: FakeTimers) -> None:
    watcher, one = Listener(), Listener()
    store.watch(watcher)
    call = store.register(one, "c1", "hq")
    timers.advance(100)
    store.register(one, "c1", "hq", holds=False)
    assert call.only_followed
    timers.advance(20)
    store.register(one, "c1", "hq")
    assert call.held
    timers.advance(100)
    store.register(one, "c1", "hq", holds=False)
    timers.advance(31)
    assert (len(store), one.over) == (0, [call])
    assert len(watcher.came) == 4


def test_a_call_of_another_server_that_nobody_leads_ends_too(
    store: Store, timers: FakeTimers
) -> None:
    screen = Listener()
    call = store.register(screen, "c1", "elsewhere", holds=False)
    timers.advance(59)
    assert len(store) == 1
    timers.advance(2)
    assert screen.over == [call]


# Across servers


@pytest.mark.parametrize("at", ["ant", "bee", "cat"])
def test_a_followed_call_ends_in_its_time(at: str) -> None:
    """At its owner, at a participant, and at a server that has no part in it."""
    world = World("ant", "bee", "cat")
    world["ant"].join("c1")
    world["ant"].write("c1", "call")
    world["bee"].join("c1")
    world.pass_time(1)
    screen = follow(world[at])
    world.pass_time(1)
    world["bee"].write("c1", "leg")
    world.pass_time(400)
    assert len(world[at].server.store) == 1, "as long as it lasts"
    assert at == "ant" or "leg" in world[at].has()
    hang_up(world, "bee", "ant")
    world.pass_time(29)
    assert screen.over == []
    assert world["ant"].rows.cdrs["c1"].final == 0
    world.pass_time(3)
    assert [call.call_id for call in screen.over] == ["c1"]
    assert screen.over[0].data.value("end") is not None
    assert world.rows() == {"c1": ["ant"]}
    nothing_is_left(world)


def test_followers_at_every_server_are_told_one_end() -> None:
    world = World("ant", "bee", "cat", "dog")
    world["ant"].join("c1")
    world["bee"].join("c1")
    world.pass_time(1)
    screens = [follow(site) for site in world.sites.values()]
    world.pass_time(1)
    hang_up(world, "bee", "ant")
    world.pass_time(100)
    assert [len(screen.over) for screen in screens] == [1] * 4
    nothing_is_left(world)


def test_the_owner_is_told_when_the_last_part_is_over_and_when_there_is_one_again() -> None:
    world = World("ant", "bee")
    world["ant"].join("c1")
    world["bee"].join("c1")
    world.pass_time(1)
    screen = follow(world["bee"])
    world.pass_time(1)
    assert registrations(world, "bee") == [False]
    world["bee"].leave("c1")
    world.pass_time(1)
    assert registrations(world, "bee") == [False, True]
    assert world["bee"].stage() == LIVE
    hang_up(world, "ant")
    world.pass_time(20)
    world["bee"].join("c1")  # a transfer brings the call back
    world.pass_time(100)
    assert registrations(world, "bee") == [False, True, False]
    assert screen.over == []
    world["bee"].leave("c1")
    world.pass_time(33)
    assert len(screen.over) == 1
    nothing_is_left(world)


def test_what_is_said_as_the_call_ends_gets_into_its_record() -> None:
    """The owner does not wait for a follower: its word, and the end, cross each other."""
    world = World("ant", "bee")
    world["ant"].join("c1")
    world.pass_time(1)
    crm = follow(world["bee"])
    world.pass_time(1)
    hang_up(world, "ant")
    world.pass_time(29)
    while world["ant"].server.store.get("c1") is not None:
        world.net.advance(0.01, step=0.01)
    world["bee"].server.store.write(crm, "c1", "bee/crm", {"note": "in the last moment"})
    world.net.run()
    world["bee"].server.store.unregister(crm, "c1")
    world.pass_time(1)
    assert crm.over == []
    world.pass_time(100)
    assert world["ant"].rows.entries["c1"] >= {"note"}
    assert world.rows() == {"c1": ["ant"]}
    nothing_is_left(world)


def test_one_that_goes_on_writing_does_not_hold_the_call() -> None:
    world = World("ant", "bee")
    world["ant"].join("c1")
    world.pass_time(1)
    crm = follow(world["bee"])
    world.pass_time(1)
    hang_up(world, "ant")
    seconds = 0
    while world["bee"].server.store.write(crm, "c1", "bee/crm", {"note": seconds}):
        world.pass_time(0.3)
        seconds += 1
        assert seconds < 1000
    assert len(crm.over) == 1
    world.pass_time(150)
    nothing_is_left(world)


def test_who_is_cut_off_as_the_call_ends_is_told_when_it_is_back() -> None:
    world = World("ant", "bee", "cat")
    world["ant"].join("c1")
    world["cat"].join("c1")
    world.pass_time(1)
    screen = follow(world["bee"])
    world.pass_time(1)
    world.net.cut("ant", "bee")
    hang_up(world, "cat", "ant")
    world.pass_time(33)
    assert len(world["ant"].server.store) == 0, "it is not waited for"
    assert screen.over == []
    world.net.mend("ant", "bee")
    world.pass_time(35)
    assert len(screen.over) == 1
    assert world.rows() == {"c1": ["ant"]}
    nothing_is_left(world)


def test_followers_of_a_call_whose_owner_is_dead() -> None:
    """At the caretaker, and at one that is registered there."""
    world = World("ant", "bee", "cat")
    for name in ("ant", "bee"):
        world[name].join("c1")
        world[name].write("c1", f"of {name}")
        world.pass_time(1)
    screens = [follow(world["bee"]), follow(world["cat"])]
    world.pass_time(1)
    world["ant"].kill()
    world.pass_time(100)
    assert (world["bee"].stage(), world["cat"].stage()) == (DEAD, LIVE)
    world["bee"].leave("c1")
    world.pass_time(59)
    assert screens[0].over == screens[1].over == []
    world.pass_time(3)
    assert len(screens[0].over) == len(screens[1].over) == 1
    assert world.rows() == {"c1": ["bee"]}
    world["ant"].start()
    world.pass_time(50)
    assert world.rows() == {"c1": ["ant"]}
    nothing_is_left(world)


def test_a_server_that_only_follows_a_dead_owners_call() -> None:
    world = World("ant", "bee")
    world["ant"].join("c1")
    world["ant"].write("c1", "call")
    world.pass_time(1)
    screen = follow(world["bee"])
    world.pass_time(1)
    world["ant"].kill()
    world.pass_time(50)
    assert (world["bee"].stage(), screen.over) == (DEAD, [])
    world.pass_time(60)
    assert len(screen.over) == 1
    assert len(world["bee"].server.store) == 0


def test_its_owner_is_back_before_that() -> None:
    world = World("ant", "bee", commit=0.0)
    world["ant"].join("c1")
    world["ant"].write("c1", "call")
    world.pass_time(1)
    screen = follow(world["bee"])
    world.pass_time(1)
    world["ant"].kill()
    world.pass_time(50)
    world["ant"].start()
    world["ant"].join("c1")
    world.pass_time(200)
    assert (world["bee"].stage(), screen.over) == (LIVE, [])
    world["ant"].leave("c1")
    world.pass_time(35)
    assert len(screen.over) == 1


def test_after_a_restart_the_owner_knows_who_only_follows() -> None:
    world = World("ant", "bee", commit=0.0)
    world["ant"].join("c1")
    world["ant"].write("c1", "call")
    world.pass_time(1)
    follow(world["bee"])
    world.pass_time(1)
    world["ant"].restart()
    world["bee"].kill()  # it does not come back: nobody waits for it
    world.pass_time(60)
    assert len(world["ant"].server.store) == 0
    assert world.rows() == {"c1": ["ant"]}


def test_after_a_restart_nothing_holds_what_was_only_followed() -> None:
    world = World("ant", "bee", commit=0.0)
    world["ant"].join("c1")
    world["ant"].write("c1", "call")
    world.pass_time(1)
    crm = follow(world["bee"])
    world["bee"].server.store.write(crm, "c1", "bee/crm", {"note": 1})
    world.pass_time(1)
    world["bee"].restart()
    world.pass_time(2)
    assert world["ant"].server.proxy.monitor.of("c1").present == ()
    hang_up(world, "ant")
    world.pass_time(95)
    assert world["ant"].rows.entries["c1"] >= {"note"}
    nothing_is_left(world)


def test_a_call_whose_owner_nobody_knows_is_not_followed_for_ever() -> None:
    world = World("ant")
    screen = follow(world["ant"], "c1", "nowhere")
    world.pass_time(1)
    world["ant"].server.store.unregister(screen, "c1")
    screen = follow(world["ant"], "c1", "nowhere")
    world.pass_time(65)
    assert len(screen.over) == 1
    nothing_is_left(world)


def test_a_call_that_the_owner_does_not_share_or_never_had() -> None:
    world = World("ant", "bee", max_remote_calls=1)
    screens = [follow(world["bee"], call_id) for call_id in ("never", "refused")]
    world.pass_time(65)
    assert [len(screen.over) for screen in screens] == [1, 1]
    assert world.rows() == {}
    nothing_is_left(world)


def test_servers_of_before_understand_and_are_understood() -> None:
    """They hold what is followed, as they always did."""

    class Before(msgspec.Struct, frozen=True, array_like=True, tag="reg"):
        call_id: str
        owner: str
        sent: int
        have: dict[str, int]
        properties: list
        logs: list
        participants: list[str] = []
        before: int = 0
        left: list[str] = []

    encode = msgspec.msgpack.encode
    old = Before("c1", "ant", 1, {}, [], [])
    new = msgspec.msgpack.decode(encode(old), type=Frame)
    assert new == Register("c1", "ant", 1, {}, [], [])
    assert not new.follows
    told = Register("c1", "ant", 1, {}, [], [], follows=True)
    assert msgspec.msgpack.decode(encode(told), type=Before) == old


def test_a_plain_call_costs_no_frame_more() -> None:
    world = World("ant", "bee")
    world.call()
    hang_up(world, "bee")
    world.pass_time(1)
    hang_up(world, "ant")
    world.pass_time(35)
    kinds = [type(f).__name__ for _, _, f in world.net.log if type(f).__name__ != "Alive"]
    assert kinds == [
        "Register", "Registered", "Update", "Unregister", "Unregistered", "EndOfCall",
    ]  # fmt: skip
