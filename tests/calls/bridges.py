"""Phones and a media worker that do by themselves what is due, for talks whose media goes by way of
the switch: a test says only what is out of the ordinary."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from calls.call_world import SDP, Address, Agent, Line, Message, World
from calls.players import Player
from calls.transfers import GROUPS, port
from softswitch.config import RecordingModel
from softswitch.events import LegInvited, RecordingTold, TalkBegan
from softswitch.media import MediaWorker, Port
from softswitch.media.orders import Order, Record, Recorded, StopRecording, Up
from softswitch.recordings import Recordings

T = TypeVar("T")

RECORDED = GROUPS.replace("{name: Bob,", "{name: Bob, record: true,") + (
    'in_call: {transfer: "##", consult: "*2", complete: "*3", back: "*1", record: "*5", '
    'pause: "*6"}\n'
)
SECONDS = 0.25


class Phone(Agent):
    """It answers what comes within its calls; its first INVITEs a test answers. `refuses` are the
    statuses for the next INVITEs within calls, 0: no more than a 100, -1: silence."""

    lines: list[Call]  # type: ignore[assignment]

    def __init__(self, world: World, address: Address, name: str, password: str, at: int) -> None:
        super().__init__(world, address, name, password)
        self.own = SDP.replace("40000", str(at)).replace("192.0.2.9", f"192.0.2.{at % 200}")
        self.refuses: list[int] = []
        self.sulks = False  # whether it answers no UPDATE
        self.register()

    def send(self, text: str, body: str = "") -> None:
        """As an agent sends, but what was sent is not delivered from within."""
        data = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        self.world.carry(data, self.address, self.switch)
        if text.startswith(("REGISTER", "OPTIONS")):
            self.world.settle()

    def receive(self, message: Message) -> None:
        self.inbox.append(message)
        line = next((one for one in self.lines if one.call_id == message["call-id"]), None)
        if line is None:
            if message.what != "INVITE":
                return
            line = Call.called(self, message)
            self.lines.append(line)
        line.receive(message)

    @property
    def line(self) -> Call:
        return self.lines[-1]

    def dials(self, number: str, body: str | None = None, extra: str = "") -> Call:
        """It calls, and acknowledges whatever comes."""
        line = Call(self, f"c{next(self.world.serial)}@{self.host_port}", number)
        self.lines.append(line)
        line.uri = f"sip:{number}@{self.switch[0]}:{self.switch[1]}"
        line.remote = f"<{line.uri}>"
        line.local = f"<sip:{self.name}@{self.host_port}>;tag=t{next(self.world.serial)}"
        line.offered = self.own if body is None else body
        line.extra = extra
        line.invite(line.offered, extra)
        self.world.settle()
        return line


class Call(Line):
    """`told`: where it sends to, by the last description that is in force; `over`: its status, or
    1 after a BYE."""

    agent: Phone

    def __init__(self, agent: Phone, call_id: str, number: str = "") -> None:
        super().__init__(agent, call_id, number)
        self.own = agent.own
        self.told = ""
        self.offered: str | None = None  # by a request of its own
        self.waits: Message | None = None  # an INVITE that it does not answer
        self.asked_for: Message | None = None  # a 2xx of its that waits for an ACK
        self.extra = ""
        self.acks: list[int] = []
        self.seen: set[str] = set()
        self.up = False
        self.over = 0

    @property
    def hears(self) -> int:
        """The port it sends to."""
        return port(self.told) if self.told else 0

    @property
    def held(self) -> bool:
        """Whether it was told to send nothing."""
        return any(f"a={way}" in self.told for way in ("sendonly", "inactive"))

    def receive(self, message: Message) -> None:
        super().receive(message)
        if message.status:
            if message.method == "INVITE":
                self._answered(message)
        elif message.method == "ACK":
            assert message.cseq not in self.acks or not self.up, "acknowledged once"
            self.acks.append(message.cseq)
            if message.body:
                self.told = message.body
            self.asked_for = None
        elif message.method == "BYE":
            self.over = 1
            self.reply(200, to=message)
        elif message.method == "CANCEL":
            self.reply(200, to=message)
            if self.waits is not None:
                waits, self.waits = self.waits, None
                self.reply(487, to=waits)
            elif not self.up:
                self.over = 487
                self.reply(487)
        elif message.method == "INVITE" and self.up:
            self._invited(message)
        elif message.method in ("NOTIFY", "INFO", "OPTIONS", "MESSAGE"):
            self.reply(200, to=message)
        elif message.method == "UPDATE" and not self.agent.sulks:
            if message.body:
                self.told = message.body
            self.reply(200, self.own if message.body else "", to=message)

    def _answered(self, message: Message) -> None:
        if message.status < 200:
            return
        if message.status == 401:
            self._again(message)
        elif message.status >= 300:
            self.acknowledge(message)
            if not self.up:
                self.over = message.status
        else:
            first = not self.up
            self.up = True
            if message.body:
                self.told = message.body
            if first or self.offered is not None:
                self.ack("" if self.offered else self.own)
                self.offered = None

    def _again(self, challenge: Message) -> None:
        from softswitch.sip.digest import answer

        self.acknowledge(challenge)
        self.received.clear()
        value = answer(
            challenge["www-authenticate"],
            "INVITE",
            self.uri,
            self.agent.name,
            self.agent.password,
            "cn",
        )
        self.remote = self.remote.partition(";tag=")[0]
        self.invite(self.offered or "", f"{self.extra}Authorization: {value}\r\n")

    def _invited(self, message: Message) -> None:
        if message.branch in self.seen:
            return
        self.seen.add(message.branch)
        status = self.agent.refuses.pop(0) if self.agent.refuses else 200
        if status <= 0:
            self.waits = message
            if status == 0:
                self.reply(100, to=message)
        elif status == 200:
            self.accepts(message)
        else:
            self.reply(status, to=message)

    def accepts(self, message: Message) -> None:
        """An INVITE within the call."""
        if message.body:
            self.told = message.body
        self.asked_for = message
        self.waits = None
        lines = ""
        if "session-expires" in message:
            lines = f"Require: timer\r\nSession-Expires: {message['session-expires']}\r\n"
        self.reply(200, self.own, lines, to=message)

    def picks_up(self, body: str = "", extra: str = "") -> None:
        """It answers its first INVITE."""
        self.up = True
        invite = self.find("INVITE")
        self.told = invite.body or self.told
        self.reply(200, body or self.own, extra)
        self.agent.world.settle()

    def says(self, body: str | None = None) -> None:
        """A re-INVITE of its own; "": without an offer."""
        self.offered = self.own if body is None else body
        if body:
            self.own = body
        self.invite(self.offered)
        self.agent.world.settle()

    def digits(self, text: str) -> None:
        """A code, by INFO."""
        for digit in text:
            kind = "Content-Type: application/dtmf-relay\r\n"
            self.send("INFO", f"Signal={digit}\r\nDuration=160", kind)
            self.agent.world.settle()

    def hangs_up(self) -> None:
        if not self.over:
            self.over = 1
            self.bye()
            self.agent.world.settle()


class Studio(Player):
    """A worker that answers all calls by itself, each at a port of its own, and that records.

    `answers` are statuses for its next calls, 0: silence. `lines` are its calls, by port."""

    def __init__(self, world: World, *, ready: bool = True, folder: Path | None = None) -> None:
        self.answers: list[int] = []
        self.again: list[int] = []
        self.of: dict[int, Call] = {}
        self._writing: dict[int, Record] = {}
        super().__init__(world, ready=ready)
        media = _Media(self)
        world.agents[self.agent.address] = media
        self.agent = media
        self.folder = folder or world.folder / "recordings"
        self.records()

    def records(self) -> None:
        """The switch has a folder for recordings."""
        world, switch = self.world, self.world.switch
        switch.spoken.recordings = Recordings(
            switch.name,
            RecordingModel(folder=self.folder),
            partial(_elsewhere, world),
            lambda seconds, what: None,
            lambda: world.now,
            switch.tokens.token,
            switch.spoken.made_whole,
        )
        switch.spoken.recordings.open()

    def takes_order(self, order: Order) -> None:
        """See `players.Way`."""
        if isinstance(order, Record):
            Path(order.path).write_bytes(bytes(44) + struct.pack("<h", 7) * int(8000 * SECONDS))
            self._writing[order.port] = order
        elif isinstance(order, StopRecording):
            self.written(order.port)

    def written(self, number: int) -> None:
        record = self._writing.pop(number, None)
        at = self._port(number)
        if record is not None and at is not None:
            self.world.at(
                self.world.now,
                lambda: at.worker.said(Recorded(number, record.job, SECONDS, 0.0, "stopped")),
            )

    def _port(self, number: int) -> Port | None:
        return next(
            (p for one in self.pool.workers for p in one.ports.values() if p.number == number), None
        )

    def calls(self) -> list[Call]:
        """Those that are in use, by their ports."""
        if not self.is_used():
            return []
        used = {number for one in self.pool.workers for number in one.ports}
        return [line for number, line in sorted(self.of.items()) if number in used]

    def is_between(self, first: Call, second: Call) -> bool:
        """Whether the media of these two goes by way of it."""
        ends = self.calls()[-2:]
        if len(ends) < 2:
            return False
        one, other = ends
        return (
            first.hears == port(one.own)
            and one.hears == port(first.own)
            and second.hears == port(other.own)
            and other.hears == port(second.own)
        )

    def vanishes(self) -> None:
        """The process is gone: nothing answers any more."""
        worker = self.calls_worker()
        for line in self.of.values():
            line.over = 1
        self.of.clear()
        self._writing.clear()
        self.agent.deaf = True
        worker.lost()
        self.world.settle()
        self.agent.deaf = False

    def is_used(self) -> bool:
        """Whether some port is in use."""
        pool = getattr(self, "pool", None)
        return pool is not None and any(one.ports for one in pool.workers)

    def looks_ahead(self) -> None:
        """There is another process soon."""
        self.pool.look_ahead()

    def dies_with_the_switch(self) -> None:
        """SIGKILL of the switch: nobody is there any more, until it begins again."""
        for line in self.of.values():
            line.over = 1
        self.of.clear()
        self._writing.clear()
        self.started.clear()
        if hasattr(self, "pool"):
            del self.pool
        self.world.kill()

    def rests(self) -> None:
        """No port of it is in use any more."""
        pool = getattr(self, "pool", None)
        if pool is not None:
            assert pool.busy == 0
            assert not any(one.kept for one in pool.workers)
            pool.close()

    def begins_again(self, worker: bool = True) -> None:
        """The switch has started."""
        self.answers.clear()
        self.again.clear()
        if worker:
            self.begin()
        self.records()

    def calls_worker(self) -> MediaWorker:
        return next(one for one in self.pool.workers if one.ports)


class _Media(Phone):
    """The SIP side of a worker's process."""

    def __init__(self, studio: Studio) -> None:
        Agent.__init__(self, studio.world, studio.agent.address, "media")
        self.studio = studio
        self.refuses = studio.again
        self.own = SDP
        self.deaf = self.sulks = False

    def receive(self, message: Message) -> None:
        studio = self.studio
        line = next((one for one in self.lines if one.call_id == message["call-id"]), None)
        if line is not None and (line.over or self.deaf):
            return
        super().receive(message)
        if line is None and message.what == "INVITE":
            line = self.line
            key = message.uri.partition("sip:")[2].partition("@")[0]
            at = next(p for one in studio.pool.workers for p in one.ports.values() if p.key == key)
            line.own = SDP.replace("40000", str(30000 + at.number)).replace("192.0.2.9", "10.0.0.1")
            studio.of[at.number] = line
            status = studio.answers.pop(0) if studio.answers else 200
            if status == 200:
                studio.world.at(studio.world.now, partial(self.takes, line, at))
            elif status:
                line.reply(status)

    def takes(self, line: Call, at: Port) -> None:
        if not line.over and at.number in at.worker.ports:
            line.picks_up()
            at.worker.said(Up(at.number))


def _elsewhere(world: World, what: Callable[[], T], then: Callable[[T | None], None]) -> None:
    try:
        found = what()
    except OSError:
        found = None
    world.at(world.now, lambda: then(found))


def phone(world: World, number: str) -> Phone:
    """One of Alice, Bob, Carol, Dave."""
    index = int(number) % 10
    address = (f"10.9.0.{index}", 5060)
    return Phone(world, address, number, "dabc"[int(number) % 4], 40000 + 100 * index)


def direct(one: Call, other: Call) -> bool:
    """Whether each was told last where the other is."""
    return one.hears == port(other.own) and other.hears == port(one.own)


def facts(world: World, talk: int) -> list[str]:
    """The states of that talk's recording."""
    return [e.facts["state"] for e in world.of(RecordingTold) if e.talk == talk]


def dialled(world: World) -> list[tuple[tuple[int, ...], str]]:
    return [(e.legs, e.how) for e in world.of(TalkBegan)]


def parties(world: World) -> list[str]:
    return [e.party for e in world.of(LegInvited)]
