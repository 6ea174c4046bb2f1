"""A world whose switch speaks: its workers are played by the test, which says what they tell and
reads what they are ordered; messages are on the disk of the test."""

from __future__ import annotations

import wave
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from calls.call_world import SDP, Agent, Line, Message, World

from softswitch.events import ApplicationTold
from softswitch.media.orders import (
    Ask,
    Digit,
    File,
    Gone,
    Here,
    Order,
    Play,
    Played,
    Prepare,
    Prepared,
    Ready,
    Record,
    Recorded,
    Release,
    StopRecording,
    Tone,
    Up,
)
from softswitch.media.pool import MediaWorker, PoolSettings, Workers
from softswitch.voicemail import Voicemail

T = TypeVar("T")

CONFIG = """
switch: {name: hq, listen: ["udp:10.0.0.1:5060"]}
extensions:
  "1001": {name: Alice, password: a, mailbox: true}
  "1002": {name: Bob, password: b, mailbox: {pin: "2468"}}
  "1003": {name: Carol, password: c}
  "1004": {name: Dora, password: d}
trunks:
  pstn: {to: "sip:10.0.9.1:5060", keepalive: 0}
voicemail: {least: 1, messages: 3}
dialplan: plan.yaml
"""
PLAN = """
routes:
  - {match: "*97", from: any, play: mailbox}
  - {match: "*98", from: any, play: {mailbox: "1002"}, then: {dial: "1004"}, else: {dial: "1003"}}
  - {match: "*99", from: any, play: {mailbox: "1001"}, else: {dial: "1003"}}
  - {match: "80", from: any, play: {voicemail: "1001"}, else: {dial: "1003"}}
  - {match: "81", from: any, play: {voicemail: "1001"}, then: {dial: "1003"}}
  - {match: "1XXX", from: any, dial: extension, timeout: 5, else: {play: voicemail}}
"""


class WorkerLine:
    """The test's end of the way to a worker."""

    def __init__(self, worker: MediaWorker, soon: Callable[[Callable[[], None]], None]) -> None:
        self.worker = worker
        self.soon = soon
        self.orders: list[Order] = []

    def send(self, order: Order) -> None:
        if isinstance(order, Prepare):
            self.soon(partial(self.worker.said, Prepared(order.address)))
        elif isinstance(order, Ask):
            self.soon(partial(self.worker.said, Here()))
        else:
            self.orders.append(order)
            if isinstance(order, Release):
                self.soon(partial(self.worker.said, Gone(order.port)))

    def close(self) -> None: ...

    def kill(self, pid: int) -> None: ...


class Elsewhere:
    """The disk: does all at once, or waits (`waits`) until `go`; `broken`: nothing works."""

    def __init__(self) -> None:
        self.waits = self.broken = False
        self.queue: list[Callable[[], None]] = []

    def __call__(self, what: Callable[[], T], then: Callable[[T | None], None]) -> None:
        def task() -> None:
            try:
                if self.broken:
                    raise OSError("disk full")
                found = what()
            except Exception:
                then(None)
            else:
                then(found)

        self.queue.append(task)
        if not self.waits:
            self.go()

    def go(self) -> None:
        while self.queue:
            self.queue.pop(0)()


class SpeakingWorld(World):
    """Alice has a mailbox without a PIN, Bob one with; Carol and Dora have none."""

    def __init__(self, folder: Path, config: str = CONFIG, plan: str = PLAN) -> None:
        super().__init__(folder, config, plan)
        self.disk, self.mails = Elsewhere(), Elsewhere()
        self.worker_line: WorkerLine | None = None
        spoken = self.switch.spoken
        spoken.workers = Workers(
            PoolSettings(spare=1, most=5), self.switch.timers, self.switch.tokens.token, self._start
        )
        spoken.workers.look_ahead()
        spoken.messages = self.kept = Voicemail(
            # Configurations are read once for all tests.
            self.switch.config.voicemail.model_copy(update={"folder": folder / "voicemail"}),
            self.switch.extensions,
            self.disk,
            self.mails,
            self.switch.timers.after,
            self.switch.mailboxes.set,
        )
        self.kept.open()
        self.alice = self.phone("1001", "10.9.0.1")
        self.bob = self.phone("1002", "10.9.0.2")
        self.carol = self.phone("1003", "10.9.0.3")
        self.carrier = self.agent("10.0.9.1", "pstn")

    def _start(self, worker: MediaWorker) -> WorkerLine:
        line = WorkerLine(worker, self._soon)
        serial = 7000 + worker.number
        agent = self.agent("127.0.0.1", "media", serial)
        self.at(self.now, lambda: worker.said(Ready(serial, serial, 4)))
        if self.worker_line is None:
            self.worker_line, self.worker = line, agent
        return line

    def _soon(self, what: Callable[[], None]) -> None:
        self.at(self.now, what)

    @property
    def facts(self) -> dict[str, str]:
        """The facts of the newest application."""
        return [one for one in self.events if isinstance(one, ApplicationTold)][-1].facts

    def facts_of_last(self, application: str) -> dict[str, str]:
        """The newest of that application; none if it has told nothing."""
        told = [
            one
            for one in self.events
            if isinstance(one, ApplicationTold) and one.application == application
        ]
        return dict(told[-1].facts) if told else {}

    def folder_of(self, name: str) -> Path:
        return self.folder / "voicemail" / name

    def counts(self, extension: str = "1001") -> tuple[int, int]:
        return self.switch.mailboxes.of(extension)


