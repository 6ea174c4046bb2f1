"""SIGKILL in mid call, and what the switch does when it is started again. Real processes."""

from __future__ import annotations

import re
import select
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from calls.call_world import answer

from bench.sipp import HOST, sipp_callee, start_caller
from softswitch.calls import is_failure
from softswitch.disk.journal_file import JournalFile
from softswitch.events import (
    CallEnded,
    CallerTold,
    CallRestored,
    CallStarted,
    Event,
    LegAnswered,
    SwitchStarted,
)
from softswitch.lab.ports import free_port
from tests.switch_process import PATIENCE, PLAN, SDP, Peer, Running, answered

RECORDER = """
import os, sys
from pathlib import Path
import msgspec
from softswitch.configuration import load_config
from softswitch.hookspecs import hookimpl, make_plugins
from softswitch.process import run

path = Path(sys.argv[1])
file = os.open(path.with_suffix(".events"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

class Plugin:
    @hookimpl
    def call_event(self, event):
        os.write(file, msgspec.json.encode(event) + b"\\n")

plugins = make_plugins()
plugins.register(Plugin())
sys.exit(run(load_config(path), plugins))
"""


@dataclass
class Site:
    """A configuration, its switches one after the other, and all events that they told."""

    config: Path
    port: int
    running: list[Running]

    @property
    def journal(self) -> Path:
        return self.config.with_name("hq.calls")

    def start(self) -> Running:
        switch = Running(self.config, (sys.executable, "-c", RECORDER))
        self.running.append(switch)
        assert switch.port == self.port
        return switch

    def restart(self) -> Running:
        """SIGKILL, and start again."""
        self.running[-1].kill()
        return self.start()

    def events(self) -> list[Event]:
        decode = msgspec.json.Decoder(Event).decode
        return [
            decode(line) for line in self.config.with_suffix(".events").read_bytes().splitlines()
        ]

    def rows(self) -> int:
        """How many calls are in the journal of a switch that has ended."""
        journal = JournalFile(self.journal)
        try:
            return sum(not is_failure(row) for _, row in journal.rows())
        finally:
            journal.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@pytest.fixture
def peers() -> Iterator[tuple[Peer, Peer]]:
    both = Peer(), Peer()
    yield both
    for peer in both:
        peer.socket.close()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(caller: int, callee: int, more: str = "", port: int = 0) -> Site:
        port = port or free_port()
        config = tmp_path / f"{len(made)}.yaml"
        config.write_text(
            f'switch: {{name: hq, listen: ["udp:127.0.0.1:{port}"]}}\n'
            "trunks:\n"
            f'  caller: {{to: "sip:127.0.0.1:{caller}", keepalive: 0}}\n'
            f'  callee: {{to: "sip:127.0.0.1:{callee}", keepalive: 0}}\n'
            f"dialplan: plan.yaml\n{more}\n"
        )
        (tmp_path / "plan.yaml").write_text(PLAN)
        made.append(Site(config, port, []))
        return made[-1]

    yield make
    for site in made:
        for switch in site.running:
            if switch.process.poll() is None:
                switch.kill()
            assert "Traceback" not in switch.said, switch.said


