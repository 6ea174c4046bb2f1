"""Pages: who calls is heard by many phones, each of which is called for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from applications.paging_world import PagingWorld
from applications.waiting_world import dials, rings, silent
from calls.call_world import SDP
from calls.transfers import BOB, refer

from softswitch import events
from softswitch.control import page_rows
from softswitch.media import PoolSettings


@pytest.fixture
def world(tmp_path: Path) -> PagingWorld:
    return PagingWorld(tmp_path)


def test_all_hear_who_pages(world: PagingWorld) -> None:
    a = world.page()
    assert len(world.alice.lines) == 1, "who pages is not called"
    invites = [agent.line.find("INVITE") for agent in (world.bob, world.carol, world.dora)]
    for invite in invites:
        assert invite["call-info"] == "<sip:127.0.0.1>;answer-after=0"
        assert invite["alert-info"] == "<http://127.0.0.1>;info=alert-autoanswer;delay=0"
        assert invite["answer-mode"] == "Auto"
        assert "<sip:1001@" in invite["from"]
        assert "m=audio 30" in invite.body
        assert "PCMU" in invite.body
        assert "G722" in invite.body
    told = world.paged()
    assert (told["outcome"], told["asked"], told["answered"]) == ("rings", "3", "0")
    b = world.picks_up(world.bob)
    told = world.paged()
    assert (told["outcome"], told["answered_by"], told["listening"]) == ("heard", "1002", "1")
    assert world.joined(world.port_of(b)).speaks is False
    assert world.tones(world.port_of(b)) == 1
    c = world.picks_up(world.carol)
    d = world.picks_up(world.dora)
    assert world.paged()["answered_by"] == "1002, 1003, 1004"
    row = {"outcome": "heard", "asked": 3, "answered": 3, "listening": 3}
    assert page_rows(world.switch) == [{"page": "750", "by": "1001", **row, "media_workers": 3}]
    assert [world.tones(world.port_of(one)) for one in (b, c, d)] == [1, 1, 1]
    assert {world.joined(world.port_of(one)).room for one in (b, c, d)} == {"page 1"}
    talks = world.of(events.TalkBegan)
    assert [talk.how for talk in talks] == ["application", "page", "page", "page"]
    assert {talk.by for talk in talks} == {"extension:1001"}
    a.bye()
    for one in (b, c, d):
        assert 'text="Page Over"' in one.last["reason"]
    world.leaves(world.bob, world.carol, world.dora)
    assert page_rows(world.switch) == []
    assert len(world.of(events.CallStarted)) == 1
    (ended,) = world.of(events.CallEnded)
    assert (ended.disposition, ended.hangup_by) == ("answered", "caller")
    assert world.paged()["outcome"] == "heard"
    assert world.paged()["listening"] == "0"


def test_who_pages_is_heard_at_a_second_one_by_who_has_hung_up(world: PagingWorld) -> None:
    """Each page has a room of its own."""
    a = world.page("751")
    world.picks_up(world.bob)
    world.bob.line.bye()
    world.serve()
    silent_one = world.carol.line
    assert world.paged()["listening"] == "0"
    assert silent_one.last.what == "INVITE"
    world.picks_up(world.carol)
    d = world.page("753", world.dora)
    b = world.picks_up(world.bob)
    assert world.joined(world.port_of(b)).room == "page 2"
    assert world.joined(world.port_of(silent_one)).room == "page 1"
    assert world.joined(world.port_of(silent_one)).speaks is True
    assert world.tones(world.port_of(silent_one)) == 0
    a.bye()
    d.bye()
    world.leaves(world.carol, world.bob)


def test_a_busy_phone_is_left_alone(world: PagingWorld) -> None:
    """So are one that is not to be disturbed, and one that is not there."""
    b = world.bob.call("1003")
    world.carol.line.reply(200, SDP)
    b.ack()
    assert dials(world.dora, "*76") == "480 Do Not Disturb Is On"
    a = world.page(caller=world.alice)
    assert world.paged()["outcome"] == "nobody"
    assert world.paged()["not_answered_by"] == ("1002 (busy), 1003 (busy), 1004 (do not disturb)")
    assert len(world.bob.lines) == 1
    assert len(world.carol.lines) == 1
    world.run(1)
    assert a.last.what == "ACK" or a.last.status == 200
    b.bye()
    world.carol.line.reply(200, to="BYE")
    a.bye()
    world.serve()
    world.over()


def test_a_busy_phone_may_be_called(world: PagingWorld) -> None:
    b = world.bob.call("1003")
    world.carol.line.reply(200, BOB)
    b.ack()
    a = world.page("752")
    assert len(world.bob.lines) == 2
    invite = world.bob.line.find("INVITE")
    assert invite["call-info"] == "<sip:127.0.0.1>;answer-after=3"
    assert "answer-mode" not in invite
    world.picks_up(world.bob)
    world.carol.line.reply(486)
    world.serve()
    assert world.paged()["not_answered_by"] == "1003 (busy)"
    a.bye()
    assert world.bob.line.last.what == "BYE"
    world.bob.line.reply(200, to="BYE")
    b.bye()
    world.carol.lines[0].reply(200, to="BYE")
    world.leaves()


def test_nobody_picks_up(world: PagingWorld) -> None:
    """Who pages hears so, and is hung up on with a word of why."""
    a = world.page()
    assert rings(world.bob)
    world.carol.line.reply(486)
    world.dora.line.reply(603)
    world.run(11)
    silent(world.bob)
    world.serve()
    told = world.paged()
    assert told["outcome"] == "nobody"
    assert told["not_answered_by"] == "1003 (busy), 1004 (declined), 1002 (no answer)"
    assert (told["answered"], told["not_answered"]) == ("0", "3")
    assert world.finishes() == "not-available"
    assert a.last.what == "BYE"
    assert 'text="Nobody Picked Up"' in a.last["reason"]
    world.leaves(world.alice)
    (ended,) = world.of(events.CallEnded)
    assert (ended.disposition, ended.reason) == ("answered", "Nobody Picked Up")


def test_nobody_picks_up_and_somebody_else_is_called(world: PagingWorld) -> None:
    a = world.page("752")
    world.bob.line.reply(480)
    world.carol.line.reply(500)
    world.serve()
    assert world.paged()["not_answered_by"] == "1002 (no answer), 1003 (500)"
    world.dora.line.reply(200, BOB)
    a.reply(200, SDP)
    world.serve()
    a.bye()
    world.leaves(world.dora)


def test_it_is_over_in_time(world: PagingWorld) -> None:
    a = world.page("753")
    world.picks_up(world.bob)
    world.run(19)
    assert world.bob.line.last.what == "ACK"
    world.run(2)
    world.hangs_up()
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    world.leaves(world.bob)


def test_the_last_who_listens_leaves(world: PagingWorld) -> None:
    """Then it goes on with `then`."""
    a = world.page("752")
    world.picks_up(world.bob)
    world.picks_up(world.carol)
    world.bob.line.bye()
    world.serve()
    assert world.paged()["listening"] == "1"
    assert world.paged()["answered"] == "2"
    world.carol.line.bye()
    world.serve()
    assert world.paged()["outcome"] == "heard"
    world.dora.line.reply(200, BOB)
    a.reply(200, SDP)
    world.serve()
    a.bye()
    world.leaves(world.dora)


def test_who_pages_hangs_up_while_they_ring(world: PagingWorld) -> None:
    a = world.page()
    rings(world.bob)
    rings(world.carol)
    rings(world.dora)
    a.bye()
    for agent in (world.bob, world.carol, world.dora):
        silent(agent)
    assert world.paged()["outcome"] == "abandoned"
    world.leaves()


def test_who_pages_hangs_up_before_they_ring(world: PagingWorld) -> None:
    """While what they are to hear is called."""
    a = world.alice.call("750")
    world.answer(0, world.media[0][1].line)
    a.ack()
    world.settle()
    assert len(world.media[0][1].lines) > 1
    a.bye()
    world.serve()
    assert not world.bob.lines
    world.leaves()


def test_a_phone_that_takes_none_of_that(world: PagingWorld) -> None:
    """Makes an offer itself."""
    a = world.page("753")
    world.bob.line.reply(488)
    assert world.bob.line.find("INVITE").body == ""
    world.picks_up(world.bob, BOB)
    assert "m=audio 30" in world.bob.line.last.body
    assert world.paged()["outcome"] == "heard"
    a.bye()
    world.leaves(world.bob)


def test_nobody_is_transferred_out_of_a_page(world: PagingWorld) -> None:
    """Nor may somebody else take a phone's place in it."""
    a = world.page("753")
    rings(world.bob)
    picks = world.carol.call("*81002")
    assert picks.last.status == 404, "there is nothing that it may take"
    picks.acknowledge(picks.last)
    b = world.picks_up(world.bob)
    refer(b, "1004")
    assert b.last.status == 491
    refer(a, "1004")
    assert a.last.status == 491
    a.bye()
    world.leaves(world.bob)


