"""A world without sockets: switches, SIP user agents and a clock, all in one thread.

A `World` carries every datagram itself, records it, and can lose, double and delay it by a seeded
chance. `Agent` is a user agent that does nothing by itself: a test says what it sends, and reads
what came. Its few lines of SIP are its own on purpose: it shares no code with what it tests.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from softswitch.calls.call import Call
from softswitch.calls.diversion import Came, Diversion, Diverted
from softswitch.calls.holding import Hold
from softswitch.calls.join import Join
from softswitch.calls.journal import Journal
from softswitch.calls.leg import Leg
from softswitch.calls.restoring import RESTARTED
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk
from softswitch.calls.transfer import AttendedTransfer, BlindTransfer, Notes
from softswitch.calls.tune import Aside, Tune
from softswitch.configuration import Config, load_config
from softswitch.events import (
    CallEnded,
    CallerTold,
    CallMerged,
    CallRestored,
    CallStarted,
    Event,
    LegEnded,
    LegInvited,
    LegMoved,
    RecordingTold,
    SwitchStarted,
    TalkBegan,
    TalkEnded,
)
from softswitch.hookspecs import hookimpl, make_plugins
from softswitch.sip.client_transaction import InviteClient, NonInviteClient
from softswitch.sip.dialog import Dialog, Unacknowledged
from softswitch.sip.digest import answer
from softswitch.sip.message import MalformedMessage, Request, Response
from softswitch.sip.outbox import OnError, Outbox, Target
from softswitch.sip.parser import parse
from softswitch.sip.received import mark_source
from softswitch.sip.server_transaction import InviteServer, NonInviteServer
from softswitch.sip.session import Session
from softswitch.sip.tokens import Tokens
from softswitch.switch import Switch

Address = tuple[str, int]

SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
ANSWER = SDP.replace("40000", "50000").replace(" 0 101", " 8").replace("0 PCMU", "8 PCMA")
HOLD = SDP + "a=sendonly\r\n"
SDP_TYPE = "Content-Type: application/sdp\r\n"
START = 1_700_000_000.0
T1 = 0.5

CONFIG = """
switch: {name: hq, site: Sunnyvale, listen: ["udp:10.0.0.1:5060"]}
extensions:
  "1001": {name: Alice, password: a}
  "1002": {name: Bob, password: b}
  "1003": {name: Carol, password: c}
  "1004": {name: Dave, password: d, max_calls: 1}
trunks:
  branch: {to: "sip:10.0.0.2:5060", switch: true, keepalive: 0}
  caller: {to: "sip:10.1.0.1:5060", keepalive: 0}
  pstn: {to: "sip:10.2.0.1:5060", from: "10.2.0.0/24", max_calls: 5, keepalive: 0}
  backup: {to: "sip:10.3.0.1:5060", keepalive: 0}
dialplan: plan.yaml
"""
PLAN = """
routes:
  - {match: "1XXX", from: any, dial: extension, timeout: 20}
  - {match: "2XXX", from: any, dial: "trunk:branch", timeout: 20}
  - {match: "600", from: any, dial: {all: ["1001", "1002"]}, timeout: 20}
  - {match: "601", from: any, dial: {order: ["1001", "1002"]}, timeout: 10}
  - {match: "602", from: any, dial: extension, timeout: 10, else: {status: 480, reason: Gone}}
  - {match: "603", from: any, dial: "1001", timeout: 10, else: {dial: "trunk:pstn"}}
  - {match: "604", from: any, dial: {all: ["1001", "trunk:pstn"]}, timeout: 10}
  - {match: "605", from: any, dial: {order: ["trunk:pstn", "1001"]}, timeout: 10}
  - {match: "666", from: any, status: 403, reason: Not You}
  - {match: "8.", from: any, strip: 1, dial: "trunk:pstn", timeout: 20}
  - match: "9."
    from: any
    strip: 1
    dial: {order: ["trunk:pstn", "trunk:backup"]}
    timeout: 20
    set: {account: outbound}
