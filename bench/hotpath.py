"""CPU of one answered call inside the switch, sockets left out: `python -m bench.hotpath [CALLS]`.

Feeds a real `Switch` the datagrams of a caller and a callee and throws away what it sends, so that
the figure is the Python of a call alone: parsing, transactions, dialogs, the call, its events.
`--profile` prints where the time goes.

`--hold N` keeps N calls up. `--journal` writes them down as `softswitch run` does at 1,000 calls a
second: a batch each 5 ms, in which every call is a step further. `--log N` writes the lines of N
calls a second, of the 1,000 that there are. `--trace` keeps the messages, as sockets do.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from softswitch.calls.journal import Journal
from softswitch.config import Log as Settings
from softswitch.config import Trace as Traced
from softswitch.configuration import load_config
from softswitch.disk.journal_file import JournalFile
from softswitch.hookspecs import make_plugins
from softswitch.log import CallLog, Log
from softswitch.sip.kept import Ring
from softswitch.sip.message import Request, Response
from softswitch.sip.parser import parse
from softswitch.sip.tokens import Tokens
from softswitch.switch import Switch
from softswitch.trace import Dialogs

CONFIG = """
switch: {name: bench, listen: ["udp:127.0.0.1:5060"]}
trunks:
  caller: {to: "sip:127.0.0.1:5080", keepalive: 0}
  callee: {to: "sip:127.0.0.1:5090", keepalive: 0}
dialplan: plan.yaml
limits: {max_calls: 1000000, max_dialogs: 2000000, max_transactions: 5000000}
"""
PLAN = """
routes:
  - {match: ".", from: "trunk:caller", dial: "trunk:callee", timeout: 60}
