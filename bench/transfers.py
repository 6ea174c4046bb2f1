"""CPU of one transferred call inside the switch, sockets left out: `python -m bench.transfers`.

As `bench.hotpath`, and with its call beside them: a call answered and hung up (`plain`), one whose
callee sends the caller on to a third party (`blind`), and one whose callee calls the third party
and brings the two together (`attended`: two calls that become one). Each is all that is sent and
received from the first INVITE to the last BYE, the peers' part of it included.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.hotpath import SDP, Wire, call_in_steps
from bench.hotpath import Net as OneCallee
from softswitch.configuration import load_config
from softswitch.hookspecs import make_plugins
from softswitch.sip.parser import parse
from softswitch.sip.tokens import Tokens
from softswitch.switch import Switch

CONFIG = """
switch: {name: bench, listen: ["udp:127.0.0.1:5060"]}
trunks:
  caller: {to: "sip:127.0.0.1:5080", keepalive: 0}
  callee: {to: "sip:127.0.0.1:5090", keepalive: 0, refer: true}
  third: {to: "sip:127.0.0.1:5070", keepalive: 0}
dialplan: plan.yaml
limits: {max_calls: 1000000, max_dialogs: 2000000, max_transactions: 5000000}
"""
PLAN = """
routes:
  - {match: "3001", from: any, dial: "trunk:third", timeout: 60}
  - {match: ".", from: "trunk:caller", dial: "trunk:callee", timeout: 60}
"""
KEPT = (b"via", b"from", b"to", b"call-id", b"cseq")
TYPE = "Content-Type: application/sdp\r\n"


class Peer(Wire):
    """A flow that keeps all that was sent until it is taken."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.sent: deque[bytes] = deque()

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        self.last = data
        self.sent.append(data)


