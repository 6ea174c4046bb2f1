"""Robots talk with applications, go on from there, transfer and leave, on a bad network, while
media workers die and hang: whatever they do, nothing is left of it, and what was told makes sense.

The seed reproduces a failure exactly.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from applications.storms import STORMS, Storm
from calls.call_world import CONFIG, Message, World
from calls.robots import Robot, RobotLine

from softswitch.events import ApplicationTold, TalkBegan
from softswitch.media.orders import (
    Ask,
    Digit,
    Expect,
    Gone,
    Here,
    Join,
    Order,
    Play,
    Played,
    Prepare,
    Prepared,
    Ready,
    Release,
    Said,
    Stream,
    StreamEnded,
    Streaming,
    Tone,
    Up,
)
from softswitch.media.orders import Speaking as Heard
from softswitch.media.pool import MediaWorker, PoolSettings, Workers

SPEAKING = CONFIG.replace("keepalive: 0}", "keepalive: 0, refer: true, session_check: true}") + (
    "timers: {session_check: 30, restart_check: 1, no_answer: 8}\n"
    'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1"}\n'
)
PLAN = """
conferences:
  team: {most: 6}
  led: {pin: "112", leader_pin: "1122", wait: true, ends: true, tries: 2, timeout: 2}
menus:
  main:
    say: welcome
    timeout: 2
    extensions: true
    choices:
      "1": {dial: "1001", timeout: 5}
      "2": {play: {menu: second}}
      "3": {dial: {order: ["trunk:pstn", "trunk:backup"]}, timeout: 5, else: {play: echo}}
      "45": {goto: "701"}
      "5": {do: park, strip: 3, prepend: "78"}
      "6": {status: 486}
      "7": {goto: "702"}
      "8": {play: echo}
      "9": {play: {conference: team}, else: {play: {menu: second}}}
      "*": again
    else: {dial: "1002", timeout: 5}
  second:
    say: sales
    tries: 1
    choices: {"1": back, "2": {play: {tone: 500}}, "3": {play: {menu: main}, else: {goto: "1001"}}}
routes:
  - {match: "700", from: any, play: {menu: main}}
  - {match: "701", from: any, play: {announcement: welcome}, then: {dial: "1002", timeout: 5}}
  - {match: "702", from: any, goto: "703"}
  - {match: "703", from: any, goto: "702"}
  - {match: "704", from: any, play: echo, else: {dial: "1001", timeout: 5}}
  - match: "705"
    from: any
    play: {announcement: welcome}
    then: {play: number}
    else: {goto: "700"}
  - {match: "706", from: any, play: {menu: second}, else: {play: {menu: main}}}
  - {match: "707", from: any, play: {conference: team}, else: {dial: "1001", timeout: 5}}
  - match: "708"
    from: any
    play: {conference: led}
    then: {play: {menu: second}}
    else: {dial: "1002", timeout: 5}
  - match: "709"
    from: any
    play: {stream: "ws://agent.example/"}
    then: {dial: "1002", timeout: 5}
    else: {play: {menu: main}}
  - {match: "78X", from: any, do: park}
  - {match: "1XXX", from: any, dial: extension, timeout: 5, else: {play: {menu: main}}}