class Heard:
    """One who talks with an application."""

    def __init__(
        self,
        world: SpeakingWorld,
        caller: Agent,
        number: str,
        wait: float = 0.0,
        line: Line | None = None,
        **more: str,
    ) -> None:
        """`line`: it is in a call already, and was sent there."""
        self.world = world
        self.line: Line = line or caller.call(number, **more)
        if wait:
            world.run(wait)
        self.worker: Line = world.worker.line
        invite = self.worker.find("INVITE")
        assert invite.uri.startswith("sip:")
        self.worker.reply(200, SDP.replace("40000", "50000"))
        if line is None:
            self.line.ack()
        assert world.worker_line is not None
        self.orders = world.worker_line.orders
        self.number = max(one.port for one in self.orders)
        self.say(Up(self.number))

    def say(self, said: object) -> None:
        """The worker tells something."""
        assert self.world.worker_line is not None
        self.world.worker_line.worker.said(said)  # type: ignore[arg-type]
        self.world.settle()

    def press(self, keys: str) -> None:
        for key in keys:
            self.say(Digit(self.number, key))

    def _last(self, kind: type) -> Order | None:
        found = [one for one in self.orders if isinstance(one, kind) and one.port == self.number]
        return found[-1] if found else None

    @property
    def hears(self) -> list[str]:
        """What is played to it: names of prompts and files, tones as `beep`."""
        play = self._last(Play)
        assert isinstance(play, Play)
        return ["beep" if isinstance(one, Tone) else Path(one.path).stem for one in play.sounds]

    @property
    def files(self) -> list[str]:
        """The same: the files' paths."""
        play = self._last(Play)
        assert isinstance(play, Play)
        return [one.path for one in play.sounds if isinstance(one, File)]

    def heard(self, error: str = "") -> None:
        """What is played is at its end."""
        play = self._last(Play)
        assert isinstance(play, Play)
        self.say(Played(self.number, play.job, error))

    @property
    def recording(self) -> Record | None:
        found = self._last(Record)
        assert found is None or isinstance(found, Record)
        return found

    @property
    def stopped(self) -> bool:
        return self._last(StopRecording) is not None

    def recorded(
        self, seconds: float, why: str = "stopped", silent: float = 0.0, error: str = ""
    ) -> None:
        """So much was recorded: it is in the file."""
        record = self.recording
        assert record is not None
        if not error:
            tone_file(Path(record.path), seconds)
        self.say(Recorded(self.number, record.job, seconds, silent, why, error))

    def left(self) -> None:
        """It has hung up: what a worker tells then is told by `gone`."""
        self.line.bye()
        self.worker.reply(200, to="BYE")

    def gone(self) -> None:
        self.say(Gone(self.number))

    @property
    def over(self) -> bool:
        """Whether the application has hung up: its worker is told so, and says BYE."""
        return self._last(Release) is not None

    def reject(self, agent: Agent, status: int) -> Message:
        """Who is rung now does not take the call."""
        agent.line.reply(status)
        self.world.settle()
        return agent.line.last


def tone_file(path: Path, seconds: float) -> None:
    """A WAV file as media workers write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\1\2" * round(8000 * seconds))


def leave(world: SpeakingWorld, caller: Agent, number: str = "80", seconds: float = 3.0) -> int:
    """Leave a message; its number."""
    one = Heard(world, caller, number)
    one.press("#")
    one.heard()
    one.press("#")
    one.recorded(seconds)
    one.heard()
    world.settle()
    assert one.over
    one.worker.bye()
    one.line.reply(200, to="BYE")
    path = one.recording
    assert path is not None
    return int(Path(path.path).stem)
