"""Rooms without processes: who comes in, who hears whom, what leaders do, and what is left when
workers die, are slow, or are too few."""

from __future__ import annotations

import logging
import random

import msgspec
import pytest
from applications.building import HERE, Building, Person

from softswitch.calls import Caller
from softswitch.dialplan import Conference

TEAM = Conference("team")
LED = Conference("led", pin="1", leader_pin="2", wait=True, ends=True, alone=("/music.wav",))


def joined(building: Building, people: list[Person]) -> bool:
    """Whether all hear each other."""
    return all(building.hears(one, other) for one in people for other in people if one is not other)


# --- how many, and where


@pytest.mark.parametrize(
    ("size", "most", "people", "workers"),
    [
        (4, 4, 4, 1),
        (4, 12, 3, 1),
        (4, 12, 4, 3),
        (4, 12, 12, 5),
        (256, 12, 12, 1),
        (256, 300, 255, 1),
    ],
)
def test_workers_of_a_room(size: int, most: int, people: int, workers: int) -> None:
    building = Building(Conference("a", most=most), size=size)
    come = [building.joins("a") for _ in range(people)]
    assert all(one.here for one in come)
    room = building.room("a")
    assert (room.people, len(room.members), room.workers) == (people, people, workers)
    assert building.hears(come[0], come[-1])
    assert building.hears(come[-1], come[0])
    assert size > 4 or joined(building, come)
    assert come[0].facts["members"] == come[-1].facts["members"] == str(people)
    building.over()


def test_more_than_workers_can_join() -> None:
    building = Building(Conference("a", most=100), most=30)
    come = [building.joins("a") for _ in range(12)]
    late = building.joins("a")
    assert late.refused == 486
    assert joined(building, come)
    come[0].leaves()
    building.run(2)
    assert building.joins("a").here, "the place of who has left"
    building.over()


def test_all_at_once() -> None:
    """Nobody knows how many will come while the first workers start."""
    building = Building(TEAM)
    come = [building.dial("team") for _ in range(15)]
    building.run(10)
    assert [one.refused for one in come] == [0] * 12 + [486] * 3
    assert joined(building, come[:12])
    building.over()


def test_as_they_leave_workers_are_given_back() -> None:
    building = Building(TEAM)
    come = [building.joins("team") for _ in range(9)]
    assert building.room("team").workers == 4
    for one in come[3:]:
        one.leaves()
        building.run(1)
    assert building.room("team").workers == 1, "no hub any more"
    assert joined(building, come[:3])
    assert building.joins("team").here
    assert building.room("team").workers == 3
    assert joined(building, building.here)
    building.over()


def test_nobody_is_let_in_who_could_not_be_joined() -> None:
    """There is one more worker, but none for the hub."""
    building = Building(TEAM, most=2)
    come = [building.joins("team") for _ in range(4)]
    assert [one.refused for one in come] == [0, 0, 0, 503]
    assert joined(building, come[:3])
    assert building.room("team").workers == 1
    building.over()


def test_two_rooms_want_all_workers() -> None:
    building = Building(TEAM, Conference("b"), most=5)
    come = [building.dial(("team", "b")[n % 2]) for n in range(12)]
    building.run(20)
    for room in ("team", "b"):
        here = [one for one in building.here if one.facts["conference"] == room]
        assert len(here) >= 3
        assert joined(building, here), room
    assert {one.refused for one in come} == {0, 503}
    building.over()


def test_a_place_that_is_free_meanwhile_is_taken() -> None:
    """Who waits for another worker, in vain, gets the place of who leaves."""
    building = Building(TEAM, most=1)
    come = [building.joins("team") for _ in range(3)]
    late = building.dial("team")
    building.run(1)
    come[0].leaves()
    building.run(1)
    assert late.here
    assert joined(building, [*come[1:], late])
    building.over()


def test_it_takes_no_worker_that_others_use() -> None:
    """A room has whole workers; what is spoken to others has those that are left."""
    building = Building(TEAM, most=4)
    come = [building.joins("team") for _ in range(6)]
    assert building.room("team").workers == 3
    used = {id(one.seat.port.worker) for one in come if one.seat.port is not None}
    assert len(used) == 2
    assert building.pool.free >= 2, "spare"
    building.over()


