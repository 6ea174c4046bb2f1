"""A world whose switch has queues: any number of callers wait, at as many workers as it takes."""

from __future__ import annotations

from pathlib import Path

from applications.speaking_world import CONFIG, Heard, SpeakingWorld, WorkerLine
from calls.call_world import Agent
from calls.transfers import BOB

from softswitch.events import ApplicationTold, CallEnded, CallStarted
from softswitch.media.pool import MediaWorker


class WaitingWorld(SpeakingWorld):
    """`media` are the workers: the ways to them, and where their calls go."""

    def __init__(self, folder: Path, plan: str, config: str = CONFIG) -> None:
        self.media: list[tuple[WorkerLine, Agent]] = []
        super().__init__(folder, config, plan)
        self.dora = self.phone("1004", "10.9.0.4")

    def _start(self, worker: MediaWorker) -> WorkerLine:
        line = super()._start(worker)
        self.media.append((line, self.agents["127.0.0.1", 7000 + worker.number]))
        return line

    def outcomes(self) -> list[str]:
        """What has become of each who came to a queue, in the order in which they came."""
        found: dict[tuple[str, int], str] = {}
        for one in self.events:
            if isinstance(one, ApplicationTold) and one.application == "queue":
                found[one.call_id, one.leg] = one.facts["outcome"]
        return list(found.values())

    def over(self) -> None:
        """All calls have ended; nothing may be left."""
        for _, agent in self.media:
            for line in agent.lines:
                if line.last.what == "BYE":
                    line.reply(200, to="BYE")
        self.run(40)
        workers = self.switch.spoken.workers
        assert workers is not None
        assert not workers.busy
        workers.close()
        self.end()
        assert not len(self.switch.queues)
        assert not self.switch.queues._by_leg
        assert all(not one.legs for one in self.switch.queues.agents.values())
        assert len(self.of(CallEnded)) == len(self.of(CallStarted))


class Waits(Heard):
    """One who calls a queue, and hears it."""

    def __init__(self, world: WaitingWorld, number: str, caller: Agent | None = None) -> None:
        caller = caller or world.carrier
        before = [len(agent.lines) for _, agent in world.media]
        line = caller.call(number)
        world.settle()
        (self.way, self.agent), *more = [
            media
            for media, lines in zip(world.media, before, strict=False)
            if len(media[1].lines) > lines
        ]
        assert not more
        world.worker_line, world.worker = self.way, self.agent
        super().__init__(world, caller, number, line=line)
        line.ack()

    def say(self, said: object) -> None:
        """See `Heard`."""
        self.way.worker.said(said)  # type: ignore[arg-type]
        self.world.settle()

    def bye(self) -> None:
        """It hangs up before an agent has answered."""
        self.line.bye()
        assert self.worker.last.what == "BYE"
        self.worker.reply(200, to="BYE")
        self.gone()

    def hung_up_on(self) -> None:
        """By the queue."""
        assert self.over
        self.worker.bye()
        self.gone()
        self.line.reply(200, to="BYE")

    def answered_by(self, agent: Agent) -> None:
        """The two talk, and the worker is free."""
        agent.line.reply(200, BOB)
        self.line.reply(200, BOB)
        self.worker.reply(200, to="BYE")
        self.gone()


def rings(agent: Agent) -> bool:
    """Whether it is rung just now; it says so."""
    if not agent.lines or agent.line.last.what != "INVITE":
        return False
    agent.line.reply(180)
    return True


def silent(agent: Agent) -> None:
    """It is rung no more."""
    assert agent.line.last.what == "CANCEL", agent.line.what
    agent.line.reply(200, to="CANCEL")
    agent.line.reply(487, to="INVITE")


def hang_up(one: Waits, agent: Agent) -> None:
    """Caller and agent have talked."""
    one.line.bye()
    agent.line.reply(200, to="BYE")


def dials(agent: Agent, code: str) -> str:
    """What it is answered."""
    line = agent.call(code)
    line.acknowledge(line.last)
    return line.last.start.partition(" ")[2]