def of(events: list[Event], kind: type[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_call_outlives_sigkill(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer], who: str
) -> None:
    caller, callee = peers
    site = make_site(caller.port, callee.port)
    site.start()
    call_id, tag = answered(site.port, caller, callee)
    told = site.events()
    switch = site.restart()
    # Both are asked whether they are there, in their own dialogs.
    asked = caller.get("OPTIONS")
    assert call_id in asked
    assert f"From: <sip:1@127.0.0.1>{tag}" in asked
    caller.reply(asked, 200)
    other = callee.get("OPTIONS")
    callee.reply(other, 200)
    assert int(re.search(r"CSeq: (\d+)", other)[1]) > 10_000
    if who == "caller":
        caller.request("BYE", site.port, tag, call_id)
        callee.reply(callee.get("BYE"), 200)
        assert "BYE" in caller.get("SIP/2.0 200")
    else:
        lines = re.findall(r"(?:From|To|Call-ID): [^\r]*\r\n", other)
        from_, to = (next(x for x in lines if x.startswith(y)) for y in ("From", "To"))
        callee.send(
            f"BYE sip:127.0.0.1:{site.port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{callee.port};branch=z9hG4bKbye\r\n"
            f"From{to[2:]}To{from_[4:]}Call-ID{other.partition('Call-ID')[2].partition(chr(13))[0]}"
            "\r\nCSeq: 77 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            site.port,
        )
        caller.reply(caller.get("BYE"), 200)
        assert "BYE" in callee.get("SIP/2.0 200")
    switch.process.terminate()
    assert switch.ends() == 0
    assert site.rows() == 0
    events = site.events()
    (restored,) = of(events, CallRestored)
    assert list(restored.told) == [event for event in told if not isinstance(event, SwitchStarted)]
    for kind in (CallStarted, LegAnswered, CallEnded):
        assert len(of(events, kind)) == 1
    (end,) = of(events, CallEnded)
    assert (end.disposition, end.hangup_by) == ("answered", who)


def test_a_ringing_call_ends(make_site: Callable[..., Site], peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    site = make_site(caller.port, callee.port)
    site.start()

    caller.request("INVITE", site.port, body=SDP)
    callee.reply(callee.get("INVITE"), 180)
    caller.get("SIP/2.0 180")
    switch = site.restart()
    assert "switch restarted" in caller.get("SIP/2.0 503")
    callee.reply(callee.get("CANCEL"), 200)
    switch.process.terminate()
    assert switch.ends() == 0
    assert site.rows() == 0
    (end,) = of(site.events(), CallEnded)
    assert (end.disposition, end.reason) == ("failed", "switch restarted")


def test_an_invite_that_comes_again_is_no_second_call(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    """Its 200 was lost with the kill: it comes again, and the callee hears nothing of it. So it is
    with a failure, whichever way the switch ended."""
    caller, callee = peers
    site = make_site(caller.port, callee.port)
    site.start()
    call_id = caller.request("INVITE", site.port, body=SDP)
    callee.reply(callee.get("INVITE"), 200, SDP)
    tag = re.search(r"To: [^\r]*?(;tag=[^;\r]*)", caller.get("SIP/2.0 200"))[1]
    failed = caller.request("INVITE", site.port, body=SDP)
    callee.reply(callee.get("INVITE"), 486)
    caller.get("SIP/2.0 486")
    switch = site.restart()

    def again(serial: int, call_id: str) -> None:
        caller.serial = serial - 1
        caller.request("INVITE", site.port, call_id=call_id, body=SDP)

    again(1, call_id)
    assert f"{tag}\r\nCall-ID: {call_id}" in caller.get("SIP/2.0 200")
    caller.serial = 10
    caller.request("ACK", site.port, tag, call_id)
    again(2, failed)
    assert failed in caller.get("SIP/2.0 486")
    caller.serial = 11
    caller.request("BYE", site.port, tag, call_id)
    with pytest.raises(AssertionError, match=r"no .INVITE"):
        callee.get("INVITE", seconds=0.2)
    switch.process.terminate()
    switch.ends()
    site.start()
    again(2, failed)
    assert failed in caller.get("SIP/2.0 486")
    events = site.events()
    first, second = (event.call_id for event in of(events, CallStarted))
    # Killed at once after its 486, the switch may tell the end of that call once more.
    assert {(end.call_id, end.disposition) for end in of(events, CallEnded)} == {
        (first, "answered"),
        (second, "busy"),
    }


def test_a_clean_stop_leaves_an_empty_journal(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    caller, callee = peers
    site = make_site(caller.port, callee.port, "timers: {drain_timeout: 0}")
    switch = site.start()
    answered(site.port, caller, callee)
    switch.process.terminate()
    for peer in peers:
        peer.reply(peer.get("BYE"), 200)
    assert switch.ends() == 0
    assert site.rows() == 0
    site.start()
    assert of(site.events(), CallRestored) == []


def test_two_switches_with_one_journal(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    """The second does without; it neither tells of the first one's calls nor ends them."""
    caller, callee = peers
    first, second = (make_site(caller.port, callee.port) for _ in range(2))
    first.start()
    answered(first.port, caller, callee)
    switch = second.start()
    assert (
        "another process has it; calls and registrations will not outlive this process"
        in switch.said
    )
    assert [type(event) for event in second.events()] == [SwitchStarted]
    answered(second.port, caller, callee)


@pytest.mark.parametrize("what", ["nonsense", "another version", "a directory"])
def test_a_journal_that_is_none(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer], what: str
) -> None:
    caller, callee = peers
    site = make_site(caller.port, callee.port)
    if what == "nonsense":
        site.journal.write_bytes(b"no database at all" * 1000)
    elif what == "another version":
        with closing(sqlite3.connect(site.journal)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        site.journal.mkdir()
    switch = site.start()
    if what == "a directory":
        assert (
            "Is a directory; calls and registrations will not outlive this process" in switch.said
        )
        answered(site.port, caller, callee)
        return
    assert "put aside as hq.calls.unreadable" in switch.said
    assert site.journal.with_name("hq.calls.unreadable").exists()
    answered(site.port, caller, callee)
    site.restart()
    assert len(of(site.events(), CallRestored)) == 1


def test_no_journal(make_site: Callable[..., Site], peers: tuple[Peer, Peer]) -> None:
    caller, callee = peers
    site = make_site(caller.port, callee.port)
    text = site.config.read_text().replace("name: hq,", "name: hq, journal: off,")
    site.config.write_text(text)
    site.start()
    call_id, tag = answered(site.port, caller, callee)
    site.restart()
    assert not site.journal.exists()
    assert [type(event) for event in site.events()].count(SwitchStarted) == 2
    caller.request("BYE", site.port, tag, call_id)
    assert "BYE" in caller.get("SIP/2.0 481")


def test_a_port_in_use_keeps_the_journal(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    caller, callee = peers
    site = make_site(caller.port, callee.port)
    site.start()
    answered(site.port, caller, callee)
    site.running[-1].kill()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", site.port))
        switch = Running(site.config)
        assert switch.ends() == 1
    assert site.rows() == 1
    switch = site.start()
    assert "restarted: 1 calls go on" in switch.said


def register(phone: Peer, port: int) -> None:
    """As extension 1001, with its password."""
    name = "1001"
    uri = f"sip:127.0.0.1:{port}"

    def send(more: str = "") -> str:
        phone.serial += 1
        phone.send(
            f"REGISTER {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{phone.port};branch=z9hG4bKr{phone.serial};rport\r\n"
            f"From: <sip:{name}@127.0.0.1>;tag=r\r\nTo: <sip:{name}@127.0.0.1>\r\n"
            f"Call-ID: register@{phone.port}\r\nCSeq: {phone.serial} REGISTER\r\n"
            f"Contact: <sip:{name}@127.0.0.1:{phone.port}>\r\nExpires: 3600\r\n"
            f"Max-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n",
            port,
        )
        return phone.get("SIP/2.0")

    challenge = re.search(r"WWW-Authenticate: ([^\r]*)", send())
    assert challenge is not None
    credentials = answer(challenge[1], "REGISTER", uri, name, "secret", "cnonce")
    assert send(f"Authorization: {credentials}\r\n").startswith("SIP/2.0 200")


def with_extension(make_site: Callable[..., Site], caller: Peer) -> Site:
    """Whatever is dialled there is extension 1001."""
    site = make_site(caller.port, free_port(), 'extensions: {"1001": {password: secret}}')
    plan = 'routes: [{match: ".", from: any, dial: "1001", timeout: 20}]\n'
    site.config.with_name("plan.yaml").write_text(plan)
    return site


def test_a_phone_can_be_called_after_sigkill(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    """Its 200 came once the registration was on disk, so a kill right after it undoes nothing."""
    caller, phone = peers
    site = with_extension(make_site, caller)
    site.start()
    register(phone, site.port)
    switch = site.restart()
    assert "extensions still registered: 1" in switch.said
    caller.request("INVITE", site.port, body=SDP)
    invite = phone.get("INVITE sip:1001@")
    phone.reply(invite, 486)
    caller.get("SIP/2.0 486")
    switch.process.terminate()  # an orderly end does not undo it either
    assert switch.ends() == 0
    switch = site.start()
    assert "extensions still registered: 1" in switch.said


SLOW_TO_STOP = RECORDER.replace(
    "plugins = make_plugins()",
    """import asyncio
class Slow:
    @hookimpl
    async def stop(self):
        print("slow to stop", file=sys.stderr, flush=True)
        await asyncio.sleep(1.5)

plugins = make_plugins()
plugins.register(Slow())""",
)


def test_nothing_is_answered_that_would_not_be_kept(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    """While the plugins stop the journal is closed already: a REGISTER gets no answer any more."""
    caller, phone = peers
    site = with_extension(make_site, caller)
    switch = Running(site.config, (sys.executable, "-c", SLOW_TO_STOP))
    site.running.append(switch)
    assert switch.port == site.port
    register(phone, site.port)
    switch.process.terminate()
    switch.until("slow to stop")
    phone.request("REGISTER", site.port)
    with pytest.raises(AssertionError, match=r"no .SIP/2\.0. came"):
        phone.get("SIP/2.0", seconds=1.0)
    assert switch.ends() == 0
    assert "extensions still registered: 1" in site.start().said


def acknowledged(messages: Path) -> set[str]:
    """The calls of which SIPp's callee has seen an ACK."""
    return set(re.findall(r"\nACK .*?\nCall-ID: *(\S+)", messages.read_text(), re.S))


def test_sipp_load_with_sigkill(make_site: Callable[..., Site], tmp_path: Path) -> None:
    """A hundred calls up, SIGKILL, restart: every BYE is carried, each call is told once."""
    caller_port = free_port()
    calls = 100
    messages = tmp_path / "callee.messages"
    traced = ("-aa", "-trace_msg", "-message_file", str(messages))
    with sipp_callee("uas-answered", args=traced) as callee, ExitStack() as stack:
        site = make_site(caller_port, callee.port)
        site.start()
        running = start_caller(
            "uac-answered",
            f"{HOST}:{site.port}",
            calls=calls,
            rate=100,
            hold_ms=8000,
            number="1",
            port=caller_port,
            timeout=40,
            args=("-aa",),
        )
        stack.callback(running.process.kill)
        # A caller hears of the answer, and acknowledges it, once the call is in the journal.
        until(lambda: messages.is_file() and len(acknowledged(messages)) == calls)
        assert of(site.events(), CallEnded) == []
        switch = site.restart()
        result = running.wait(45)
        until(lambda: len(of(site.events(), CallEnded)) >= calls)
    assert (result.successful, result.failed) == (calls, 0), str(result)
    assert f"restarted: {calls} calls go on, 0 were not answered" in switch.said
    switch.process.terminate()
    assert switch.ends() == 0
    assert site.rows() == 0
    events = site.events()
    answers = {event.call_id: event.at for event in of(events, LegAnswered)}
    ends = {event.call_id: event for event in of(events, CallEnded)}
    assert len(of(events, CallEnded)) == len(ends) == len(answers) == calls
    for call_id, end in ends.items():
        assert (end.disposition, end.hangup_by) == ("answered", "caller")
        assert 7.9 < (end.at - answers[call_id]) / 1e6 < 11


def test_one_true_record(make_site: Callable[..., Site], peers: tuple[Peer, Peer]) -> None:
    """With a call data server: start and answer from before the SIGKILL, the end from after it."""
    caller, callee = peers
    site = make_site(caller.port, callee.port, "cds: {database: hq.db, linger: 0.1}")
    site.running.append(Running(site.config))
    assert site.running[-1].port == site.port
    began = time.time()
    call_id, tag = answered(site.port, caller, callee)
    up = time.time()
    caller.request("INVITE", site.port, body=SDP)
    callee.reply(callee.get("INVITE"), 180)
    site.running[-1].kill()
    site.running.append(switch := Running(site.config))
    assert switch.port == site.port
    again = time.time()
    for peer in peers:
        peer.reply(peer.get("OPTIONS"), 200)
    caller.serial = 100
    caller.request("BYE", site.port, tag, call_id)
    callee.reply(callee.get("BYE"), 200)
    switch.process.terminate()
    assert switch.ends() == 0
    with closing(sqlite3.connect(site.config.with_name("hq.db"))) as database:
        found = database.execute(
            "SELECT started_at, answered_at, ended_at, disposition, hangup_by, final, sip_status "
            "FROM cdrs ORDER BY started_at"
        ).fetchall()
    first, second = found
    started, answer, end = (datetime.fromisoformat(text).timestamp() for text in first[:3])
    assert began <= started <= answer <= up
    assert again - 1 <= end <= time.time()
    assert first[3:] == ("answered", "caller", 1, 200)
    assert (second[1], second[3:6]) == (None, ("failed", "switch", 1))


class TcpPeer(Peer):
    """A trunk over TCP, which takes connections at the port that its Contact names."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.serial = 0
        self.line: socket.socket | None = None
        self.read = b""

    def get(self, start: str, seconds: float = PATIENCE) -> str:
        while True:
            if self.line is None:
                self.socket.settimeout(seconds)
                self.line, self.switch = self.socket.accept()
            self.line.settimeout(seconds)
            while b"\r\n\r\n" not in self.read:
                chunk = self.line.recv(65536)
                assert chunk, f"closed before {start!r}"
                self.read += chunk
            head, _, rest = self.read.partition(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            while len(rest) < length:
                rest += self.line.recv(65536)
            text = (head + b"\r\n\r\n" + rest[:length]).decode()
            self.read = rest[length:]
            if text.startswith(start):
                return text

    def send(self, text: str, to: int) -> None:
        text = text.replace("SIP/2.0/UDP", "SIP/2.0/TCP").replace(
            f"127.0.0.1:{self.port}>", f"127.0.0.1:{self.port};transport=tcp>"
        )
        if self.line is None:
            self.line = socket.create_connection(("127.0.0.1", to))
        self.line.sendall(text.encode())

    def lost(self) -> None:
        """The switch is dead, and so is the connection."""
        assert self.line is not None
        self.line.close()
        self.line, self.read = None, b""


def test_a_leg_over_tcp_is_connected_to_again(make_site: Callable[..., Site]) -> None:
    caller, callee = TcpPeer(), Peer()
    site = make_site(caller.port, callee.port, "timers: {drain_timeout: 0}")
    port = site.port
    text = site.config.read_text().replace(
        f'"udp:127.0.0.1:{port}"', f'"udp:127.0.0.1:{port}", "tcp:127.0.0.1:{port}"'
    )
    text = text.replace(f'127.0.0.1:{caller.port}"', f'127.0.0.1:{caller.port};transport=tcp"')
    site.config.write_text(text)
    site.start()
    call_id, tag = answered(port, caller, callee)
    site.running[-1].kill()
    caller.lost()
    site.start()
    for peer in (caller, callee):
        peer.reply(peer.get("OPTIONS"), 200)
    caller.request("INFO", port, tag, call_id)
    callee.reply(callee.get("INFO"), 200)
    assert "INFO" in caller.get("SIP/2.0 200")
    site.running[-1].process.terminate()
    for peer in (caller, callee):
        peer.reply(peer.get("BYE"), 200)
    assert site.running[-1].ends() == 0
    assert site.rows() == 0
    for sock in (caller.socket, caller.line, callee.socket):
        sock.close()


def stopped_with_its_answer(site: Site, caller: Peer, callee: Peer) -> str:
    """The Call-ID of a call that was answered, and whose caller has not heard of it, as the switch
    was stopped in between. There is a tenth of a second for that: who is late tries again."""
    process = site.running[-1].process
    for attempt in range(1, 20):
        call_id = caller.request("INVITE", site.port, body=SDP)
        callee.reply(callee.get("INVITE"), 200, SDP)
        while len(of(site.events(), LegAnswered)) < attempt:
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        if not select.select([caller.socket], [], [], 0)[0]:
            return call_id
        process.send_signal(signal.SIGCONT)
        caller.get("SIP/2.0 200")
    raise AssertionError("always too late")


def test_stopped_before_the_answer_has_left(
    make_site: Callable[..., Site], peers: tuple[Peer, Peer]
) -> None:
    """SIGSTOP: the call is answered when the caller hears of it."""
    caller, callee = peers
    site = make_site(caller.port, callee.port, "timers: {store_every: 0.1}")
    switch = site.start()
    stopped_with_its_answer(site, caller, callee)
    time.sleep(2.0)
    switch.process.send_signal(signal.SIGCONT)
    caller.get("SIP/2.0 200")
    heard = time.time_ns() // 1000
    until(lambda: bool(of(site.events(), CallerTold)))
    leg, (told,) = of(site.events(), LegAnswered)[-1], of(site.events(), CallerTold)
    assert (told.call_id, told.leg) == (leg.call_id, 0)
    assert told.at - leg.at > 2_000_000
    assert abs(told.at - heard) < 300_000