def test_a_worker_dies(world: PagingWorld) -> None:
    """With those who are there, or are about to be; not with the others."""
    a = world.page()
    b = world.picks_up(world.bob)
    assert rings(world.carol)
    assert rings(world.dora)
    here = world.where(world.bob)
    assert here == 0, "who pages is at the first"
    (far,) = [agent for agent in (world.carol, world.dora) if world.where(agent) != here]
    (near,) = [agent for agent in (world.carol, world.dora) if world.where(agent) == here]
    world.dies(world.where(far))
    silent(far)
    assert world.paged()["not_answered_by"] == f"{far.name} (no media worker)"
    assert b.last.what == "ACK"
    world.dies(here)
    assert b.last.what == "BYE"
    assert a.last.what == "BYE"
    silent(near)
    a.reply(200, to="BYE")
    world.leaves(world.bob)


def test_too_few_workers(world: PagingWorld) -> None:
    """One: a phone is left out, and the others hear."""
    workers = world.switch.spoken.workers
    assert workers is not None
    workers.take_up(PoolSettings(spare=1, most=1))
    a = world.page()
    assert rings(world.bob)
    assert rings(world.carol)
    world.run(6)
    assert world.paged()["not_answered_by"] == "1004 (no media worker)"
    world.picks_up(world.bob)
    world.picks_up(world.carol)
    assert not world.dora.lines
    assert world.paged()["answered"] == "2"
    a.bye()
    world.leaves(world.bob, world.carol)


def test_who_withholds_its_number(world: PagingWorld) -> None:
    a = world.alice.call("753", extra="Privacy: id\r\n")
    world.serve()
    a.ack()
    world.settle()
    world.serve()
    assert "anonymous@anonymous.invalid" in world.bob.line.find("INVITE")["from"]
    world.picks_up(world.bob)
    a.bye()
    world.leaves(world.bob)


def test_from_outside(world: PagingWorld) -> None:
    """If the route lets it in; its number is shown to phones."""
    a = world.page("750", world.carrier)
    assert all(rings(agent) for agent in (world.alice, world.bob, world.carol, world.dora))
    assert world.paged()["asked"] == "4"
    world.picks_up(world.alice)
    a.bye()
    for agent in (world.bob, world.carol, world.dora):
        silent(agent)
    world.leaves(world.alice)
