"""A switch that is killed while callers wait in a queue, and talk with agents."""

from __future__ import annotations

import random
from pathlib import Path

from applications.test_applications_by_chance import Speaking
from applications.test_queues_by_chance import PLAN, QUEUES
from calls.call_world import World
from calls.transfers import BOB

from softswitch.events import ApplicationTold, CallEnded, CallRestored, TalkBegan


def test_who_waits_is_hung_up_on_and_who_talks_talks_on(tmp_path: Path) -> None:
    """Their agents are what they were: logged in or not, and in that call."""
    world = World(tmp_path, QUEUES, PLAN, journal=True)
    speaking = Speaking(world, random.Random(1))
    speaking.begin()
    alice = world.phone("1001", "10.9.0.1")
    world.switch.phone_features.set_agent("1003", False)
    world.switch.phone_features.set_paused("1002", True)
    carrier = world.agent("10.2.0.1", "carrier")
    world.run(2)
    first = carrier.call("700")
    world.run(1)
    first.ack()
    world.run(1)
    alice.line.reply(200, BOB)
    world.run(0.1)
    first.reply(200, BOB)
    world.run(1)
    second = carrier.call("700")
    world.run(1)
    second.ack()
    world.run(5)
    (waiting,) = world.switch.queues.lines["idle"].callers
    assert waiting.place == 1
    for one in speaking.media:
        one.dead = True
    world.kill()
    world.run(1)
    world.start(QUEUES, PLAN)
    speaking.begin()
    assert second.last.what == "BYE"
    second.reply(200, to="BYE")
    world.run(3)
    assert not len(world.switch.queues)
    assert first.last.what != "BYE"
    agents = {
        agent.extension: world.switch.queues.state(agent)
        for agent in world.switch.dialplan.queues["idle"].agents
    }
    assert agents == {"1001": "busy", "1002": "paused", "1003": "logged out"}
    (ended,) = world.of(CallEnded)
    told = [event for event in world.of(ApplicationTold) if event.call_id == ended.call_id]
    assert told[-1].facts["outcome"] == "waiting"
    restored = [event for event in world.of(CallRestored) if event.call_id == ended.call_id]
    (again,) = [one for one in restored[0].told if isinstance(one, ApplicationTold)]
    assert again.facts == told[-1].facts
    assert ended.reason == "Media Worker Lost"
    third = carrier.call("700")
    world.run(1)
    third.ack()
    world.run(3)
    assert len(alice.lines) == 1, "it still talks"
    first.bye()
    alice.line.reply(200, to="BYE")
    world.run(1)
    assert len(alice.lines) == 2
    alice.line.reply(486)
    third.bye()
    world.run(40)
    assert [talk.how for talk in world.of(TalkBegan)].count("queue") == 1
    workers = world.switch.spoken.workers
    assert workers is not None
    workers.close()
    world.rest()
