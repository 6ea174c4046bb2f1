"""Callers in a queue: who waits hears music and its place, agents are rung for it meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from applications.speaking_world import CONFIG
from applications.test_played import dies
from applications.waiting_world import WaitingWorld, Waits, dials, hang_up, rings, silent
from calls.call_world import Agent, _configuration
from calls.transfers import BOB, refer

from softswitch import events
from softswitch.control import agent_rows, queue_rows
from softswitch.media.orders import Play
from softswitch.metrics import SwitchMetrics

PLAN = """
queues:
  sales:
    agents: ["1001", "1002"]
    ring: 10
    retry: 5
    wrap_up: 20
    announce: 30
  all:
    agents: ["1001", "1002", {extension: "1003", penalty: 1}]
    strategy: ring-all
    announce: 0
    ring: 10
    choices: {"1": {dial: "1003", timeout: 5}, "2": {goto: "666"}}
    else: {dial: "1003", timeout: 5}
  few:
    agents: [{extension: "1004", logged_in: false}]
    most: 1
    longest_wait: 30
    say: welcome
    empty: wait
  nobody:
    agents: [{extension: "1004", logged_in: false}]
    else: {dial: "1003", timeout: 5}
  round:
    agents: ["1001", "1002", "1003"]
    strategy: round-robin
    ring: 4
    retry: 1
  order:
    agents: ["1001", "1002", "1003"]
    strategy: in-order
    ring: 4
    retry: 10
  fewest:
    agents: ["1001", "1002"]
    strategy: fewest-calls
  skilled:
    agents: [{extension: "1001", skills: [german, french]}, {extension: "1002", skills: german}]
routes:
  - {match: "500", from: any, play: {queue: sales}, else: {dial: "1004"}}
  - {match: "501", from: any, play: {queue: all}}
  - {match: "502", from: any, play: {queue: few}, else: {dial: "1003", timeout: 5}}
  - {match: "503", from: any, play: {queue: nobody}}
  - {match: "504", from: any, play: {queue: round}}
  - {match: "505", from: any, play: {queue: order}}
  - {match: "506", from: any, play: {queue: fewest}}
  - {match: "507", from: any, play: {queue: {name: skilled, skills: french}}}
  - {match: "508", from: any, play: {queue: {name: skilled, skills: [german]}}}
  - {match: "509", from: any, play: {queue: few}}
  - {match: "*45", do: agent}
  - {match: "*451", do: {agent: on}}
  - {match: "*450", do: {agent: off}}
  - {match: "*46", do: pause}
  - {match: "1XXX", from: any, dial: extension, timeout: 5}