"""


def _and_hangs(
    store: Callable[[Callable[[], None]], Callable[[], None] | None], then: Callable[[], None]
) -> Callable[[], None] | None:
    """Everything is stored, but whoever waits for that is not called."""
    return store(lambda: None)


_configurations: dict[tuple[str, str], Config] = {}


def _configuration(folder: Path, config: str, plan: str) -> Config:
    """Read once: that takes longer than a short call."""
    read = _configurations.get((config, plan))
    if read is None:
        (folder / "switch.yaml").write_text(config)
        (folder / "plan.yaml").write_text(plan)
        read = _configurations[config, plan] = load_config(folder / "switch.yaml")
    return read


_CLASSES = (
    Call,
    Search,
    Leg,
    Aside,
    Session,
    Talk,
    Tune,
    Hold,
    Join,
    BlindTransfer,
    AttendedTransfer,
    Notes,
    Came,
    Diversion,
    Diverted,
    Dialog,
    Unacknowledged,
    Request,
    Response,
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
)


@dataclass
class Message:
    """One SIP message as an agent reads it; header names are in lower case."""

    data: bytes
    source: Address
    target: Address
    at: float
    start: str = ""
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""

    def __post_init__(self) -> None:
        head, _, body = self.data.partition(b"\r\n\r\n")
        self.body = body.decode("utf-8", "replace")
        self.start, *lines = head.decode("utf-8", "replace").split("\r\n")
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.setdefault(name.strip().lower(), []).append(value.strip())

    def __getitem__(self, name: str) -> str:
        return self.headers[name][0]

    def __contains__(self, name: str) -> bool:
        return name in self.headers

    @property
    def method(self) -> str:
        """The method, of a response that of its CSeq."""
        return self["cseq"].split()[1]

    @property
    def cseq(self) -> int:
        return int(self["cseq"].split()[0])

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def what(self) -> str:
        """``INVITE`` for a request, ``200 INVITE`` for a response."""
        return f"{self.status} {self.method}" if self.status else self.method

    @property
    def uri(self) -> str:
        return self.start.split()[1]

    def tag(self, name: str) -> str:
        return self[name].partition(";tag=")[2].partition(";")[0]

    @property
    def target_uri(self) -> str:
        return self["contact"].partition("<")[2].partition(">")[0]

    @property
    def branch(self) -> str:
        return self["via"].partition(";branch=")[2].partition(";")[0]


class SwitchFlow:
    """What a switch sends on, by way of its outbox."""

    reliable = False
    transport = "udp"

    def __init__(self, world: World, local: Address, remote: Address) -> None:
        self._world, self._local, self.remote = world, local, remote
        self._outbox = world.outboxes[local]
        self.sent_by = f"{local[0]}:{local[1]}"
        self.listener = ""
        self.peer = ""

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self._outbox.put(self, data, None, on_error)

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        self._world.carry(data, self._local, self.remote)


class Stream:
    """What a switch sends on, over a connection. `refused`: it could not be made.

    `deaf`: what is written to it is never read, as its other end is gone already. `closing`: that
    was seen, but nobody was told yet.
    """

    reliable = True
    transport = "tcp"

    def __init__(
        self, world: World, local: Address, remote: Address, *, refused: bool = False
    ) -> None:
        self._world, self._local, self.remote = world, local, remote
        self._outbox = world.outboxes[local]
        self.sent_by = f"{local[0]}:{local[1]}"
        self.listener = ""
        self.peer = ""
        self.closed = refused
        self.made = not refused
        self.deaf = self.closing = self.relied_on = False

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self._outbox.put(self, data, None, on_error)

    def transmit(self, data: bytes, target: Target, on_error: OnError) -> None:
        if self.closed or self.closing:
            self.closed = True
            if on_error is not None:
                self._world.at(self._world.now, on_error)
            return
        self.relied_on = self.relied_on or on_error is not None
        if not self.deaf:
            self._world.carry(data, self._local, self.remote)

    def close(self) -> None:
        """The other end closes it."""
        self.closed = True
        self._world.streams.pop((self._local, self.remote), None)
        switch = self._world.switches.get(self._local)
        if self.relied_on and switch is not None:
            switch.transactions.lost(self)
        self._world.settle()


class SwitchSocket:
    """The network as one switch sees it."""

    def __init__(self, world: World, local: Address) -> None:
        self._world, self.local = world, local

    def flow_to(
        self, transport: str, host: str, port: int, listener: str = "", peer: str = ""
    ) -> SwitchFlow | Stream | None:
        switch = self._world.switches.get(self.local)
        if switch is None or not switch.restarting.listens:
            return None  # its sockets are not open yet
        if transport == "udp":
            return SwitchFlow(self._world, self.local, (host, port))
        world, remote = self._world, (host, port)
        stream = self.connection(transport, host, port)
        if stream is None:
            world.connects.append(remote)
            stream = Stream(world, self.local, remote, refused=remote not in world.listening)
            if not stream.closed:
                world.streams[self.local, remote] = stream
        return stream

    def connection(self, transport: str, host: str, port: int) -> Stream | None:
        stream = self._world.streams.get((self.local, (host, port)))
        return stream if transport == "tcp" and stream is not None and not stream.closed else None


class Recorder:
    """A plugin that keeps every event."""

    def __init__(self, world: World) -> None:
        self._world = world

    @hookimpl
    def owner_name(self, config: Config) -> str:
        return config.switch.name

    @hookimpl
    def call_event(self, event: Event) -> None:
        self._world.events.append(event)


class Rows:
    """A journal's rows. `refuses` and `crowded` are for tests to say; `batches` counts the writes.

    `begun` is what was written since `begin`.
    """

    def __init__(self) -> None:
        self.refuses = self.crowded = False
        self.batches = 0
        self.rows: dict[int, bytes] = {}
        self.begun: dict[int, bytes] | None = None
        self._waiting: list[tuple[int, bytes]] = []

    def write(
        self,
        rows: Sequence[tuple[int, bytes]],
        over: Iterable[int],
        then: Callable[[], None] | None = None,
    ) -> None:
        self._waiting += [*rows, *((row, b"") for row in over)]
        self.try_again()
        if then is not None:
            then()

    def try_again(self) -> None:
        if self.refuses or not self._waiting:
            return
        self.batches += 1
        for row, data in self._waiting:
            for kept in (self.rows, self.begun):
                if kept is not None:
                    if data:
                        kept[row] = data
                    else:
                        kept.pop(row, None)
        self._waiting.clear()

    @property
    def behind(self) -> bool:
        return bool(self._waiting)

    def begin(self) -> None:
        self.crowded = False
        self.begun = {}

    def finish(self) -> None:
        assert self.begun is not None
        assert self.begun == self.rows
        self.begun = None


class World:
    """Time, network, switches and agents. `loss`, `double`, `delay` (seconds) are chances.

    With `journal` the switch hq writes its calls down, and can be killed and started again.
    """

    def __init__(
        self, folder: Path, config: str = CONFIG, plan: str = PLAN, *, journal: bool = False
    ) -> None:
        self.now = START
        self.utc_ahead = 0.0
        self.boots = 1
        self.folder = folder
        self.wire: list[Message] = []
        self.events: list[Event] = []
        self.agents: dict[Address, Agent] = {}
        self.switches: dict[Address, Switch] = {}
        self.outboxes: dict[Address, Outbox] = {}
        self.dead: set[Address] = set()
        # Connections by (switch, peer), who takes connections, and those that switches have made.
        self.streams: dict[tuple[Address, Address], Stream] = {}
        self.listening: set[Address] = set()
        self.connects: list[Address] = []
        self.chance = random.Random(1)
        self.loss = self.double = self.delay = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.serial = itertools.count(1)
        self.rows = Rows() if journal else None
        self.lives = itertools.count(1)
        self.alive: dict[Address, int] = {}
        self.switch = self.add_switch("hq", ("10.0.0.1", 5060), config, plan)
        self.switch.opened()

    def add_switch(self, name: str, local: Address, config: str, plan: str) -> Switch:
        self.plugins = plugins = make_plugins()
        plugins.register(Recorder(self))
        life = next(self.lives)

        def soon(what: Callable[[], None]) -> None:
            self.at(self.now, lambda: what() if self.alive.get(local) == life else None)

        def after(seconds: float, what: Callable[[], None]) -> None:
            self.at(self.now + seconds, lambda: what() if self.alive.get(local) == life else None)

        self.alive[local] = life
        outbox = self.outboxes[local] = Outbox(
            soon, after, lambda: self.now, interval=0.0, within=0.4
        )
        bits = random.Random(f"{name} {life}")
        switch = Switch(
            _configuration(self.folder, config, plan),
            plugins,
            SwitchSocket(self, local),
            clock=lambda: self.now,
            now_us=lambda: int((self.now + self.utc_ahead) * 1e6),
            tokens=Tokens(bits.randbytes),
            boot=f"boot {self.boots}",
        )
        if self.rows is not None and name == "hq":
            last = max(self.rows.rows, default=0)
            switch.journal = Journal(switch.timers, self.rows, last, outbox.told)
        switch.on_told, outbox.store = outbox.told, switch.stored
        self.switches[local] = switch
        return switch

    def kill(self) -> None:
        """SIGKILL: nothing is left of hq but its journal; what waits in its outbox never leaves."""
        del self.alive["10.0.0.1", 5060]
        del self.switches["10.0.0.1", 5060]
        del self.switch
        del self.outboxes["10.0.0.1", 5060]
        for local, remote in list(self.streams):
            if local == ("10.0.0.1", 5060):
                self.streams.pop((local, remote)).closed = True

    def mute(self) -> None:
        """What hq does from here on is written down, and nothing of it leaves; for 0.4 s at most,
        and then it is to be killed."""
        outbox = self.outboxes["10.0.0.1", 5060]
        outbox.store = partial(_and_hangs, outbox.store)

    def start(self, config: str = CONFIG, plan: str = PLAN, listens_after: float = 0.0) -> Switch:
        """Start hq again. It has read its journal, and listens `listens_after` seconds later."""
        assert self.rows is not None
        self.switch = self.add_switch("hq", ("10.0.0.1", 5060), config, plan)
        self.switch.restore(list(self.rows.rows.items()))
        self.now += listens_after
        assert not self.outboxes["10.0.0.1", 5060], "said before anyone listens"
        self.switch.opened()
        self.settle()
        return self.switch

    def restart(self, away: float = 0.0, config: str = CONFIG, plan: str = PLAN) -> None:
        """Write what is due, kill hq, let time pass, and start it again."""
        self.run(0.25)
        self.kill()
        self.run(away)
        self.start(config, plan)

    def agent(self, host: str, name: str = "", port: int = 5060) -> Agent:
        """The agent at an address; a new one if there is none, or one of another name."""
        there = self.agents.get((host, port))
        if there is None or (name and there.name != name):
            there = Agent(self, (host, port), name)
        return there

    def phone(self, number: str, host: str, port: int = 5060) -> Agent:
        """A registered phone of hq."""
        agent = Agent(self, (host, port), number, "dabc"[int(number) % 4])
        agent.register()
        return agent

    def carry(self, data: bytes, source: Address, target: Address) -> None:
        if self.chance.random() < self.loss:
            return
        for _ in range(2 if self.chance.random() < self.double else 1):
            late = self.chance.random() * self.delay if self.delay else 0.0
            self.at(self.now + late, lambda: self._arrive(data, source, target))

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), what))

    def _arrive(self, data: bytes, source: Address, target: Address) -> None:
        if target in self.dead:
            return
        self.wire.append(message := Message(data, source, target, self.now))
        switch = self.switches.get(target)
        if switch is not None:
            try:
                parsed = parse(data)
            except MalformedMessage:
                return
            if isinstance(parsed, Request):
                mark_source(parsed, source)
            stream = self.streams.get((target, source))
            switch.transactions.receive(parsed, stream or SwitchFlow(self, target, source))
        elif target in self.agents:
            self.agents[target].receive(message)

    def settle(self) -> None:
        """Deliver what is under way, without time passing."""
        while self._due and self._due[0][0] <= self.now:
            heapq.heappop(self._due)[2]()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.settle()
        while True:
            nexts = [self._due[0][0]] if self._due else []
            nexts += [
                due
                for switch in self.switches.values()
                if (due := switch.timers.next_due()) is not None
            ]
            if not nexts or min(nexts) > end:
                break
            self.now = max(self.now, min(nexts))
            for switch in self.switches.values():
                switch.timers.advance()
            self.settle()
        self.now = end
        self.settle()

    # --- what must hold --------------------------------------------------------------------------

    def told(self) -> list[str]:
        """The events in short: class names with the leg's or talk's number, in order."""
        return [
            type(event).__name__
            + (f" {event.leg}" if hasattr(event, "leg") else "")
            + (f" {event.talk}" if hasattr(event, "talk") else "")
            for event in self.events
        ]

    def of(self, kind: type[Event]) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def ended(self) -> CallEnded:
        """The only CallEnded."""
        (event,) = self.of(CallEnded)
        return event

    def end(self, *, idle: float = 200.0, busy: bool = False) -> None:
        """Let everything end; then nothing may be left, and the events must have told all of it."""
        gc.collect()
        was = gc.isenabled()
        gc.disable()
        try:
            if busy:
                self.run(idle)
                check_events(self.events)
                return
            self.rest(idle)
            ours = [
                obj
                for obj in gc.get_objects()
                if type(obj) in _CLASSES and not isinstance(obj, Request | Response)
            ]
            assert not ours, f"kept alive: {ours[:5]}"
        finally:
            if was:
                gc.enable()

    def rest(self, idle: float = 200.0) -> None:
        """Let everything end, as `end` does; but what is kept alive is not looked for."""
        self.run(idle)
        check_events(self.events)
        for switch in self.switches.values():
            kept = ("bindings", "registrations")
            left = {k: v for k, v in switch.tables().items() if v and k not in kept}
            assert not left, left
            assert not any(switch.trunks.calls(name) for name in switch.config.trunks)


def check_events(events: Iterable[Event]) -> None:
    """The order that events.py promises, for every passage of every call at every switch."""
    passages: dict[tuple[str, str], dict[int, str]] = {}
    over: set[tuple[str, str, int]] = set()
    alive: dict[tuple[str, str], list[int]] = {}
    talks: dict[tuple[str, str], dict[int, tuple[int, ...]]] = {}
    restored: set[tuple[str, str]] = set()
    for event in events:
        if isinstance(event, RecordingTold):
            continue  # may come after the call's end
        key = (event.switch, event.call_id)
        if isinstance(event, SwitchStarted):
            for lost in [key for key in alive if key[0] == event.switch and key not in restored]:
                del alive[lost]
                talks.pop(lost, None)
            restored.clear()
            continue
        legs = passages.setdefault(key, {})
        if isinstance(event, CallStarted):
            assert event.leg == len(legs), "leg numbers go on"
            legs[event.leg] = "up"
            alive.setdefault(key, []).append(event.leg)
            continue
        if isinstance(event, CallRestored):
            restored.add(key)
            if (*key, event.leg) in over:
                # It ended just before the kill, and ends once more.
                over.remove((*key, event.leg))
                alive[key].append(event.leg)
            # So may a leg or a talk.
            ended = {told.leg for told in event.told if isinstance(told, LegEnded)}
            told_of = {e.leg for e in event.told if isinstance(e, CallStarted | LegInvited)}
            told_of |= {e.leg for e in event.told if isinstance(e, LegMoved)}
            legs.update(dict.fromkeys(told_of - ended, "up"))
            on = {e.talk: e.legs for e in event.told if isinstance(e, TalkBegan)}
            for told in event.told:
                if isinstance(told, TalkEnded):
                    del on[told.talk]
            talks.setdefault(key, {}).update(on)
        assert alive.get(key), f"{event} outside of a call"
        if isinstance(event, LegInvited | LegMoved):
            assert event.leg == len(legs), "legs are numbered in order"
            legs[event.leg] = "up"
        elif isinstance(event, LegEnded):
            # One that ended just before the kill may end once more.
            again = event.reason == RESTARTED
            assert legs[event.leg] == "up" or again, f"{event}: ended twice"
            legs[event.leg] = "over"
        elif isinstance(event, CallEnded):
            assert (*key, event.leg) not in over
            over.add((*key, event.leg))
            alive[key].remove(event.leg)
            if not alive[key]:
                assert not talks.get(key), f"talks without end: {talks[key]}"
                assert set(legs.values()) == {"over"}, f"legs without end: {legs}"
        elif isinstance(event, TalkBegan):
            on = talks.setdefault(key, {})
            assert event.talk not in on
            for leg in event.legs:
                assert legs[leg] == "up", f"{event} of a leg that is over"
                assert all(leg not in busy for busy in on.values()), f"{event}: of two talks"
            on[event.talk] = event.legs
        elif isinstance(event, TalkEnded):
            del talks[key][event.talk]
        elif hasattr(event, "leg") and not isinstance(
            event, CallMerged | CallerTold | CallRestored
        ):
            assert legs[event.leg] == "up", f"{event} of a leg that is over"
    assert not any(alive.values()), f"calls without end: {alive}"


class Agent:
    """A user agent at one address. `lines` are its calls, newest last."""

    transport = "UDP"

    def __init__(self, world: World, address: Address, name: str = "", password: str = "") -> None:
        self.call_id = ""  # of requests outside of dialogs; empty: each has its own
        self.world, self.address = world, address
        self.name, self.password = name or "agent", password
        self.switch: Address = ("10.0.0.1", 5060)
        self.lines: list[Line] = []
        self.inbox: list[Message] = []
        world.agents[address] = self

    @property
    def host_port(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def contact(self) -> str:
        """What it names itself in Contacts."""
        return f"<sip:{self.name}@{self.host_port}>"

    def receive(self, message: Message) -> None:
        self.inbox.append(message)
        call_id = message["call-id"]
        line = next((line for line in self.lines if line.call_id == call_id), None)
        if line is None:
            if message.what != "INVITE":
                return
            line = Line.called(self, message)
            self.lines.append(line)
        line.receive(message)

    def send(self, text: str, body: str = "") -> None:
        whole = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        data = whole.encode("utf-8", "surrogateescape")  # others may send what is no UTF-8
        self.world.carry(data, self.address, self.switch)
        self.world.settle()

    @property
    def line(self) -> Line:
        """The newest call."""
        return self.lines[-1]

    def call(self, number: str, body: str = SDP, extra: str = "", **more: str) -> Line:
        """Send an INVITE; of a phone (one with a password) also again, with credentials."""
        line = Line(self, f"c{next(self.world.serial)}@{self.host_port}", number)
        self.lines.append(line)
        line.uri = f"sip:{number}@{self.switch[0]}:{self.switch[1]}"
        line.remote = more.pop("to", f"<{line.uri}>")
        line.local = more.pop("from_", f"{self.name} <sip:{self.name}@{self.host_port}>") + (
            f";tag=t{next(self.world.serial)}"
        )
        line.invite(body, extra, **more)
        if self.password and line.what == ["401 INVITE"]:
            challenge = line.last
            line.acknowledge(challenge)
            line.received.clear()
            value = answer(
                challenge["www-authenticate"],
                "INVITE",
                more.get("uri", line.uri),
                self.name,
                self.password,
                "cn",
            )
            line.remote = line.remote.partition(";tag=")[0]
            line.invite(body, f"{extra}Authorization: {value}\r\n", **more)
        return line

    def request(self, method: str, extra: str = "", uri: str = "", body: str = "") -> Message:
        """A request outside of any dialog; returns the newest response."""
        serial = next(self.world.serial)
        self.send(
            f"{method} {uri or 'sip:10.0.0.1:5060'} SIP/2.0\r\n"
            f"Via: SIP/2.0/{self.transport} {self.host_port};branch=z9hG4bKo{serial};rport\r\n"
            f"From: <sip:{self.name}@10.0.0.1>;tag=o{serial}\r\nTo: <sip:{self.name}@10.0.0.1>\r\n"
            f"Call-ID: {self.call_id or f'o{serial}'}\r\nCSeq: {serial} {method}\r\n"
            f"Max-Forwards: 70\r\n{extra}",
            body,
        )
        return self.inbox[-1]

    def register(self, contact: str = "", extra: str = "") -> Message:
        """REGISTER with credentials."""
        contact = contact or self.contact
        lines = f"Contact: {contact}\r\nExpires: 3600\r\n{extra}"
        first = self.request("REGISTER", lines, "sip:10.0.0.1")
        assert first.status == 401, first.start
        value = answer(
            first["www-authenticate"], "REGISTER", "sip:10.0.0.1", self.name, self.password, "cn"
        )
        return self.request("REGISTER", f"{lines}Authorization: {value}\r\n", "sip:10.0.0.1")


class Line:
    """One dialog of an agent, from its side."""

    def __init__(self, agent: Agent, call_id: str, number: str = "") -> None:
        self.agent, self.call_id, self.number = agent, call_id, number
        self.uri = self.local = self.remote = ""
        self.cseq = 0
        self.received: list[Message] = []
        self.invited: Message | None = None
        self.contact = f"Contact: {agent.contact}\r\n"
        self.branch = ""
        self.tag = ""

    @classmethod
    def called(cls, agent: Agent, invite: Message) -> Line:
        line = cls(agent, invite["call-id"])
        line.invited = invite
        line.tag = f"u{next(agent.world.serial)}"
        line.remote = invite["from"]
        line.local = f"{invite['to']};tag={line.tag}"
        line.uri = invite.target_uri
        return line

    def receive(self, message: Message) -> None:
        self.received.append(message)
        if message.status > 100 and message.method == "INVITE" and message.tag("to"):
            self.remote = message["to"]
            if "contact" in message:
                self.uri = message.target_uri

    @property
    def what(self) -> list[str]:
        """All that came, in short."""
        return [message.what for message in self.received]

    @property
    def last(self) -> Message:
        return self.received[-1]

    def find(self, what: str) -> Message:
        """The newest message of that kind."""
        return next(m for m in reversed(self.received) if m.what == what)

    def count(self, what: str) -> int:
        return self.what.count(what)

    def send(
        self,
        method: str,
        body: str = "",
        extra: str = "",
        *,
        cseq: int = 0,
        branch: str = "",
        hops: str = "70",
        uri: str = "",
    ) -> None:
        if not cseq:
            self.cseq += 1
            cseq = self.cseq
        self.branch = branch or f"z9hG4bK{next(self.agent.world.serial)}"
        hops = f"Max-Forwards: {hops}\r\n" if hops else ""
        kind = SDP_TYPE if body and "Content-Type" not in extra else ""
        self.agent.send(
            f"{method} {uri or self.uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/{self.agent.transport} {self.agent.host_port};branch={self.branch};rport"
            "\r\n"
            f"From: {self.local}\r\nTo: {self.remote}\r\nCall-ID: {self.call_id}\r\n"
            f"CSeq: {cseq} {method}\r\n{hops}{extra}{kind}",
            body,
        )

    def invite(self, body: str = SDP, extra: str = "", **more: str) -> None:
        self.send("INVITE", body, self.contact + extra, **more)
        self.invite_branch, self.invite_cseq = self.branch, self.cseq
        self.invite_uri = self.uri

    def again(self) -> None:
        """The INVITE once more, as a retransmission."""
        self.send("INVITE", SDP, self.contact, cseq=self.invite_cseq, branch=self.invite_branch)

    def ack(self, body: str = "") -> None:
        self.send("ACK", body, cseq=self.invite_cseq)

    def acknowledge(self, final: Message) -> None:
        """The ACK of a failure: same branch, To as in the response."""
        was, self.remote = self.remote, final["to"]
        self.send("ACK", cseq=self.invite_cseq, branch=self.invite_branch, uri=self.invite_uri)
        self.remote = was

    def cancel(self, extra: str = "") -> None:
        was, self.remote = self.remote, self.remote.partition(";tag=")[0]
        self.send(
            "CANCEL",
            extra=extra,
            cseq=self.invite_cseq,
            branch=self.invite_branch,
            uri=self.invite_uri,
        )
        self.remote = was

    def bye(self, extra: str = "") -> None:
        self.send("BYE", extra=extra)

    def reply(
        self,
        status: int,
        body: str = "",
        extra: str = "",
        *,
        to: Message | str | None = None,
        tag: str = "",
        contact: str | None = None,
        reason: str = "Whatever",
    ) -> None:
        """Answer a request, by default the newest INVITE."""
        if to is None:
            to = "INVITE"
        request = self.find(to) if isinstance(to, str) else to
        theirs = request["to"]
        if ";tag=" not in theirs and status > 100:
            theirs += f";tag={tag or self.tag}"
        vias = "".join(f"Via: {via}\r\n" for via in request.headers["via"])
        if contact is None:
            contact = self.contact if request.method in ("INVITE", "UPDATE") else ""
        kind = SDP_TYPE if body and "Content-Type" not in extra else ""
        self.agent.send(
            f"SIP/2.0 {status} {reason}\r\n{vias}From: {request['from']}\r\nTo: {theirs}\r\n"
            f"Call-ID: {request['call-id']}\r\nCSeq: {request['cseq']}\r\n{contact}{extra}{kind}",
            body,
        )
