"""Mutated datagrams beside calls of real phones: `python -m bench.mutations`.

A switch has calls with audio up while a stranger and a trunk send it messages with bytes changed,
cut, doubled and swapped. All calls must live, each phone must hear the other, nothing may be
raised, and afterwards the switch must hold nothing of it.
"""

from __future__ import annotations

import argparse
import random
import re
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from softswitch.lab.children import LabError, PhoneChild, SwitchChild
from softswitch.lab.ports import free_port

CALLS_OF_A_PHONE = 4
HZ = 660.0
CONFIG = """
switch: {{name: hq, listen: "udp:127.0.0.1:{sip}", journal: off}}
extensions:
{extensions}
trunks: {{odd: {{to: "sip:127.0.0.1:{trunk}", keepalive: 0}}}}
dialplan: plan.yaml
log: {{file: said.log}}
cds: {{database: hq.db, api: {{listen: "127.0.0.1:{api}", tokens: [t]}}}}
"""
_HEAD = (
    "Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{n}\r\n"
    'From: "Mallory" <sip:m@127.0.0.1>;tag=f{n}\r\nTo: <sip:9999@127.0.0.1>{tag}\r\n'
    "Call-ID: c{n}@127.0.0.1\r\nCSeq: {n} {method}\r\nContact: <sip:m@127.0.0.1:{port}>\r\n"
    "Max-Forwards: 70\r\nUser-Agent: mutant/1\r\n"
)
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
)
_METHODS = (
    "REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE", "PRACK", "REFER",
    "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "FOO",
)  # fmt: skip
_PIECES = (
    b"\r\n", b"\r\n\r\n", b";", b"=", b"\"", b"<", b">", b",", b"%00", b"\x00", b"\xff", b"sip:",
    b"SIP/2.0", b"Content-Length: -1\r\n", b"Content-Length: 99999\r\n", b"Via: ", b"\r\n\t",
    b"z9hG4bK", b"999999999999999999999", b"[::1]", b"Authorization: Digest x\r\n",
)  # fmt: skip


def messages(chance: random.Random, port: int) -> Iterator[bytes]:
    """Requests and responses without end, each mutated."""
    n = 0
    while True:
        n += 1
        method = chance.choice(_METHODS)
        tag = chance.choice(("", ";tag=x"))
        head = _HEAD.format(port=port, n=n, method=method, tag=tag)
        if chance.random() < 0.2:
            start = f"SIP/2.0 {chance.choice((100, 180, 200, 302, 401, 486, 503, 606))} So\r\n"
        else:
            start = f"{method} sip:{chance.choice(('9999', '1001', ''))}@127.0.0.1 SIP/2.0\r\n"
        body = _SDP if method == "INVITE" or chance.random() < 0.1 else ""
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = f"{start}{head}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        yield mutated(text.encode(), chance)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A message with one to four things wrong."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + chance.choice(_PIECES) + data[at:]
        elif kind == 3:
            lines = data.split(b"\r\n")
            chance.shuffle(lines)
            data = b"\r\n".join(lines)
        elif kind == 4:
            lines = data.split(b"\r\n")
            lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
            data = b"\r\n".join(lines)
        else:
            data = data[:at] + data[at : at + 40] * chance.randint(2, 30) + data[at:]
        data = data[:60_000] or b"x"
    return data


@dataclass(frozen=True, slots=True)
class Found:
    """What became of it: datagrams sent, calls that lived and were heard on both sides, whether the
    switch said of anything that it was raised, what it still held afterwards."""

    sent: int
    calls: int
    good: int
    raised: bool
    left: dict[str, float]