class Net(OneCallee):
    """All peers, by their ports."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Peer("127.0.0.1", 5080)
        self.callee = Peer("127.0.0.1", 5090)
        self.third = Peer("127.0.0.1", 5070)

    def flow_to(
        self, transport: str, host: str, port: int, listener: str = "", peer: str = ""
    ) -> Wire:
        return {5080: self.caller, 5090: self.callee, 5070: self.third}[port]


class Party:
    """One side of a dialog: just enough SIP to begin it or to answer in it."""

    def __init__(self, switch: Switch, flow: Peer, number: str) -> None:
        self.receive = switch.transactions.receive
        self.flow = flow
        self.call_id = number
        self.cseq = 0
        self.near = f"<sip:{number}@127.0.0.1>;tag={number}"
        self.far = ""
        self.took = b""

    def take(self, start: bytes) -> bytes:
        """What was sent to it next, which has to begin so."""
        self.took = self.flow.sent.popleft()
        assert self.took.startswith(start), self.took
        return self.took

    def header(self, name: bytes) -> str:
        """Of what it took last."""
        at = self.took.index(b"\r\n" + name + b": ") + len(name) + 4
        return self.took[at : self.took.index(b"\r\n", at)].decode()

    def ask(self, method: str, more: str = "", body: bytes = b"", number: str = "") -> None:
        """Send a request; an ACK is of the last INVITE."""
        if method != "ACK":
            self.cseq += 1
        uri = f"sip:{number}@127.0.0.1:5060" if number else "sip:127.0.0.1:5060"
        port = self.flow.remote[1]
        text = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};"
            f"branch=z9hG4bK-{self.call_id}-{self.cseq}-{method}\r\nFrom: {self.near}\r\n"
            f"To: {self.far or f'<{uri}>'}\r\nCall-ID: {self.call_id}\r\n"
            f"CSeq: {self.cseq} {method}\r\nContact: <sip:127.0.0.1:{port}>\r\n"
            f"Max-Forwards: 70\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        )
        self.receive(parse(text.encode() + body), self.flow)

    def invite(self, number: str) -> None:
        """Call."""
        self.ask("INVITE", TYPE, SDP, number)

    def answered(self) -> None:
        """Its INVITE is answered: acknowledge it."""
        while not self.take(b"SIP/2.0").startswith(b"SIP/2.0 200"):
            pass
        self.far = self.header(b"To")
        self.ask("ACK")

    def invited(self) -> None:
        """An INVITE came: what its dialog is."""
        self.take(b"INVITE")
        self.call_id = self.header(b"Call-ID")
        self.far = self.header(b"From")
        self.near = f"{self.header(b'To')};tag=called"

    def reply(self, status: str, more: str = "", body: bytes = b"") -> None:
        """Answer what it took last."""
        lines = [
            line
            for line in self.took.partition(b"\r\n\r\n")[0].split(b"\r\n")
            if line.partition(b":")[0].lower() in KEPT
        ]
        lines = [
            line + b";tag=called" if line[:3] == b"To:" and b"tag=" not in line else line
            for line in lines
        ]
        port = self.flow.remote[1]
        head = b"\r\n".join([f"SIP/2.0 {status}".encode(), *lines])
        tail = f"\r\nContact: <sip:127.0.0.1:{port}>\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        self.receive(parse(head + tail.encode() + body), self.flow)

    def accept(self) -> None:
        """With a description."""
        self.reply("200 OK", TYPE, SDP)

    def hang_up(self) -> None:
        """BYE, and its answer."""
        self.ask("BYE")
        self.take(b"SIP/2.0 200")

    def hung_up(self) -> None:
        """A BYE came."""
        self.take(b"BYE")
        self.reply("200 OK")


def connected(switch: Switch, net: Net, number: int) -> tuple[Party, Party]:
    """Caller and callee in a call."""
    caller = Party(switch, net.caller, f"{number}-a")
    callee = Party(switch, net.callee, "")
    caller.invite("2001")
    callee.invited()
    callee.reply("180 Ringing")
    callee.accept()
    callee.take(b"ACK")
    caller.answered()
    return caller, callee


def blind(switch: Switch, net: Net, number: int) -> None:
    """The callee sends the caller on, and hangs up."""
    caller, callee = connected(switch, net, number)
    third = Party(switch, net.third, "")
    callee.ask("REFER", "Refer-To: <sip:3001@127.0.0.1>\r\n")
    callee.take(b"SIP/2.0 202")
    callee.take(b"NOTIFY")
    callee.reply("200 OK")
    third.invited()
    third.reply("180 Ringing")
    callee.take(b"NOTIFY")
    callee.reply("200 OK")
    third.accept()
    third.take(b"ACK")
    caller.take(b"INVITE")
    caller.accept()
    caller.take(b"ACK")
    callee.take(b"NOTIFY")
    callee.reply("200 OK")
    callee.hang_up()
    caller.hang_up()
    third.hung_up()


def attended(switch: Switch, net: Net, number: int) -> None:
    """The callee calls somebody, brings both together, and hangs up."""
    caller, callee = connected(switch, net, number)
    asks = Party(switch, net.callee, f"{number}-b")
    third = Party(switch, net.third, "")
    asks.invite("3001")
    third.invited()
    third.reply("180 Ringing")
    third.accept()
    third.take(b"ACK")
    asks.answered()
    tag = asks.far.partition(";tag=")[2]
    callee.ask(
        "REFER",
        f"Refer-To: <sip:3001@127.0.0.1?Replaces={asks.call_id}%3Bto-tag%3D{tag}"
        f"%3Bfrom-tag%3D{asks.call_id}>\r\n",
    )
    callee.take(b"SIP/2.0 202")
    callee.take(b"NOTIFY")
    callee.reply("200 OK")
    caller.take(b"INVITE")
    caller.accept()
    third.take(b"INVITE")
    third.accept()
    third.take(b"ACK")
    caller.take(b"ACK")
    callee.take(b"NOTIFY")
    callee.reply("200 OK")
    asks.hung_up()
    callee.hang_up()
    caller.hang_up()
    third.hung_up()


def plain(switch: Switch, net: Net, number: int) -> None:
    """As `bench.hotpath` has it."""
    for _ in call_in_steps(switch, net, number):
        pass
    net.callee.sent.clear()


KINDS: dict[str, Callable[[Switch, Net, int], None]] = {
    "plain": plain,
    "blind": blind,
    "attended": attended,
}


def measure(kind: str, calls: int) -> tuple[float, dict[str, int]]:
    """Seconds of CPU of so many calls of that kind, and what is left in the switch afterwards."""
    now = 0.0
    net = Net()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "switch.yaml").write_text(CONFIG)
        (path / "plan.yaml").write_text(PLAN)
        switch = Switch(
            load_config(path / "switch.yaml"),
            make_plugins(),
            net,
            clock=lambda: now,
            now_us=lambda: time.time_ns() // 1000,
            tokens=Tokens(),
        )
        switch.opened()
        began = time.process_time()
        for number in range(calls):
            KINDS[kind](switch, net, number)
            now += 0.001
            if number % 5 == 4:
                switch.timers.advance()
        spent = time.process_time() - began
        now += 100
        switch.timers.advance()
        return spent, {name: count for name, count in switch.tables().items() if count}


def rounds(kinds: list[str], calls: int, times: int) -> Iterator[tuple[str, float, dict[str, int]]]:
    """The best of several rounds of each kind, in turn, so that none has the machine to itself."""
    best: dict[str, float] = {}
    left: dict[str, dict[str, int]] = {}
    for _ in range(times):
        for kind in kinds:
            spent, left[kind] = measure(kind, calls)
            best[kind] = min(spent, best.get(kind, spent))
    for kind in kinds:
        yield kind, best[kind] / calls, left[kind]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=5_000)
    parser.add_argument("--only", choices=tuple(KINDS), help="this kind alone")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    gc.disable()
    kinds = [args.only] if args.only else list(KINDS)
    for kind, each, left in rounds(kinds, args.calls, args.rounds):
        print(f"{kind}: {each * 1e6:.1f} us a call, the peers' part included; left: {left}")


if __name__ == "__main__":
    main()