"""
NUMBERS = (
    "700",
    "700",
    "701",
    "704",
    "705",
    "706",
    "780",
    "1001",
    "1002",
    "702",
    "707",
    "707",
    "708",
    "709",
)

WHYS = ("closed", "closed", "lost", "flood", "refused")


class MediaLine(RobotLine):
    """The call of a port: answered at once, and what happens to it is told."""

    agent: Media
    number_of_port = 0

    def asked(self, request: Message) -> None:
        """See `RobotLine`."""
        was = self.state
        super().asked(request)
        if request.method == "BYE" and was == "up":
            self.agent.gone(self)
        elif request.method == "ACK" and self.state == "up":
            self.agent.up(self)

    def _talk(self) -> None:
        """It neither hangs up nor asks for anything by itself."""


class Media(Robot):
    """A media worker: its process, and what is played there. See `media.Line`."""

    lines: list[MediaLine]  # type: ignore[assignment]

    def __init__(self, world: World, port: int, dice: random.Random, worker: MediaWorker) -> None:
        super().__init__(world, ("127.0.0.1", port), "media", dice)
        self.worker = worker
        self.ports: dict[int, MediaLine | None] = {}
        self.jobs: dict[int, int] = {}
        self.keys: dict[str, int] = {}
        self.heard_of: set[int] = set()
        self.hangs = self.dead = False

    def called(self, invite: Message) -> RobotLine:
        """See `Robot`."""
        line = MediaLine(self, invite["call-id"])
        line.invited = invite
        line.tag = f"m{next(self.world.serial)}"
        line.remote, line.uri = invite["from"], invite.target_uri
        line.local = f"{invite['to']};tag={line.tag}"
        line.received.append(invite)
        port = self.keys.pop(invite.uri.partition(":")[2].partition("@")[0], 0)
        if not port:
            line.state = "over"
            line._finally(invite, 404)
        else:
            line.number_of_port, self.ports[port] = port, line
            self.after(0.0, 0.02, line._answers)
        return line

    def receive(self, message: Message) -> None:
        """See `Robot`."""
        if not self.dead and not self.hangs:
            super().receive(message)

    def say(self, said: Said) -> None:
        if not self.dead and not self.hangs:
            self.worker.said(said)

    def up(self, line: MediaLine) -> None:
        port = line.number_of_port
        if port in self.ports and port not in self.heard_of:
            self.heard_of.add(port)
            self.say(Up(port))
            for _ in range(self.dice.randrange(6)):
                key = self.dice.choice("11223345678910024*#D")
                self.after(0.0, 15.0, lambda key=key: self._digit(port, key))
            if self.dice.random() < 0.05:
                self.after(0.0, 10.0, lambda: line.state == "up" and self._hangs_up(line))

    def _digit(self, port: int, key: str) -> None:
        line = self.ports.get(port)
        if line is not None and line.state == "up":
            self.say(Digit(port, key))

    def _hangs_up(self, line: MediaLine) -> None:
        line._hang_up()
        self.gone(line)

    def gone(self, line: MediaLine) -> None:
        if self.ports.pop(line.number_of_port, None) is not None:
            self.say(Gone(line.number_of_port))

    # --- `media.Line`

    def order(self, order: Order) -> None:
        if isinstance(order, Prepare):
            self.after(0.0, 0.1, lambda: self.say(Prepared(order.address)))
        elif isinstance(order, Ask):
            self.after(0.0, 0.1, lambda: self.say(Here()))
        elif isinstance(order, Expect):
            self.ports[order.port], self.keys[order.key] = None, order.port
        elif isinstance(order, Play):
            self.jobs[order.port] = order.job
            endless = any(isinstance(one, Tone) and not one.times for one in order.sounds)
            if order.port in self.ports and not endless:
                seconds = 1.5 * len(order.sounds)
                self.after(seconds, seconds, lambda: self._played(order.port, order.job))
        elif isinstance(order, Join) and order.watch and self.dice.random() < 0.3:
            self.after(0.0, 2.0, lambda: self.say(Heard(order.port, True)))
            self.after(2.0, 4.0, lambda: self.say(Heard(order.port, False)))
        elif isinstance(order, Stream):
            whole = StreamEnded(order.port, order.job, self.dice.choice(WHYS))
            self.after(0.0, 1.0, lambda: self._streams(Streaming(order.port, order.job)))
            self.after(0.5, 20.0, lambda: self._streams(whole))
        elif isinstance(order, Release):
            self.keys = {key: port for key, port in self.keys.items() if port != order.port}
            line = self.ports.pop(order.port, None)
            if line is not None and not self.hangs and not self.dead:
                line._hang_up()
            self.after(0.25, 0.25, lambda: self.say(Gone(order.port)))

    def _streams(self, said: Streaming | StreamEnded) -> None:
        if said.port in self.ports:
            self.say(said)

    def _played(self, port: int, job: int) -> None:
        if port in self.ports and self.jobs.get(port) == job:
            self.say(Played(port, job))

    def close(self) -> None:
        self.dead = True

    def kill(self, pid: int) -> None:
        self.dies()

    def dies(self) -> None:
        if not self.dead:
            self.dead = True
            for line in self.lines:
                line.dead = True
            self.worker.lost()


class Process:
    """The way to a worker: what is ordered is done a little later, in order."""

    def __init__(self, media: Media) -> None:
        self._media = media

    def send(self, order: Order) -> None:
        world = self._media.world
        world.at(world.now, lambda: self._media.order(order))

    def close(self) -> None:
        self._media.close()

    def kill(self, pid: int) -> None:
        self._media.kill(pid)


class Speaking:
    """The workers of a world's switch."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.media: list[Media] = []

    def begin(self) -> None:
        """The switch has started."""
        switch = self.world.switch
        switch.spoken.workers = Workers(
            PoolSettings(spare=2, most=6, calls=20),
            switch.timers,
            switch.tokens.token,
            self._start,
        )
        switch.spoken.workers.look_ahead()

    def _start(self, worker: MediaWorker) -> Process:
        serial = 7000 + len(self.media)
        media = Media(self.world, serial, self.dice, worker)
        self.media.append(media)
        media.after(0.2, 1.0, lambda: media.say(Ready(serial, serial, 4)))
        return Process(media)

    def dies_with_the_switch(self, config: str, plan: str) -> None:
        """SIGKILL of the switch: all are gone, and it begins again after a while."""
        for one in self.media:
            one.dead = True
        self.world.kill()
        self.world.run(self.dice.uniform(0.2, 5))
        self.world.start(config, plan)
        self.begin()

    def strike(self) -> None:
        """One dies, or hangs."""
        alive = [one for one in self.media if not one.dead and not one.hangs]
        if alive:
            one = self.dice.choice(alive)
            if self.dice.random() < 0.3:
                one.hangs = True
            else:
                one.dies()