"""
SDP = (
    b"v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n"
    b"t=0 0\r\nm=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


US = ("127.0.0.1", 5060)


class Wire:
    """A flow that keeps the last datagram sent."""

    reliable = False
    transport = "udp"
    sent_by = "127.0.0.1:5060"
    listener = ""
    peer = ""

    def __init__(self, host: str, port: int) -> None:
        self.remote = (host, port)
        self.last = b""

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self.last = data


class KeptWire(Wire):
    """One whose messages are kept in `ring`, as sockets do."""

    ring: Ring

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self.last = data
        self.ring.entries.append((time.time(), True, "udp", US, self.remote, data))


def parse_and_keep(data: bytes) -> Request | Response:
    """What came, kept as well."""
    ring = KeptWire.ring
    ring.entries.append((time.time(), False, "udp", US, US, data))
    if len(ring.entries) > ring.due:
        ring.settle()
    return parse_only(data)


parse_only = parse


class Net:
    """Both peers."""

    def __init__(self) -> None:
        self.callee = Wire("127.0.0.1", 5090)

    def flow_to(
        self, transport: str, host: str, port: int, listener: str = "", peer: str = ""
    ) -> Wire:
        return self.callee


BATCH = 5
"""Calls that begin in one turn of the outbox: `timers.store_every` at 1,000 calls a second."""


def call(switch: Switch, net: Net, number: int) -> Callable[[], None]:
    """One answered call; returns what hangs it up."""
    steps = call_in_steps(switch, net, number)
    for _ in range(3):
        next(steps)
    return partial(_finish, steps)


def _finish(steps: Iterator[None]) -> None:
    next(steps, None)


def call_in_steps(switch: Switch, net: Net, number: int) -> Iterator[None]:
    """One answered call, step by step: it rings, is answered, acknowledged, hung up."""
    a = Wire("127.0.0.1", 5080)
    receive = switch.transactions.receive
    head = (
        f"Via: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK-{number}-%s\r\n"
        f"From: sipp <sip:sipp@127.0.0.1:5080>;tag={number}SIPp\r\n"
        "To: <sip:2001@127.0.0.1:5060>%s\r\n"
        f"Call-ID: {number}-1@127.0.0.1\r\nCSeq: %s\r\nContact: <sip:sipp@127.0.0.1:5080>\r\n"
        "Max-Forwards: 70\r\n%sContent-Length: %d\r\n\r\n"
    )

    def say(line: str, branch: str, tag: str, cseq: str, more: str = "", body: bytes = b"") -> None:
        text = f"{line} SIP/2.0\r\n" + head % (branch, tag, cseq, more, len(body))
        receive(parse(text.encode() + body), a)

    def reply(to: bytes, status: str, more: str = "", body: bytes = b"") -> None:
        # What the callee itself has to do is no matter here: no more than its answers need.
        echoed = to[: to.index(b"\r\n", to.index(b"\r\nCSeq:") + 2)]
        keep = [
            line + (b";tag=callee1" if line.startswith(b"To:") and b"tag=" not in line else b"")
            for line in echoed.split(b"\r\n")
            if line[:4] in (b"Via:", b"From", b"Call", b"CSeq") or line[:3] == b"To:"
        ]
        head = b"\r\n".join([f"SIP/2.0 {status}".encode(), *keep])
        tail = f"\r\nContact: <sip:127.0.0.1:5090>\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        receive(parse(head + tail.encode() + body), net.callee)

    sdp = "Content-Type: application/sdp\r\n"
    say("INVITE sip:2001@127.0.0.1:5060", "1", "", "1 INVITE", sdp, SDP)
    invite = net.callee.last
    reply(invite, "180 Ringing")
    yield
    reply(invite, "200 OK", sdp, SDP)
    yield
    answer = a.last
    at = answer.index(b"\r\nTo:")
    to = answer[at : answer.index(b"\r\n", at + 2)].decode()
    tag = ";tag=" + to.partition(";tag=")[2]
    say("ACK sip:127.0.0.1:5060", "2", tag, "1 ACK")
    yield
    say("BYE sip:127.0.0.1:5060", "3", tag, "2 BYE")
    reply(net.callee.last, "200 OK")


def make_switch(
    folder: Path, clock: Callable[[], float], call_log: CallLog | None = None
) -> tuple[Switch, Net]:
    """A switch on a fake network."""
    (folder / "switch.yaml").write_text(CONFIG)
    (folder / "plan.yaml").write_text(PLAN)
    net = Net()
    switch = Switch(
        load_config(folder / "switch.yaml"),
        make_plugins(),
        net,
        clock=clock,
        now_us=lambda: time.time_ns() // 1000,
        tokens=Tokens(),
    )
    switch.call_log = call_log
    switch.opened()
    return switch, net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=20_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--journal", action="store_true")
    parser.add_argument("--log", type=int, default=0, help="calls a second in the log")
    parser.add_argument("--trace", action="store_true", help="keep the messages")
    parser.add_argument("--hold", type=int, default=0, help="calls up at once")
    args = parser.parse_args()
    now = 0.0
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Settings(file=Path(folder) / "bench.log"))
        log.open()
        call_log = CallLog(log, args.log) if args.log else None
        switch, net = make_switch(Path(folder), lambda: now, call_log)
        if args.trace:
            KeptWire.ring = Ring(Traced().bytes)
            # In their place: a run without it has the same frame as ever, and compares.
            globals().update(Wire=KeptWire, parse=parse_and_keep)
            switch.dialogs = Dialogs()
        gc.disable()
        file = JournalFile(Path(folder) / "bench.calls") if args.journal else None
        if file is not None:
            switch.journal = Journal(switch.timers, file)
        journal = switch.journal
        # Calls by the step that they are at: `stages[0]` ring, the last are up.
        stages: list[deque[Iterator[None]]] = [deque(), deque(), deque()]

        def turn() -> None:
            """Every call is a step further, as far as no more than `--hold` are to be up."""
            while len(stages[2]) > args.hold:
                next(stages[2].popleft(), None)
            for before, after in ((1, 2), (0, 1)):
                while stages[before]:
                    steps = stages[before].popleft()
                    next(steps)
                    stages[after].append(steps)

        def store() -> None:
            if journal is not None:
                ended = journal.ended()
                journal.commit()
                journal.end(ended)

        def run() -> None:
            nonlocal now
            for number in range(args.calls):
                steps = call_in_steps(switch, net, number)
                next(steps)
                stages[0].append(steps)
                now += 0.001
                if call_log is not None and number % 1000 == 999:
                    call_log.next_second()
                if number % BATCH == BATCH - 1:
                    store()
                    turn()
                    switch.timers.advance()
            args.hold = 0
            while any(stages):
                turn()
                store()

        profile = cProfile.Profile()
        start = time.process_time()
        if args.profile:
            profile.runcall(run)
        else:
            run()
        if file is not None:
            file.close()
        log.close()
        spent = time.process_time() - start
        print(f"{spent / args.calls * 1e6:.1f} us a call, the peers' part included")
        if args.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        now += 100
        switch.timers.advance()
        print({name: count for name, count in switch.tables().items() if count}, gc.collect())


if __name__ == "__main__":
    main()
