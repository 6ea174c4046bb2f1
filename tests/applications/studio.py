"""A switch without sockets whose media worker is played by the test: it answers the switch's call,
presses keys, and says when what is played is at its end."""

from __future__ import annotations

from pathlib import Path

from calls.call_world import ANSWER, CONFIG, Agent, Line, World

from softswitch import events
from softswitch.configuration import load_config
from softswitch.media import File, MediaWorker, PoolSettings, Sound, Workers
from softswitch.media.orders import (
    Ask,
    Digit,
    Expect,
    Gone,
    Here,
    Order,
    Play,
    Played,
    Prepare,
    Prepared,
    Ready,
    Release,
    Up,
)

HOST = "10.0.0.1"
SIP = ("127.0.0.1", 7000)


class Studio:
    """One worker, and one caller at a time."""

    def __init__(self, folder: Path, plan: str) -> None:
        self.world = world = World(folder, CONFIG, plan)
        self.worker: MediaWorker | None = None
        self.orders: list[Order] = []
        self.port = 0
        self.phone = world.phone("1001", "10.9.0.1")
        self.media = Agent(world, SIP, "media")
        spoken = world.switch.spoken
        spoken.workers = self.pool = Workers(
            PoolSettings(spare=1, most=1, addresses=(HOST,)),
            world.switch.timers,
            world.switch.tokens.token,
            self._start,
        )
        self.pool.look_ahead()
        self.told(Ready(4711, SIP[1], 10))
        for order in list(self.orders):
            if isinstance(order, Prepare):
                self.told(Prepared(order.address))

    # --- the way to the worker (`media.Line`)

    def _start(self, worker: MediaWorker) -> Studio:
        self.worker = worker
        return self

    def send(self, order: Order) -> None:
        if isinstance(order, Ask):
            assert self.worker is not None
            self.worker.said(Here())
            return
        self.orders.append(order)
        if isinstance(order, Expect):
            self.port = order.port

    def close(self) -> None: ...

    def kill(self, pid: int) -> None: ...

    def told(self, said: Ready | Prepared | Up | Digit | Played | Gone) -> None:
        """The worker tells something."""
        assert self.worker is not None
        self.worker.said(said)
        self.world.settle()

    # --- what happens

    def call(self, number: str) -> Line:
        """The caller dials, and hears the application from here on."""
        line = self.phone.call(number)
        self.media.line.reply(200, ANSWER)
        line.ack()
        assert line.last.status == 200, line.what
        self.told(Up(self.port))
        return line

    def press(self, keys: str, apart: float = 0.1) -> None:
        """One key after the other."""
        for key in keys:
            self.told(Digit(self.port, key))
            self.world.run(apart)

    def listen(self) -> None:
        """What is played comes to its end."""
        play = self.plays[-1]
        if play.sounds:
            self.told(Played(play.port, play.job))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(seconds)

    def leave(self, line: Line) -> None:
        """The caller hangs up; then nothing may be left."""
        line.bye()
        self.over()

    def over(self) -> None:
        """The switch has ended the call with the worker, or the worker ends it, as it was told;
        then nothing may be left."""
        media = self.media.line
        if media.count("BYE"):
            media.reply(200, to="BYE")
            self.told(Gone(self.port))
        else:
            assert self.released, "neither hung up nor released"
            media.bye()
            self.told(Gone(self.port))
        for agent in self.world.agents.values():
            for line in agent.lines:
                if line is not media and line.count("BYE") and line.last.what == "BYE":
                    line.reply(200, to="BYE")
        self.end()

    def end(self) -> None:
        """Nothing may be left."""
        self.world.run(15)
        assert self.pool.busy == 0
        self.pool.close()
        self.world.end()

    def reload(self, folder: Path, plan: str) -> None:
        """The dialplan becomes another one."""
        folder.mkdir()
        (folder / "switch.yaml").write_text(CONFIG)
        (folder / "plan.yaml").write_text(plan)
        self.world.switch.take_up(load_config(folder / "switch.yaml"))

    # --- what is to be seen

    @property
    def plays(self) -> list[Play]:
        return [order for order in self.orders if isinstance(order, Play)]

    @property
    def released(self) -> bool:
        """Whether the application has hung up."""
        return Release(self.port) in self.orders

    @property
    def heard(self) -> list[str | Sound]:
        """What is played: prompts by their names."""
        return [
            Path(one.path).stem if isinstance(one, File) else one for one in self.plays[-1].sounds
        ]

    @property
    def times(self) -> int:
        """How often something was said since the call began."""
        return sum(1 for play in self.plays if any(isinstance(one, File) for one in play.sounds))

    @property
    def facts(self) -> dict[str, str]:
        """What the call's data say of the application."""
        told: list[events.ApplicationTold] = self.world.of(events.ApplicationTold)
        return told[-1].facts