@pytest.mark.parametrize("spare", [1, 2, 8])
def test_spare(spare: int) -> None:
    building = Building(TEAM, spare=spare)
    come = [building.joins("team") for _ in range(12)]
    assert joined(building, come)
    building.run(5)
    assert building.pool.free >= spare
    building.over()


def test_without_media_workers() -> None:
    building = Building(TEAM, spare=0)
    assert building.joins("team").refused == 503
    building.apps.workers = None
    assert building.joins("team").refused == 503
    building.over()


def test_a_room_that_is_not_there() -> None:
    building = Building(TEAM)
    assert building.joins("nobody").refused == 404
    building.over()


def test_at_addresses_that_a_worker_does_not_know_yet() -> None:
    building = Building(Conference("a", most=4))
    first = building.joins("a")
    other = building.joins("a", at="198.51.100.7")
    again = building.joins("a", at="198.51.100.7")
    assert joined(building, [first, other, again])
    assert building.room("a").people == 3
    building.over()


def test_at_an_address_that_no_worker_can_have() -> None:
    building = Building(TEAM)
    building.bad.add("2001:db8::1")
    first = building.joins("team")
    assert building.joins("team", at="[2001:db8::1]").refused == 503
    assert building.joins("team").here
    assert joined(building, [first, building.people[-1]])
    building.over()


# --- who leaves early


def test_one_leaves_while_there_is_no_place_yet() -> None:
    building = Building(TEAM)
    come = [building.joins("team") for _ in range(3)]
    early = building.dial("team")
    early.leaves()
    building.run(10)
    assert not early.here
    assert building.room("team").people == 3
    assert building.room("team").workers == 1, "what was taken for it is given back"
    assert joined(building, come)
    building.over()


def test_one_leaves_before_it_hears_anything() -> None:
    building = Building(TEAM)
    building.at_once = False
    early = building.joins("team")
    building.run(5)
    assert building.apps.rooms.all == [], "it has never come"
    assert not early.here
    early = building.dial("team")
    building.run(1)
    assert building.room("team").people == 1
    early.leaves()
    building.run(1)
    building.over()


def test_the_switch_cannot_call_the_worker() -> None:
    building = Building(TEAM)
    building.flows.there = False
    assert building.joins("team").refused == 503
    assert not building.apps.rooms.all
    building.flows.there = True
    assert building.joins("team").here
    building.over()


# --- what dies


def test_the_hub_dies() -> None:
    building = Building(TEAM)
    come = [building.joins("team") for _ in range(12)]
    for _ in range(3):
        hub = building.room("team")._hub
        assert hub is not None
        building.process(hub.worker).dies()
        building.run(10)
        assert all(one.here for one in come)
        assert joined(building, come)
    building.over()


def test_the_hub_dies_before_there_is_a_second_leaf() -> None:
    """Nothing leads to it yet that would tell."""
    building = Building(TEAM, most=2)
    for _ in range(3):
        building.joins("team")
    late = building.dial("team")  # there is a hub; and no worker for another leaf
    building.run(1)
    room = building.room("team")
    assert room._hub is not None
    building.pool.take_up(msgspec.structs.replace(building.pool._settings, most=4))
    building.process(room._hub.worker).dies()
    building.run(10)
    assert late.here
    assert joined(building, building.here)
    building.over()


def test_a_leaf_dies() -> None:
    building = Building(TEAM)
    come = [building.joins("team") for _ in range(9)]
    port = come[0].seat.port
    assert port is not None
    building.process(port.worker).dies()
    building.run(10)
    here = building.here
    assert come[3:] == here
    assert joined(building, here)
    assert building.room("team").people == 6
    assert here[0].facts["members"] == "6"
    assert here[0].facts["most_members"] == "9"
    for _ in range(6):
        assert building.joins("team").here
    assert joined(building, building.here)
    building.over()


def test_all_workers_die() -> None:
    building = Building(TEAM)
    for _ in range(7):
        building.joins("team")
    for process in list(building.processes):
        process.dies()
    building.run(10)
    assert not building.apps.rooms.all
    come = [building.joins("team") for _ in range(4)]
    assert joined(building, come)
    building.over()


