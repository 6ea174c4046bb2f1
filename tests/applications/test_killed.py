"""A switch that is killed, with calls that are at applications: its workers end with it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from applications.test_applications_by_chance import PLAN, SPEAKING, Speaking
from calls.call_world import World

from softswitch.events import CallEnded, CallRestored, LegEnded, TalkBegan, TalkEnded


@pytest.mark.parametrize("rings", [False, True])
def test_the_call_ends_with_its_reason(tmp_path: Path, rings: bool) -> None:
    """Once; also if somebody was rung for it meanwhile. A route's `else` is of the process that is
    gone."""
    world = World(tmp_path, SPEAKING, PLAN, journal=True)
    speaking = Speaking(world, random.Random(1))
    speaking.begin()
    bob = world.phone("1002", "10.9.0.2")
    alice = world.agent("10.1.0.1", "alice")
    world.run(2)
    a = alice.call("701" if rings else "704")
    world.run(1)
    a.ack()
    world.run(2.5)
    assert bool(bob.lines) == rings
    (media,) = [one for one in speaking.media if one.lines]
    for one in speaking.media:
        one.dead = True
    world.kill()
    world.run(1)
    world.start(SPEAKING, PLAN)
    speaking.begin()
    assert a.last.what == "BYE"
    assert "Media Worker Lost" in a.last["reason"]
    a.reply(200, to="BYE")
    if rings:
        assert bob.line.last.what == "CANCEL"
        bob.line.reply(200, to="CANCEL")
        bob.line.reply(487, to="INVITE")
    world.run(40)
    assert not [message for message in media.lines[0].received if message.what == "BYE"]
    assert len(world.of(CallRestored)) == 1
    assert (world.ended.reason, world.ended.hangup_by) == ("Media Worker Lost", "switch")
    assert len(world.of(TalkBegan)) == len(world.of(TalkEnded)) == 1
    reasons = {event.leg: event.reason for event in world.of(LegEnded)}
    assert reasons[1] == "Media Worker Lost"
    assert len(world.of(CallEnded)) == 1
    workers = world.switch.spoken.workers
    assert workers is not None
    workers.close()
    world.rest()
