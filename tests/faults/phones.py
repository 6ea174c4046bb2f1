"""User agents on sockets: `Agent` and `Line` of the calls' tests, with real UDP and the manners of
a phone: it answers by itself what comes within a call, and a new call rings until the test answers.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from calls.call_world import SDP, Agent, Line, Message

from bench.sipp import HOST

T1 = 0.5
PATIENCE = 20.0
"""Seconds within which what is waited for has to come."""
SO_TIMESTAMPNS = 35
"""Linux (socket(7)): the kernel says when each datagram came, which may be long before a test reads
it."""
TIMESPEC = struct.Struct("@ll")


class Phones:
    """All phones, and their sockets."""

    def __init__(self) -> None:
        self.serial = itertools.count(1)
        self.agents: dict[tuple[str, int], Agent] = {}
        self.sockets: dict[tuple[str, int], socket.socket] = {}
        self.unacknowledged: dict[tuple[str, int], tuple[Line, Message, float, float]] = {}
        """200s to INVITEs within calls, by Call-ID and CSeq, when they are sent again, and after
        what pause (RFC 3261 §13.3.1.4)."""

    def __enter__(self) -> Phones:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for one in self.sockets.values():
            one.close()

    def phone(self, name: str) -> Phone:
        """A phone at a port of its own. Which switch it talks to is still to be said."""
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return Phone(self, self.bound(one, HOST), name)

    def bound(self, one: socket.socket, host: str) -> tuple[str, int]:
        """It is one of theirs, at any port of that address; which."""
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        one.bind((host, 0))
        address: tuple[str, int] = one.getsockname()
        self.sockets[address] = one
        return address

    def carry(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        """Send it."""
        self.sockets[source].sendto(data, target)

    def settle(self) -> None:
        """What comes is read by `until`."""

    def until(self, there: Callable[[], Any], what: str = "") -> Any:
        """Read what comes until it is there, whatever that is; returns it."""
        end = time.monotonic() + PATIENCE
        while not (found := there()):
            left = end - time.monotonic()
            assert left > 0, f"never came: {what}"
            self.read(min(left, 0.05))
        return found

    def pause(self, seconds: float) -> None:
        """Time goes by."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)

    def read(self, seconds: float) -> None:
        """What comes within that time, at least once."""
        for one in select.select(list(self.sockets.values()), [], [], seconds)[0]:
            data, ancillary, _, source = one.recvmsg(65535, socket.CMSG_SPACE(TIMESPEC.size))
            if data[:1] in b"\x80\x81":
                continue  # audio, for whoever had that port before
            ((_, _, stamp),) = ancillary
            came_at, nanoseconds = TIMESPEC.unpack(stamp)
            here = one.getsockname()
            message = Message(data, source, here, came_at + nanoseconds / 1e9)
            self.agents[here].receive(message)
        for key, (line, invite, due, pause) in list(self.unacknowledged.items()):
            if time.monotonic() > due:
                self.unacknowledged[key] = line, invite, due + 2 * pause, 2 * pause
                line.reply(200, audio(line), to=invite)


class Phone(Agent):
    """An agent with a phone's manners. Each of its calls has a port for its audio."""

    def __init__(self, phones: Phones, address: tuple[str, int], name: str) -> None:
        super().__init__(phones, address, name)  # type: ignore[arg-type]
        self.phones = phones

    def receive(self, message: Message) -> None:
        """Take a message, and answer what a phone answers by itself."""
        super().receive(message)
        line = next((one for one in self.lines if one.call_id == message["call-id"]), None)
        if line is None:
            return
        method = message.method
        if message.status:
            if method == "INVITE" and 200 <= message.status < 300:
                line.ack()
            elif method == "INVITE" and message.status >= 300:
                line.acknowledge(message)
        elif method == "CANCEL":
            line.reply(200, to=message)
            line.reply(487)
        elif method == "INVITE" and message.tag("to"):
            line.reply(200, audio(line), to=message)
            key = line.call_id, message.cseq
            self.phones.unacknowledged[key] = line, message, time.monotonic() + T1, T1
        elif method == "INVITE":
            line.reply(180, to=message)
        elif method == "ACK":
            self.phones.unacknowledged.pop((line.call_id, message.cseq), None)
        else:
            line.reply(200, to=message)

    def dials(self, number: str) -> Line:
        """Call; the call has a port of its own for its audio."""
        return self.call(number, offer(len(self.lines) + self.address[1]))

    def next_line(self, known: int) -> Line:
        """The call that comes in once there are `known`."""
        self.phones.until(lambda: len(self.lines) > known, f"a call for {self.name}")
        return self.lines[known]


def offer(number: int) -> str:
    """A description with a port that belongs to this number."""
    return SDP.replace("40000", str(number % 20_000 * 2 + 20_000))


def audio(line: Line) -> str:
    """The description of this call: always the same."""
    return offer(line.agent.lines.index(line) + line.agent.address[1])


def port(body: str) -> int:
    """Where audio is to go."""
    return int(body.partition("m=audio ")[2].split()[0])


def hears(line: Line) -> int:
    """To which port it sends: that of the last description that came."""
    return next(port(one.body) for one in reversed(line.received) if "m=audio" in one.body)


def came(line: Line, what: str, text: str = "") -> Message | None:
    """The first message of that kind with this in its body."""
    return next((one for one in line.received if one.what == what and text in one.body), None)