def test_no_hub_can_be_had_any_more(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, tried again and again."""
    building = Building(TEAM)
    come = [building.joins("team") for _ in range(6)]
    settings = building.pool._settings
    building.pool.take_up(msgspec.structs.replace(settings, most=2))
    hub = building.room("team")._hub
    assert hub is not None
    building.run(10)
    building.process(hub.worker).dies()
    for process in building.processes:
        if process.alive and not process.worker.kept:
            process.dies()
    with caplog.at_level(logging.ERROR):
        building.run(60)
    told = [one for one in caplog.records if "joins its parts" in one.getMessage()]
    assert len(told) == 1
    assert joined(building, come[:3])
    assert joined(building, come[3:])
    assert not building.hears(come[0], come[3])
    come[0].leaves()
    building.run(1)
    assert building.joins("team").refused == 503, "nobody comes into a part of it"
    come.pop(0)
    building.pool.take_up(settings)
    building.run(15)
    assert joined(building, come)
    building.over()


def test_workers_that_have_had_their_calls() -> None:
    """A room whose worker takes no more goes on, also with those who come later."""
    building = Building(TEAM, calls=2)
    come = [building.joins("team") for _ in range(12)]
    assert joined(building, come)
    for _ in range(8):
        building.here[0].leaves()
        building.run(1)
        assert building.joins("team").here
        assert joined(building, building.here)
    building.over()


# --- what is known


def test_who_speaks() -> None:
    building = Building(TEAM)
    one, other = building.joins("team", "111"), building.joins("team", "222")
    one.speaks(True)
    assert other.facts["speaker"] == "111"
    building.run(2)
    other.speaks(True)
    building.run(2)
    assert other.facts["speaker"] == "111", "who began first"
    one.speaks(False)
    building.run(2)
    assert one.facts["speaker"] == "222"
    assert float(one.facts["spoke"]) == pytest.approx(4, abs=0.4)
    other.leaves()
    building.run(2)
    assert one.facts["speaker"] == ""
    building.over()


def test_what_is_said_by_who_is_muted_does_not_count() -> None:
    building = Building(TEAM)
    one, other = building.joins("team", "111"), building.joins("team", "222")
    one.press("*1")
    assert one.facts["muted"] == "yes"
    one.speaks(True)
    building.run(10)
    assert other.facts["speaker"] == ""
    one.press("*1")
    building.run(3)
    assert other.facts["speaker"] == "111"
    one.press("*1")
    building.run(2)
    assert other.facts["speaker"] == ""
    assert float(one.facts["spoke"]) == pytest.approx(3, abs=0.4)
    one.speaks(False)
    assert float(one.facts["spoke"]) == pytest.approx(3, abs=0.4)
    building.over()


def test_a_number_that_is_withheld() -> None:
    building = Building(TEAM)
    one, other = building.joins("team"), building.joins("team")
    one.seat.caller = Caller("111", "Eve", private=True)
    one.speaks(True)
    building.run(1)
    assert other.facts["speaker"] == "anonymous"
    building.over()


def test_facts() -> None:
    building = Building(LED)
    guest = building.joins("led", "111")
    leader = building.joins("led", "222", leads=True)
    assert guest.facts == {
        "conference": "led",
        "role": "guest",
        "members": "2",
        "most_members": "2",
        "muted": "no",
        "locked": "no",
        "speaker": "",
        "spoke": "0.0",
    }
    assert leader.facts["role"] == "leader"
    leader.press("*2")
    assert guest.facts["locked"] == "yes"
    assert leader.facts["digits"] == "*2"
    building.over()


# --- leaders


def test_guests_wait_for_a_leader() -> None:
    building = Building(msgspec.structs.replace(LED, ends=False))
    guest = building.joins("led")
    assert guest.hears == ["music"], "after it was told to wait"
    other = building.joins("led")
    assert not building.hears(guest, other)
    leader = building.joins("led", leads=True)
    assert joined(building, [guest, other, leader])
    building.run(3)
    assert guest.hears == []
    guest.speaks(True)
    leader.leaves()
    building.run(0.1)
    assert guest.hears == ["conference-waits"]
    assert not building.hears(guest, other)
    building.run(5)
    assert guest.hears == ["music"]
    spoke = float(guest.facts["spoke"])
    assert spoke < 1, "it is not listened to while it waits"
    leader = building.joins("led", leads=True)
    building.run(5)
    assert joined(building, [guest, other, leader])
    assert float(guest.facts["spoke"]) == spoke
    assert guest.facts["speaker"] == ""
    building.over()


@pytest.mark.parametrize("prompts", [True, False])
def test_it_ends_with_its_leaders(prompts: bool) -> None:
    building = Building(LED, prompts=prompts)
    guests = [building.joins("led") for _ in range(4)]
    leaders = [building.joins("led", leads=True) for _ in range(2)]
    leaders[0].leaves()
    building.run(5)
    assert all(one.here for one in guests)
    leaders[1].leaves()
    building.run(0.1)
    assert [one.here for one in guests] == [prompts] * 4
    if prompts:
        assert guests[0].hears == ["conference-ended"]
    assert not building.hears(guests[0], guests[1])
    again = building.dial("led", leads=True)
    building.run(0.5)
    assert again.facts["members"] == "1", "those who are sent away are here no more"
    building.run(5)
    assert building.here == [again]
    building.over()


def test_leaders_remove_who_came_last() -> None:
    building = Building(LED)
    leader = building.joins("led", leads=True)
    guests = [building.joins("led") for _ in range(3)]
    leader.press("*9*9")
    assert guests[2].hears == guests[1].hears == ["conference-removed"]
    assert not building.hears(guests[0], guests[2])
    assert leader.facts["members"] == "2"
    guests[2].press("*1*3")
    assert guests[2].hears == ["conference-removed"], "it has no keys any more"
    building.run(5)
    assert building.here == [leader, guests[0]]
    guests[0].press("*9*2")
    assert leader.here
    assert leader.facts["locked"] == "no"
    assert guests[0].hears == ["conference-only-leaders"]
    leader.press("*9*9*9")
    building.run(5)
    assert building.here == [leader], "never itself"
    building.over()


def test_one_comes_while_one_who_is_removed_is_told() -> None:
    """Its place is free a moment later: no other worker is needed for that."""
    building = Building(msgspec.structs.replace(LED, most=4))
    leader = building.joins("led", leads=True)
    guests = [building.joins("led") for _ in range(3)]
    leader.press("*9")
    late = building.joins("led")
    assert building.room("led").workers == 1
    assert joined(building, [leader, *guests[:2], late])
    # Some take longer: then it is another worker after all.
    port = late.port
    assert port is not None
    leader.press("*9")
    port.worker.hangs = True
    again = building.dial("led")
    building.run(4)
    assert not again.here
    building.run(4)
    assert again.here
    building.over()


def test_a_lock() -> None:
    building = Building(LED)
    leader = building.joins("led", leads=True)
    leader.press("*2")
    assert building.joins("led").refused == 403
    assert building.joins("led", leads=True).here
    leader.press("*2")
    assert building.joins("led").here
    leader.press("*2")
    building.over()


@pytest.mark.parametrize("admitted_as_leader", [True, False])
def test_a_lock_where_everybody_leads(admitted_as_leader: bool) -> None:
    building = Building(Conference("a", pin="123"))
    first = building.joins("a", leads=admitted_as_leader)
    first.press("*2")
    assert building.joins("a", leads=admitted_as_leader).refused == 403
    assert first.facts["role"] == "leader"
    building.over()


def test_who_is_alone() -> None:
    building = Building(msgspec.structs.replace(TEAM, alone=("/music.wav",)))
    one = building.dial("team")
    building.run(0.5)
    assert one.hears == ["conference-alone"]
    building.run(3)
    assert one.hears == ["music"]
    other = building.dial("team")
    building.run(0.1)
    assert one.hears == other.hears == ["tone"]
    building.run(3)
    assert one.hears == []
    one.press("*3")
    assert one.hears == ["conference-one-other"]
    building.run(3)
    other.leaves()
    building.run(0.5)
    assert one.hears == ["tone"]
    building.run(3)
    assert one.hears == ["music"]
    building.over()


def test_without_tones_or_prompts() -> None:
    room = msgspec.structs.replace(TEAM, alone=("/music.wav",), tones=False)
    building = Building(room, prompts=False)
    one = building.joins("team")
    assert one.hears == ["music"]
    other = building.joins("team")
    assert one.hears == other.hears == []
    one.press("*1*1*2*3*9")
    building.run(1)
    assert building.here == [one]
    building.over()


def test_a_worker_is_told_only_what_is_new() -> None:
    """Each order makes it connect one with all others."""
    building = Building(Conference("a", most=50), size=256)
    come = [building.joins("a") for _ in range(50)]
    assert [one.port.joins for one in come if one.port is not None] == [1] * 50
    come[0].press("*1*1")
    assert come[0].port is not None
    assert come[0].port.joins == 3
    building.over()


def test_keys_that_stand_for_nothing() -> None:
    building = Building(TEAM)
    one, other = building.joins("team"), building.joins("team")
    building.run(3)
    one.press("12#*5*")
    building.run(5)
    one.press("1")
    assert one.facts["muted"] == "no", "the second key came too late"
    assert one.facts["digits"] == "12#*5*1"
    assert joined(building, [one, other])
    building.over()


def test_a_room_stays_as_it_was_when_the_first_came() -> None:
    """A reload is for who comes to an empty one; one that is no more lets nobody in."""
    building = Building(Conference("a", most=2))
    one, other = building.joins("a"), building.joins("a")
    building.rooms["a"] = Conference("a", most=5, leader_pin="123", muted=True)
    assert building.joins("a").refused == 486
    del building.rooms["a"]
    assert building.joins("a").refused == 404
    assert joined(building, [one, other])
    one.press("*3")
    one.leaves()
    other.leaves()
    building.run(5)
    building.rooms["a"] = Conference("a", most=5, leader_pin="123", muted=True)
    assert building.joins("a").facts["muted"] == "yes"
    building.over()


# --- by chance


@pytest.mark.parametrize("size", [4, 256])
@pytest.mark.parametrize("seed", range(12))
def test_by_chance(seed: int, size: int) -> None:
    """People come and go, press keys and speak, workers die, hang and are slow."""
    dice = random.Random(seed)
    rooms = [
        TEAM,
        Conference("four", most=4, alone=("/music.wav",)),
        Conference("led", 20, "1", "2", wait=dice.random() < 0.5, ends=dice.random() < 0.5),
        Conference("muted", leader_pin="2", muted=True, tones=False),
    ]
    building = Building(
        *rooms,
        size=size,
        spare=dice.choice((1, 2, 8)),
        most=dice.choice((4, 10, 30)),
        calls=dice.choice((15, 1000)),
        dice=dice,
    )
    strikes = seed % 3 > 0
    most = {room.name: room.most for room in rooms}
    for _ in range(400):
        building.run(dice.choice((0.0, 0.0, 0.05, 0.3, 1.0)))
        here = building.here
        match dice.randrange(10):
            case 0 | 1 | 2 | 3:
                name = dice.choice(rooms).name
                at = dice.choice((HERE, HERE, HERE, "198.51.100.7"))
                building.dial(name, leads=dice.random() < 0.3, at=at)
            case 4 | 5 if building.people:
                dice.choice(building.people[-30:]).leaves()
            case 6 if here:
                dice.choice(here).press(dice.choice(("*1", "*2", "*3", "*9", "*", "5#")))
            case 7 if here:
                one = dice.choice(here)
                if one.port is not None and one.port.watch:
                    one.speaks(dice.random() < 0.5)
            case 8 if strikes and dice.random() < 0.2:
                process = dice.choice([one for one in building.processes if one.alive] or [None])
                if process is not None and dice.random() < 0.3:
                    process.hangs = True
                elif process is not None:
                    process.dies()
        for room in building.apps.rooms.all:
            assert room.people <= most[room.name]
            assert set(room.members) <= {one.seat.application for one in building.here}
    # Whoever hangs is ended, whoever has lost the others finds them.
    building.run(40)
    rooms_of: dict[str, list[Person]] = {}
    for one in building.here:
        assert one.port is not None, "it stays with a worker that has died"
        assert one.port.worker.alive
        rooms_of.setdefault(one.facts["conference"], []).append(one)
    for room in building.apps.rooms.all:
        people = rooms_of.pop(room.name)
        assert room.people == len(room.members) == len(people)
        waits = room.conference.wait and not room.led
        for one in people:
            assert int(one.facts["members"]) == len(people)
            assert len(people) <= int(one.facts["most_members"]) <= room.conference.most
            assert one.facts["locked"] == ("yes" if room.locked else "no")
            assert one.facts["speaker"] == room.speaker
            assert float(one.facts["spoke"]) >= 0
            for other in people:
                if other is not one and not room._apart:
                    heard = other.facts["muted"] == "no" and not waits
                    assert building.hears(one, other) == heard, (one.name, other.name)
    assert not rooms_of
    for one in building.here[:20]:
        for other in building.here:
            if one.facts["conference"] != other.facts["conference"]:
                assert not building.hears(one, other), "rooms are apart"
    building.over()