@STORMS
def test_robots_talk_with_applications(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, storm: Storm
) -> None:
    world = World(tmp_path, SPEAKING, PLAN, journal=storm.kills > 0)
    dice = random.Random(storm.seed)
    speaking = Speaking(world, dice)
    speaking.begin()
    for number, host in (("1001", "10.9.0.1"), ("1002", "10.9.0.2")):
        world.phone(number, host)
    robots = [
        Robot(world, (host, 5060), name, dice)
        for host, name in (
            ("10.1.0.1", "caller"),
            ("10.2.0.1", "pstn"),
            ("10.3.0.1", "backup"),
            ("10.9.0.1", "1001"),
            ("10.9.0.2", "1002"),
        )
    ]
    for robot in robots:
        robot.transfers = ("700", "701", "707", "1001", "1002", "780", "666")
        robot.codes = ("##1002#", "*2700#", "*3", "*1", "##700#")
        robot.vanishes = 0.01
    storm.over(world)
    for _ in range(250):
        robot = dice.choice(robots)
        robot.after(0, 300, lambda robot=robot: robot.place(dice.choice(NUMBERS)))
    for _ in range(storm.strikes):
        robots[0].after(5, 300, speaking.strike)
    for _ in range(storm.kills):
        world.run(60)
        world.run(0.25)
        speaking.dies_with_the_switch(SPEAKING, PLAN)
    world.run(600)
    world.run(300)
    storm.passed(world, caplog)
    how = {event.how for event in world.of(TalkBegan)}
    assert how >= {"dialled", "application"}
    assert {event.application for event in world.of(ApplicationTold)} >= {"menu", "conference"}
    assert not world.switch.spoken.rooms.all
