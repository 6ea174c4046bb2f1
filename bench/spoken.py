"""What callers cost whom the switch itself speaks to: ``python -m bench.spoken echo|tone|menu|
voicemail|conference|queue|stream|recorded|tapped|transcoded``. In conferences ten are in each room,
and all speak; in the queue all wait, and hear music. Recorded, tapped and transcoded are calls to
others, who send back what they hear; the latter know another codec only.

So many callers at once, each with its own audio (G.711, 50 packets a second each way). Processor
time is that of the switch and all its workers, per caller and second (not that of the program that
a stream leads to, `bench.agent`); memory (proportional set
size) what comes with the callers. Said as well: packets that did not come back, and of voicemail
the messages that are on disk in the end.
"""

from __future__ import annotations

import argparse
import re
import select
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.asterisk import PLAYS, Asterisk
from bench.process import cpu_seconds, memory_bytes, tree
from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port
from softswitch.phone.tones import sine

PLAN = """
menus: {main: {say: welcome, timeout: 1, tries: 100}}
conferences: {CONFERENCES}
queues: {waits: {agents: ["1001"], empty: wait}}
routes:
  - {match: queue, from: any, play: {queue: waits}}
  - {match: echo, from: any, play: echo}
  - {match: tone, from: any, play: tone}
  - {match: menu, from: any, play: {menu: main}}
ROUTES
  - {match: stream, from: any, play: {stream: "ws://127.0.0.1:AGENT/"}}
  - {match: recorded, from: any, dial: "trunk:callees", record: true}
  - match: tapped
    from: any
    dial: "trunk:callees"
    tap: "ws://127.0.0.1:AGENT/"
  - {match: transcoded, from: any, dial: "trunk:callees"}
  - {match: voicemail, from: any, play: {voicemail: {of: "1001", greeting: welcome}}}
"""
CONFIG = """
switch: {{name: spoken, listen: ["udp:127.0.0.1:{sip}"]}}
extensions: {{"1001": {{password: p, mailbox: true}}}}
trunks:
  callers: {{to: "sip:127.0.0.1:{callers}", keepalive: 0}}
  callees: {{to: "sip:127.0.0.1:{callees}", keepalive: 0}}
dialplan: plan.yaml
media: {{workers: 200, worker_calls: 100000}}
voicemail: {{messages: 100000}}
trace: {{bytes: 0}}
cds: {{database: spoken.db, linger: 1}}
"""
FRAME = 160
PATIENCE = 30.0
IN_A_ROOM = 10
PCMU, PCMA = 0, 8


def ulaw(sample: int) -> int:
    """G.711 μ-law (ITU-T G.711, table 2)."""
    sign = 0x80 if sample < 0 else 0
    value = min(abs(sample), 32635) + 132
    exponent = value.bit_length() - 8
    return ~(sign | exponent << 4 | (value >> (exponent + 3)) & 0x0F) & 0xFF