"""
FORWARDED = CONFIG.replace('"1002": {name: Bob,', '"1002": {forward: {busy: "1003"}, name: Bob,')


@pytest.fixture
def world(tmp_path: Path) -> WaitingWorld:
    return WaitingWorld(tmp_path, PLAN)


def test_the_agent_that_is_idle_longest(world: WaitingWorld) -> None:
    one = Waits(world, "500")
    assert one.hears == ["hold-music"]
    play = one._last(Play)
    assert isinstance(play, Play)
    assert play.loop
    assert world.facts["outcome"] == "waiting"
    assert world.facts["position"] == "1"
    world.run(1)
    assert rings(world.alice)
    assert not world.bob.lines
    assert one.hears == ["hold-music"], "no ringing tone"
    world.run(3)
    one.answered_by(world.alice)
    facts = world.facts
    assert (facts["queue"], facts["outcome"], facts["agent"]) == ("sales", "answered", "1001")
    assert facts["waited"] == "4.0"
    talks = world.of(events.TalkBegan)
    assert [talk.how for talk in talks] == ["application", "queue"]
    other = Waits(world, "500")
    world.run(1)
    assert rings(world.bob)
    other.answered_by(world.bob)
    world.run(5)
    hang_up(one, world.alice)
    world.run(5)
    hang_up(other, world.bob)
    third = Waits(world, "500")
    world.run(14)
    assert len(world.alice.lines) == 1, "wraps up"
    world.run(2)
    assert rings(world.alice)
    assert len(world.alice.lines) == 2
    assert len(world.bob.lines) == 1
    third.line.bye()
    silent(world.alice)
    third.worker.reply(200, to="BYE")
    third.gone()
    assert world.facts["outcome"] == "abandoned"
    assert world.facts["waited"] == "16.0"
    world.over()


def test_nobody_answers(world: WaitingWorld) -> None:
    """The next one is rung, and after a pause the first one again; the caller keeps its place."""
    one = Waits(world, "500")
    world.run(1)
    world.alice.line.reply(180)
    world.run(10)
    silent(world.alice)
    world.run(1)
    assert rings(world.bob)
    one.reject(world.bob, 486)
    assert len(world.alice.lines) == 1
    world.run(4)
    assert len(world.alice.lines) == 2
    assert one.hears == ["hold-music"]
    assert world.facts["position"] == "1"
    one.answered_by(world.alice)
    hang_up(one, world.alice)
    world.over()


def test_order_is_kept(world: WaitingWorld) -> None:
    """Of two who wait the first has the first agent; who comes later may be served before one that
    is rung in vain."""
    lines = [Waits(world, "505") for _ in range(3)]
    world.run(1)
    assert rings(world.alice)
    assert rings(world.bob)
    assert rings(world.carol)
    facts = [one.facts for one in world.of(events.ApplicationTold)]
    assert [one["position"] for one in facts] == ["1", "2", "3"]
    lines[0].reject(world.alice, 486)
    lines[1].answered_by(world.bob)
    world.run(0.1)
    assert world.facts["position"] == "2", "the third has moved on"
    for one in (lines[0], lines[2]):
        one.bye()
    silent(world.carol)
    hang_up(lines[1], world.bob)
    world.over()


def test_all_ring(world: WaitingWorld) -> None:
    """Those with the least penalty; for one caller at a time."""
    one = Waits(world, "501")
    two = Waits(world, "501")
    world.run(1)
    assert rings(world.alice)
    assert rings(world.bob)
    # The second caller has who is left.
    assert rings(world.carol)
    one.reject(world.alice, 486)
    assert len(world.alice.lines) == 1
    one.answered_by(world.bob)
    two.bye()
    silent(world.carol)
    hang_up(one, world.bob)
    world.over()


def test_the_others_ring_no_more(world: WaitingWorld) -> None:
    one = Waits(world, "501")
    world.run(1)
    assert rings(world.alice)
    one.answered_by(world.bob)
    assert 'text="Call completed elsewhere"' in world.alice.line.last["reason"]
    silent(world.alice)
    hang_up(one, world.bob)
    world.over()


def test_round_robin(world: WaitingWorld) -> None:
    one = Waits(world, "504")
    for agent in (world.alice, world.bob, world.carol, world.alice):
        world.run(0.1)
        assert rings(agent)
        one.reject(agent, 480)
        world.run(1.1)
    assert rings(world.bob)
    one.bye()
    silent(world.bob)
    world.over()


def test_in_order_and_fewest_calls(world: WaitingWorld) -> None:
    for number, agents in (("505", ["1001", "1001"]), ("506", ["1002", "1002", "1001"])):
        for name in agents:
            one = Waits(world, number)
            world.run(0.5)
            agent = {"1001": world.alice, "1002": world.bob}[name]
            assert rings(agent), (number, name)
            one.answered_by(agent)
            hang_up(one, agent)
            world.run(1)
    world.over()


def test_skills(world: WaitingWorld) -> None:
    """Who wants somebody else is not held up by who waits for one that is busy."""
    french = Waits(world, "507")
    world.run(0.5)
    assert rings(world.alice)
    french.answered_by(world.alice)
    another = Waits(world, "507")
    german = Waits(world, "508")
    world.run(0.5)
    assert rings(world.bob)
    german.answered_by(world.bob)
    hang_up(german, world.bob)
    hang_up(french, world.alice)
    world.run(0.5)
    assert len(world.bob.lines) == 1
    assert len(world.alice.lines) == 2
    another.answered_by(world.alice)
    hang_up(another, world.alice)
    world.over()


def test_the_place_is_told(world: WaitingWorld) -> None:
    """And after the first call how long it may take."""
    one = Waits(world, "500")
    world.run(1)
    one.answered_by(world.alice)
    world.run(100)
    hang_up(one, world.alice)
    for agent in (world.alice, world.bob):
        dials(agent, "*46")
    two = Waits(world, "500")
    three = Waits(world, "500")
    world.run(31)
    assert two.hears == ["queue-next"], "nobody is at work: who knows how long"
    two.heard()
    assert two.hears == ["hold-music"]
    assert three.hears == ["queue-number", "number-2", "in-line"]
    three.heard()
    dials(world.alice, "*46")
    world.run(0.5)
    two.answered_by(world.alice)
    world.run(31)
    # 100 seconds and the time to wrap up.
    assert three.hears == ["queue-next", "queue-wait", "number-2", "minutes"]
    three.heard()
    assert three.hears == ["hold-music"]
    three.bye()
    hang_up(two, world.alice)
    world.over()


def test_too_many_and_too_long(world: WaitingWorld) -> None:
    one = Waits(world, "502")
    assert one.hears == ["welcome"]
    one.heard()
    assert one.hears == ["hold-music"]
    other = Waits(world, "509")
    assert world.facts["outcome"] == "full"
    assert other.hears == ["not-available"]
    other.heard()
    assert other.over
    other.hung_up_on()
    world.run(31)
    assert world.outcomes() == ["timeout", "full"]
    assert world.facts["waited"] == "30.0"
    assert rings(world.carol), "the route's `else`"
    assert one.hears == ["beep"]
    one.reject(world.carol, 486)
    one.hung_up_on()
    world.over()


def test_nobody_is_logged_in(world: WaitingWorld) -> None:
    """At once, and as soon as the last one logs out."""
    one = Waits(world, "503")
    assert world.facts["outcome"] == "empty"
    assert world.facts["waited"] == "0.0"
    assert rings(world.carol)
    one.reject(world.carol, 486)
    one.hung_up_on()
    assert dials(world.dora, "*45") == "480 Logged In"
    one = Waits(world, "503")
    world.run(0.5)
    assert rings(world.dora)
    one.reject(world.dora, 486)
    assert dials(world.dora, "*45") == "480 Logged Out"
    world.run(0.5)
    assert world.facts_of_last("queue")["outcome"] == "empty"
    assert rings(world.carol)
    one.reject(world.carol, 486)
    one.hung_up_on()
    world.over()


def test_a_key_leads_out_of_it(world: WaitingWorld) -> None:
    """Agents ring no more; who finds nobody there waits on at its place."""
    one = Waits(world, "501")
    two = Waits(world, "501")
    world.run(0.5)
    assert all(rings(agent) for agent in (world.alice, world.bob, world.carol))
    one.press("5")
    assert world.facts["digits"] == "5"
    two.reject(world.carol, 486)
    one.press("1")
    for agent in (world.alice, world.bob):
        silent(agent)
    assert one.hears == ["beep"]
    assert len(world.carol.lines) == 2
    world.run(0.5)
    assert len(world.alice.lines) == 2, "for the other one"
    one.reject(world.carol, 486)
    assert one.hears == ["not-available"]
    one.heard()
    assert one.hears == ["hold-music"]
    world.run(0.1)
    places = [line.place for line in world.switch.queues.lines["all"].callers]
    assert places == [1, 2]
    serials = [line.serial for line in world.switch.queues.lines["all"].callers]
    assert serials == sorted(serials)
    assert all(rings(agent) for agent in (world.alice, world.bob))
    two.answered_by(world.alice)
    silent(world.bob)
    world.run(0.1)
    assert rings(world.bob)
    one.press("2")  # no such number
    assert one.hears == ["not-available"]
    silent(world.bob)
    assert world.outcomes() == ["waiting", "answered"]
    one.bye()
    assert world.outcomes() == ["abandoned", "answered"]
    hang_up(two, world.alice)
    world.over()


def test_an_agents_forward_is_not_followed(tmp_path: Path) -> None:
    """Nor where its phone would send the call."""
    world = WaitingWorld(tmp_path, PLAN, FORWARDED)
    world.switch.phone_features.set_agent("1001", False)
    one = Waits(world, "500")
    world.run(0.5)
    one.reject(world.bob, 486)
    world.run(6)
    assert len(world.bob.lines) == 2
    world.bob.line.reply(302, extra="Contact: <sip:1003@10.0.0.1>\r\n")
    world.run(1)
    assert not world.carol.lines
    one.bye()
    world.over()


def test_who_is_not_rung(world: WaitingWorld) -> None:
    """In a call, not to be disturbed, pausing, not registered."""
    features = world.switch.phone_features
    talking = world.bob.call("1004")
    one = Waits(world, "500")
    features.set_dnd("1001", True)
    world.run(20)
    features.set_paused("1001", True)
    features.set_dnd("1001", False)
    world.run(20)
    assert not world.alice.lines
    world.alice.request("REGISTER", "Contact: *\r\nExpires: 0\r\n")
    features.set_paused("1001", False)
    one.bye()
    assert talking.last.status >= 400
    world.over()


def test_a_worker_dies(world: WaitingWorld) -> None:
    """What the route says then; whoever rings, rings no more."""
    one = Waits(world, "502")
    dials(world.dora, "*45")
    world.run(0.5)
    assert rings(world.dora)
    dies(world)
    silent(world.dora)
    facts = world.facts_of_last("queue")
    assert facts["outcome"] == "lost"
    assert rings(world.carol)
    world.carol.line.reply(200, BOB)
    one.line.reply(200, BOB)
    hang_up(one, world.carol)
    world.over()


def test_another_configuration(world: WaitingWorld, tmp_path: Path) -> None:
    """Without that queue who waits there goes on; without that agent it is rung no more."""
    one = Waits(world, "500")
    two = Waits(world, "501")
    world.run(0.5)
    assert all(rings(agent) for agent in (world.alice, world.bob))
    plan = PLAN.replace("  sales:", "  other:").replace("queue: sales", "queue: other")
    plan = plan.replace('agents: ["1001", "1002", {ext', 'agents: ["1002", {ext')
    world.switch.take_up(_configuration(tmp_path, CONFIG, plan))
    world.run(0.5)
    assert world.outcomes() == ["removed", "waiting"]
    silent(world.alice)
    assert rings(world.dora), "the route's `else`, of then"
    one.reject(world.dora, 486)
    one.hung_up_on()
    two.reject(world.bob, 486)
    world.run(0.5)
    assert rings(world.carol)
    two.bye()
    silent(world.carol)
    world.over()


def test_what_is_told_of_queues_and_agents(world: WaitingWorld) -> None:
    """For `softswitch status`, and for Prometheus."""
    one = Waits(world, "500")
    two = Waits(world, "500")
    three = Waits(world, "500")
    world.run(2)
    one.answered_by(world.alice)
    assert rings(world.bob)
    dials(world.dora, "*45")
    world.run(8)
    rows = {row["queue"]: row for row in queue_rows(world.switch)}
    sales = rows["sales"]
    assert (sales["waiting"], sales["agents"], sales["free"], sales["answered"]) == (2, 2, 0, 1)
    assert sales["longest_wait"] == pytest.approx(10, abs=0.5)
    assert (rows["few"]["logged_in"], rows["few"]["free"]) == (1, 1)
    agents = {row["agent"]: row for row in agent_rows(world.switch)}
    assert agents["1001"]["state"] == "talks"
    assert (agents["1001"]["serves"], agents["1001"]["calls"]) == ("sales", 1)
    assert agents["1002"]["state"] == "rings"
    assert agents["1003"]["state"] == "free"
    assert agents["1004"]["queues"] == ["few", "nobody"]
    metrics = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in SwitchMetrics(world.switch, Silent())._queues()  # type: ignore[arg-type]
        for sample in family.samples
    }
    assert metrics["softswitch_queue_waiting", "sales"] == 2
    assert metrics["softswitch_queue_longest_wait_seconds", "sales"] > 9
    assert metrics["softswitch_queue_agents", "sales", "talks"] == 1
    assert metrics["softswitch_queue_agents", "free", "sales"] == 0
    assert metrics["softswitch_queue_callers_total", "answered", "sales"] == 1
    assert world.switch.tables()["queued"] == 2
    two.bye()
    silent(world.bob)
    world.run(1)
    assert rings(world.bob)
    three.bye()
    silent(world.bob)
    hang_up(one, world.alice)
    rows = {row["queue"]: row for row in queue_rows(world.switch)}
    assert (rows["sales"]["answered"], rows["sales"]["abandoned"]) == (1, 2)
    world.over()


class Silent:
    """A transport of which nothing is asked."""


def test_codes(world: WaitingWorld) -> None:
    """What agents dial, and those who are none."""
    assert dials(world.alice, "*46") == "480 Paused"
    assert dials(world.alice, "*46") == "480 Not Paused"
    assert dials(world.alice, "*450") == "480 Logged Out"
    assert dials(world.alice, "*450") == "480 Logged Out"
    assert dials(world.alice, "*451") == "480 Logged In"
    assert dials(world.alice, "*45") == "480 Logged Out"
    features = world.switch.phone_features
    assert features.agent("1001") == (False, False)
    features.set_agent("1001", None)
    assert features.agent("1001") == (True, False)
    features.set_paused("1001", True)
    features.set_agent("1001", False)
    assert features.agent("1001") == (False, False), "who comes back does not pause"
    world.over()


def test_who_is_no_agent(tmp_path: Path) -> None:
    plan = PLAN.replace('"1003"', '"1002"').replace('"1001", "1002", "1002"', '"1001", "1002"')
    plan = plan.replace('"1001", "1002", {extension: "1002", penalty: 1}', '"1001", "1002"')
    world = WaitingWorld(tmp_path, plan)
    assert dials(world.carol, "*45").endswith("Not An Agent")
    with pytest.raises(LookupError, match="agent of no queue"):
        world.switch.phone_features.set_paused("1003", True)
    with pytest.raises(LookupError, match="no extension `1009`"):
        world.switch.phone_features.agent("1009")
    world.over()


def joins(one: Waits, agent: Agent) -> None:
    """That one answers, and hears the queue in place of the caller."""
    agent.line.reply(200, BOB)
    one.worker.reply(200, BOB)
    agent.line.reply(200, BOB)


def test_a_caller_that_is_being_transferred(world: WaitingWorld) -> None:
    """Nobody is rung for it meanwhile, and nothing ends it; then it is the turn of whoever came."""
    one = Waits(world, "502", world.alice)
    assert one.hears == ["welcome"]
    refer(one.line, "1003")
    world.run(1)
    assert rings(world.carol)
    dials(world.dora, "*45")
    world.run(4)
    joins(one, world.carol)
    world.run(1.5)
    assert world.outcomes() == ["waiting"]
    assert rings(world.dora)
    hangs_up = world.carol.line
    world.dora.line.reply(200, BOB)
    world.run(0.1)
    hangs_up.reply(200, BOB)
    one.worker.reply(200, to="BYE")
    one.gone()
    assert world.outcomes() == ["answered"]
    assert [talk.how for talk in world.of(events.TalkBegan)][-1] == "queue"
    world.run(3)
    one.line.reply(200, to="BYE")
    hangs_up.bye()
    world.dora.line.reply(200, to="BYE")
    world.over()


def test_the_wait_is_over_while_a_caller_is_being_transferred(world: WaitingWorld) -> None:
    """Then who has come in its place goes on."""
    one = Waits(world, "502", world.alice)
    one.heard()
    world.run(27)
    refer(one.line, "1002")
    world.run(4)
    assert world.outcomes() == ["timeout"]
    assert not one.over
    assert rings(world.bob)
    joins(one, world.bob)
    world.run(1.5)
    assert rings(world.carol)
    world.carol.line.reply(200, BOB)
    world.bob.line.reply(200, BOB)
    one.worker.reply(200, to="BYE")
    one.gone()
    world.run(3)
    one.line.reply(200, to="BYE")
    world.bob.line.bye()
    world.carol.line.reply(200, to="BYE")
    world.over()