def run(folder: Path, datagrams: int, seconds: float, calls: int, seed: int = 1) -> Found:
    """One run. Raises `LabError` if a phone or the switch dies."""
    phones = -(-calls // CALLS_OF_A_PHONE)
    ports = {"sip": free_port(), "trunk": free_port(), "api": free_port()}
    numbers = [(str(1000 + n), str(2000 + n)) for n in range(phones)]
    people = "".join(f'  "{n}": {{password: p{n}}}\n' for pair in numbers for n in pair)
    (folder / "plan.yaml").write_text('routes: [{match: "[12]XXX", from: any, dial: extension}]\n')
    (folder / "hq.yaml").write_text(CONFIG.format(extensions=people, **ports))
    with ExitStack() as stack:
        switch = SwitchChild("hq", folder / "hq.yaml")
        stack.callback(switch.stop)
        switch.until_ready(20)

        def phone(number: str, *more: str) -> PhoneChild:
            child = PhoneChild(
                number, "--registrar", f"127.0.0.1:{ports['sip']}", "--user", number,
                "--password", f"p{number}", "--tone", str(HZ), *more,
            )  # fmt: skip
            stack.callback(child.stop)
            return child

        callees = [phone(callee, "--answer") for _, callee in numbers]
        callers = [phone(caller) for caller, _ in numbers]
        for child in (*callees, *callers):
            child.expect("registered", 20)
        for n in range(calls):
            callers[n // CALLS_OF_A_PHONE].send(f"call {numbers[n // CALLS_OF_A_PHONE][1]}")
        for n in range(calls):
            callers[n // CALLS_OF_A_PHONE].expect("answered", 30)
        sent = _send(datagrams, seconds, ports["sip"], ports["trunk"], seed)
        switch.check()
        good = 0
        for child in callers:
            mine = min(CALLS_OF_A_PHONE, calls - CALLS_OF_A_PHONE * callers.index(child))
            ended = [event for event in child.events if event["event"] == "ended"]
            heard = {e["call"] for e in child.events if e["event"] == "heard" and _is_tone(e)}
            good += len(heard) if not ended and len(heard) == mine else 0
        for child in (*callers, *callees):
            child.send("quit")
        for child in (*callers, *callees):
            child.stop()
        left = _held(ports["api"])
        switch.stop()
        said = (folder / "said.log").read_text()
        return Found(sent, calls, good, "Traceback" in said, left)


def _is_tone(event: dict[str, object]) -> bool:
    hz = event.get("hz")
    return isinstance(hz, int | float) and abs(hz - HZ) < 5


def _send(datagrams: int, seconds: float, port: int, trunk: int, seed: int) -> int:
    """From a stranger and from a trunk, evenly over the time."""
    chance = random.Random(seed)
    began = time.monotonic()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as known,
    ):
        stranger.bind(("127.0.0.1", 0))
        known.bind(("127.0.0.1", trunk))
        sources = [(one, messages(chance, one.getsockname()[1])) for one in (stranger, known)]
        for n in range(datagrams):
            one, made = sources[n % 2]
            one.sendto(next(made), ("127.0.0.1", port))
            late = began + seconds * (n + 1) / datagrams - time.monotonic()
            if late > 0.002:
                time.sleep(late)
    return datagrams


def _held(api: int, within: float = 40.0) -> dict[str, float]:
    """What the switch's tables hold: looked at until it is nothing, for so many seconds."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{api}/metrics", headers={"Authorization": "Bearer t"}
    )
    end = time.monotonic() + within
    while True:
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read().decode()
        tables = re.findall(r'^softswitch_entries\{table="(\w+)"\} (\S+)$', text, re.M)
        left = {
            name: float(count)
            for name, count in tables
            if float(count) and name in ("calls", "legs", "numbers", "lines")
        }
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datagrams", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = run(Path(folder), args.datagrams, args.seconds, args.calls, args.seed)
        except LabError as error:
            sys.exit(str(error))
    print(
        f"{found.sent} mutated datagrams beside {found.calls} calls: {found.good} calls good,"
        f" {'something was raised' if found.raised else 'nothing raised'}, left: {found.left or 0}"
    )
    sys.exit(0 if found.good == found.calls and not found.raised and not found.left else 1)


if __name__ == "__main__":
    main()