class Caller:
    """One call, and its audio."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.call_id = f"spoken-{number}@bench"
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind(("127.0.0.1", 0))
        self.rtp.setblocking(False)
        self.to = ""
        self.target = ""
        self.far: tuple[str, int] | None = None
        self.received = 0
        self.loud = 0  # packets with something to be heard

    def sdp(self) -> str:
        port = self.rtp.getsockname()[1]
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )

    def drain(self) -> None:
        try:
            while True:
                data = self.rtp.recv(2048)
                if len(data) > 12 and data[1] & 0x7F == 0:
                    self.received += 1
                    self.loud += any(b not in (0xFF, 0x7F, 0xFE, 0x7E) for b in data[12:])
        except BlockingIOError:
            pass


def ok(request: str, port: int, body: str = "", tag: str = "") -> bytes:
    """A 200 to that."""
    head = re.findall(r"(?im)^((?:via|from|to|call-id|cseq):.*)\r", request)
    if tag:
        head = [f"{line};tag={tag}" if re.match(r"(?i)to:", line) else line for line in head]
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        "SIP/2.0 200 OK\r\n"
        + "\r\n".join(head)
        + f"\r\nContact: <sip:bench@127.0.0.1:{port}>\r\n{kind}"
        + f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Callees:
    """Who is called: they know one codec (a static payload type), and send back what they hear."""

    def __init__(self, codec: int) -> None:
        self._codec = codec
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind(("127.0.0.1", 0))
        self.port = self._sip.getsockname()[1]
        self._calls: dict[str, socket.socket] = {}
        self._on = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._on = False
        self._thread.join()
        for one in (self._sip, *self._calls.values()):
            one.close()

    def _run(self) -> None:
        poll = select.epoll()
        poll.register(self._sip, select.EPOLLIN)
        by_file = {self._sip.fileno(): self._sip}
        while self._on:
            for file, _ in poll.poll(0.1):
                data, source = by_file[file].recvfrom(65535)
                if file != self._sip.fileno():
                    by_file[file].sendto(data, source)
                    continue
                for one in self._message(data.decode(), source):
                    by_file[one.fileno()] = one
                    poll.register(one, select.EPOLLIN)

    def _message(self, text: str, source: tuple[str, int]) -> list[socket.socket]:
        """Answer it; returns the socket of a new call."""
        method = text.split(" ", 1)[0]
        call_id = re.search(r"(?im)^call-id:\s*(\S+)", text)
        if method in ("ACK", "SIP/2.0") or call_id is None:
            return []
        if method != "INVITE":
            self._sip.sendto(ok(text, self.port), source)
            return []
        offer = re.search(r"m=audio \d+ RTP/AVP([ \d]*)", text)
        if offer is not None and str(self._codec) not in offer[1].split():
            self._sip.sendto(
                ok(text, self.port, "", "c").replace(b"200 OK", b"488 Not Acceptable Here"), source
            )
            return []
        new = []
        rtp = self._calls.get(call_id[1])
        if rtp is None:
            rtp = self._calls[call_id[1]] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            rtp.bind(("127.0.0.1", 0))
            new.append(rtp)
        body = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {rtp.getsockname()[1]} RTP/AVP {self._codec}\r\n"
        )
        tag = "" if re.search(r"(?im)^to:.*;tag=", text) else "c"
        self._sip.sendto(ok(text, self.port, body, tag), source)
        return new


class Callers:
    """All of them, by one SIP port, which is a trunk of the switch."""

    def __init__(self, sip: int, most: int) -> None:
        self.sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sip.bind(("127.0.0.1", 0))
        self.port = self.sip.getsockname()[1]
        self.switch = ("127.0.0.1", sip)
        self.all = [Caller(n) for n in range(most)]
        self.by_call = {one.call_id: one for one in self.all}
        self.ended = 0
        self._on = True
        samples = sine(440, 1.0, 8000)
        self._audio = bytes(ulaw(s) for s in samples)

    def request(self, method: str, one: Caller, target: str, cseq: int, body: str = "") -> None:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        to = one.to or f"<{target}>"
        self.sip.sendto(
            (
                f"{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{self.port}"
                f";branch=z9hG4bK{one.number}x{method}{self.port}\r\nMax-Forwards: 70\r\n"
                f"From: <sip:{one.number}@127.0.0.1>;tag=t{one.number}\r\nTo: {to}\r\n"
                f"Call-ID: {one.call_id}\r\nCSeq: {cseq} {method}\r\n"
                f"Contact: <sip:bench@127.0.0.1:{self.port}>\r\n{kind}"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode(),
            self.switch,
        )

    def call(self, number: str, rate: float) -> None:
        """All call; returns when all are answered."""
        for one in self.all:
            room = f"{one.number // IN_A_ROOM}" if number == "conference" else ""
            self.request("INVITE", one, f"sip:{number}{room}@127.0.0.1", 1, one.sdp())
            self.read(1 / rate)
        end = time.monotonic() + PATIENCE
        while any(one.far is None for one in self.all):
            self.read(0.1)
            if time.monotonic() > end:
                left = sum(one.far is None for one in self.all)
                raise SystemExit(f"{left} of {len(self.all)} were not answered")

    def read(self, seconds: float) -> None:
        """What comes by SIP within that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.sip], [], [], left)[0]:
                return
            text = self.sip.recv(65535).decode()
            call_id = re.search(r"(?im)^call-id:\s*(\S+)", text)
            one = self.by_call.get(call_id[1]) if call_id is not None else None
            if one is None:
                continue
            if text.startswith("SIP/2.0 200") and re.search(r"(?im)^cseq: 1 INVITE", text):
                to, contact = (
                    re.search(r"(?im)^to:\s*(.+)\r", text),
                    re.search(r"(?im)^contact:\s*<([^>]+)>", text),
                )
                media = re.search(r"m=audio (\d+)", text)
                assert to is not None
                assert contact is not None
                assert media is not None
                one.to, one.target = to[1], contact[1]
                one.far = ("127.0.0.1", int(media[1]))
                self.request("ACK", one, one.target, 1)
            elif re.match(r"SIP/2.0 [3-6]", text):
                raise SystemExit(f"caller {one.number}: {text.splitlines()[0]}")
            elif text.startswith("BYE"):
                raise SystemExit(f"caller {one.number} was hung up on")
            elif text.startswith("INVITE"):
                # To be recorded it is told of another place.
                media = re.search(r"m=audio (\d+)", text)
                if media is not None:
                    one.far = ("127.0.0.1", int(media[1]))
                self.sip.sendto(ok(text, self.port, one.sdp()), self.switch)
            elif text.startswith("SIP/2.0 200"):
                self.ended += 1

    def speak(self) -> None:
        """Each sends a packet every 20 ms, until `stop`."""
        number = 0
        due = time.monotonic()
        while self._on:
            at = number * FRAME % len(self._audio)
            frame = self._audio[at : at + FRAME]
            for one in self.all:
                if one.far is not None:
                    head = struct.pack(
                        ">BBHII", 0x80, 0, number & 0xFFFF, number * FRAME & 0xFFFFFFFF, one.number
                    )
                    one.rtp.sendto(head + frame, one.far)
                one.drain()
            number += 1
            due += FRAME / 8000
            time.sleep(max(due - time.monotonic(), 0))

    def stop(self) -> None:
        self._on = False

    def hang_up(self) -> None:
        for one in self.all:
            self.request("BYE", one, one.target, 2)
            self.read(0.002)
        end = time.monotonic() + PATIENCE
        while self.ended < len(self.all) and time.monotonic() < end:
            self.read(0.1)


def _plan(callers: int) -> str:
    rooms = range(-(-callers // IN_A_ROOM))
    routes = [
        f"  - {{match: conference{n}, from: any, play: {{conference: room{n}}}}}" for n in rooms
    ]
    named = ", ".join(f"room{n}: {{}}" for n in rooms)
    return PLAN.replace("CONFERENCES", f"{named}").replace("ROUTES", "\n".join(routes))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.spoken")
    parser.add_argument(
        "play",
        choices=[
            *("echo", "tone", "menu", "voicemail", "conference", "queue", "stream"),
            *("recorded", "tapped", "transcoded"),
        ],
    )
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=50.0, help="calls a second")
    parser.add_argument(
        "--asterisk",
        type=Path,
        metavar="ROOT",
        help="measure that of this Debian instead (bench/asterisk.py): echo, conference",
    )
    options = parser.parse_args()
    if options.asterisk is not None and options.play not in PLAYS:
        parser.error(f"Asterisk is asked for {' and '.join(PLAYS)} only")
    with tempfile.TemporaryDirectory(prefix="spoken-") as name:
        folder, sip = Path(name), free_port()
        callers = Callers(sip, options.callers)
        callees = Callees(PCMA if options.play == "transcoded" else PCMU)
        agent = free_port()
        (folder / "plan.yaml").write_text(_plan(options.callers).replace("AGENT", str(agent)))
        (folder / "spoken.yaml").write_text(
            CONFIG.format(sip=sip, callers=callers.port, callees=callees.port)
        )
        switch: SwitchChild | Asterisk = (
            Asterisk(options.asterisk, sip, folder)
            if options.asterisk is not None
            else SwitchChild("spoken", folder / "spoken.yaml")
        )
        program = subprocess.Popen(
            [sys.executable, "-m", "bench.agent", str(agent)], stdout=subprocess.PIPE
        )
        try:
            assert program.stdout is not None
            program.stdout.readline()
            switch.until_ready(20)
            return _measure(options, folder, callers, switch)
        except SystemExit:
            print(switch.recently(), file=sys.stderr)
            raise
        finally:
            callers.stop()
            switch.stop()
            callees.stop()
            program.kill()
            program.wait()


def _measure(
    options: argparse.Namespace,
    folder: Path,
    callers: Callers,
    switch: SwitchChild | Asterisk,
) -> int:
    idle = memory_bytes(switch.pid)
    callers.call(options.play, options.rate)
    speaking = threading.Thread(target=callers.speak)
    speaking.start()
    time.sleep(3.0)
    before, began = cpu_seconds(switch.pid), time.monotonic()
    got = [one.received for one in callers.all]
    end = began + options.seconds
    while time.monotonic() < end:
        callers.read(0.5)
    spent, lasted = cpu_seconds(switch.pid) - before, time.monotonic() - began
    memory, processes = memory_bytes(switch.pid), len(tree(switch.pid))
    packets = [one.received - was for one, was in zip(callers.all, got, strict=True)]
    callers.stop()
    speaking.join()
    callers.hang_up()
    count = options.callers
    print(
        f"{options.play}: {count} callers, {lasted:.0f} s, {processes} processes\n"
        f"  {spent / lasted / count * 1000:.2f} ms of processor time a caller and second\n"
        f"  {(memory - idle) / count / 1e6:.2f} MB a caller (idle: {idle / 1e6:.0f} MB)\n"
        f"  packets that came: {min(packets) / lasted:.1f} to {max(packets) / lasted:.1f} a second;"
        f" callers who heard something: {sum(one.loud > 0 for one in callers.all)}"
    )
    if options.play == "voicemail":
        end = time.monotonic() + 15
        kept = 0
        while kept < count and time.monotonic() < end:
            time.sleep(0.2)
            db = sqlite3.connect(folder / "voicemail" / "voicemail.db")
            (kept,) = db.execute("SELECT count(*) FROM messages WHERE state = 'new'").fetchone()
            db.close()
        print(f"  messages on disk: {kept} of {count}")
        return 0 if kept == count else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
