"""A switch as a process: start, signals, drain, reload. Real processes, real sockets."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from softswitch.process import STOPPED, TimerDriver
from softswitch.sip.timers import Timers
from softswitch.sip.transport import Transport
from tests.switch_process import PATIENCE, PLAN, SDP, Peer, Running, answered

Start = Callable[..., Running]


@pytest.fixture
def caller() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.socket.close()


@pytest.fixture
def callee() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.socket.close()


@pytest.fixture
def start(tmp_path: Path, caller: Peer, callee: Peer) -> Iterator[Start]:
    running: list[Running] = []

    def run(
        listen: str = "udp:127.0.0.1:0", timers: str = "", wait: bool = True, way: str = ""
    ) -> Running:
        config = tmp_path / f"{len(running)}.yaml"
        config.write_text(
            f'switch: {{name: hq, listen: ["{listen}"]}}\n'
            "trunks:\n"
            f'  caller: {{to: "sip:127.0.0.1:{caller.port}", keepalive: 0}}\n'
            f'  callee: {{to: "sip:127.0.0.1:{callee.port}{way}", keepalive: 0}}\n'
            f"dialplan: plan.yaml\ntimers: {{{timers}}}\n"
        )
        (tmp_path / "plan.yaml").write_text(PLAN)
        running.append(switch := Running(config))
        if wait:
            assert switch.port
        return switch

    yield run
    for switch in running:
        if switch.process.poll() is None:
            switch.process.kill()
            switch.process.wait()
        assert switch.process.stderr is not None
        switch.process.stderr.close()
        assert "Traceback" not in switch.said, switch.said


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_port_in_use(start: Start, kind: str) -> None:
    family = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, family) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        switch = start(f"{kind}:127.0.0.1:{port}", wait=False)
        assert switch.ends() == 1
    said = switch.said.strip()
    assert (
        said == f"softswitch hq: cannot listen on {kind}:127.0.0.1:{port}: Address already in use"
    )


def test_an_address_of_another_machine(start: Start) -> None:
    switch = start("udp:192.0.2.1:5060", wait=False)
    assert switch.ends() == 1
    assert len(switch.said.strip().splitlines()) == 1
    assert "cannot listen on udp:192.0.2.1:5060" in switch.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_switch_stops_at_once(start: Start, number: signal.Signals) -> None:
    switch = start()
    began = time.monotonic()
    switch.process.send_signal(number)
    assert switch.ends() == 0
    assert time.monotonic() - began < 5
    assert switch.said.rstrip().endswith("softswitch hq stopped")


PLUGIN = """
import os, signal, sys
from pathlib import Path
from softswitch.configuration import load_config
from softswitch.hookspecs import hookimpl, make_plugins
from softswitch.process import run

class Plugin:
    @hookimpl
    async def start(self, config):
        print("started", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

    @hookimpl
    async def stop(self):
        print("stopped in order", file=sys.stderr)

plugins = make_plugins()
plugins.register(Plugin())
sys.exit(run(load_config(Path(sys.argv[1])), plugins))
"""


def test_a_signal_before_it_is_ready(start: Start) -> None:
    """What plugins have begun by then, a database opened, say, is ended in order."""
    config = start(wait=False).config
    done = subprocess.run(
        [sys.executable, "-c", PLUGIN, str(config)],
        capture_output=True,
        timeout=PATIENCE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "started" in done.stderr
    assert "stopped in order" in done.stderr


WATCHES_COLLECTIONS = """
import gc, os, signal, sys
from pathlib import Path
from softswitch.configuration import load_config
from softswitch.hookspecs import hookimpl, make_plugins
from softswitch.process import run

def collects(phase, info):
    if phase == "start" and info["generation"] == 2:
        os.write(2, b"collects\\n")

class Watching:
    @hookimpl
    def start(self):
        gc.callbacks.append(collects)

plugins = make_plugins()
plugins.register(Watching())
sys.exit(run(load_config(Path(sys.argv[1])), plugins))
"""


def test_calls_do_not_wait_for_a_collection(start: Start) -> None:
    """It is over when the switch is ready: calls that go on after a restart would wait for it."""
    config = start(wait=False).config
    switch = Running(config, [sys.executable, "-c", WATCHES_COLLECTIONS])
    try:
        assert switch.port
        assert "collects" in switch.said
        assert "collects" not in switch.said.partition(" ready on ")[2]
        switch.process.terminate()
        assert switch.process.stderr is not None
        assert b"collects" not in switch.process.stderr.read()
    finally:
        switch.process.kill()
        switch.process.wait()


PLUGINS_THAT_FAIL = """
import asyncio, os, signal, sys
from pathlib import Path
from softswitch.configuration import load_config
from softswitch.hookspecs import hookimpl, make_plugins
from softswitch.process import run

def say(text):
    print(text, file=sys.stderr)

class First:
    @hookimpl(tryfirst=True)
    async def start(self):
        await asyncio.sleep(0.05)
        say("first started")

    @hookimpl
    async def stop(self):
        say("first stopped")

class Second:
    @hookimpl
    def start(self):
        say("second")
        if sys.argv[2] == "start":
            raise RuntimeError("its disk\\nis full")
        os.kill(os.getpid(), signal.SIGTERM)

    @hookimpl(tryfirst=True)
    def stop(self):
        say("second stopped")
        raise RuntimeError("cannot stop")

class Third:
    @hookimpl(trylast=True)
    def start(self):
        say("third")

    @hookimpl
    def stop(self):
        say("third stopped")

plugins = make_plugins()
for plugin in (Third(), Second(), First()):
    plugins.register(plugin)
sys.exit(run(load_config(Path(sys.argv[1])), plugins))
"""


def test_a_plugin_that_cannot_start(start: Start) -> None:
    """It and those after it had no start, so they get no stop; those before it do."""
    config = start(wait=False).config
    done = subprocess.run(
        [sys.executable, "-c", PLUGINS_THAT_FAIL, str(config), "start"],
        capture_output=True,
        timeout=PATIENCE,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "first started",
        "second",
        "softswitch hq: its disk is full",
        "first stopped",
    ]


def test_a_plugin_that_cannot_stop_keeps_no_other_from_it(start: Start) -> None:
    config = start(wait=False).config
    done = subprocess.run(
        [sys.executable, "-c", PLUGINS_THAT_FAIL, str(config), "stop"],
        capture_output=True,
        timeout=PATIENCE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "failed to stop" in done.stderr
    told = [line for line in done.stderr.splitlines() if line.endswith(" stopped")]
    assert told[0] == "second stopped"
    assert {"first stopped", "third stopped"} < set(told)


def test_sigterm_drains(start: Start, caller: Peer, callee: Peer) -> None:
    switch = start()
    port = switch.port
    call_id, tag = answered(port, caller, callee)
    switch.process.send_signal(signal.SIGTERM)
    switch.until("1 calls in progress")
    new = caller.request("INVITE", port, body=SDP)
    refused = caller.get("SIP/2.0 503")
    assert new in refused
    assert "Retry-After" in refused
    # The call in progress goes on as if nothing was.
    caller.request("INFO", port, tag, call_id)
    callee.reply(callee.get("INFO"), 200)
    caller.get("SIP/2.0 200")
    assert switch.process.poll() is None
    caller.request("BYE", port, tag, call_id)
    callee.reply(callee.get("BYE"), 200)
    caller.get("SIP/2.0 200")
    began = time.monotonic()
    assert switch.ends() == 0
    assert time.monotonic() - began < 5, "it ends with its last call, not later"


def test_calls_that_outlast_the_drain_are_ended(start: Start, caller: Peer, callee: Peer) -> None:
    switch = start(timers="drain_timeout: 1")
    answered(switch.port, caller, callee)
    began = time.monotonic()
    switch.process.send_signal(signal.SIGTERM)
    for peer in (caller, callee):
        bye = peer.get("BYE")
        assert "stopping" in bye
        assert 0.9 < time.monotonic() - began < 10
        peer.reply(bye, 200)
    assert switch.ends() == 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_sigint_or_a_second_sigterm_ends_calls_now(
    start: Start, caller: Peer, callee: Peer, first: signal.Signals
) -> None:
    switch = start(timers="drain_timeout: 600")
    answered(switch.port, caller, callee)
    began = time.monotonic()
    switch.process.send_signal(first)
    if first == signal.SIGTERM:
        switch.until("1 calls in progress")
        switch.process.send_signal(signal.SIGTERM)
    for peer in (caller, callee):
        peer.reply(peer.get("BYE"), 200)
    assert switch.ends() == 0
    assert time.monotonic() - began < 10


def test_peers_that_do_not_say_goodbye(start: Start, caller: Peer, callee: Peer) -> None:
    """The BYEs are not answered: the switch does not wait for that for ever."""
    switch = start()
    answered(switch.port, caller, callee)
    switch.process.send_signal(signal.SIGINT)
    assert switch.ends() == 0
    assert "2 legs did not say goodbye" in switch.said


def test_an_invite_that_was_written_to_a_dead_connection(
    start: Start, caller: Peer, callee: Peer
) -> None:
    """The callee resets its connection with the INVITE unread: it comes by another at once."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", callee.port))
        listener.listen()
        listener.settimeout(PATIENCE)
        switch = start('udp:127.0.0.1:0", "tcp:127.0.0.1:0', way=";transport=tcp")
        caller.request("INVITE", switch.port, body=SDP)
        first, _ = listener.accept()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert first.recv(1, socket.MSG_PEEK) == b"I"
        first.close()
        began = time.monotonic()
        second, _ = listener.accept()
        second.settimeout(PATIENCE)
        assert second.recv(65535).startswith(b"INVITE ")
        assert time.monotonic() - began < 2, "no timer had to run for that"
        second.close()
        listener.close()
        caller.get("SIP/2.0 500")


def test_a_ringing_call_at_the_end(start: Start, caller: Peer, callee: Peer) -> None:
    switch = start()
    caller.request("INVITE", switch.port, body=SDP)
    invite = callee.get("INVITE")
    callee.reply(invite, 180)
    caller.get("SIP/2.0 180")
    switch.process.send_signal(signal.SIGINT)
    caller.get("SIP/2.0 503")
    cancel = callee.get("CANCEL")
    callee.reply(cancel, 200)
    callee.reply(invite, 487)
    assert switch.ends() == 0


KEEP_ALIVE = (
    b"OPTIONS sip:hq@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\n"
    b"From: <sip:a@127.0.0.1>;tag=t\r\nTo: <sip:hq@127.0.0.1>\r\nCall-ID: 1\r\n"
    b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_what_came_while_it_was_stopped_is_heard_before_its_timers(kind: str) -> None:
    """A SIGSTOP, or a machine that was paused: the answers lay there all the while."""
    heard: list[str] = []

    async def stopped() -> None:
        loop = asyncio.get_running_loop()
        transport = Transport(loop, lambda message, flow: heard.append("message"))
        address = await transport.listen(kind, "127.0.0.1", 0)
        timers = Timers(loop.time)
        driver = TimerDriver(loop, timers, transport.catch_up)
        timers.after(0.02, lambda: heard.append("timer"))
        family = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
        first, second = socket.socketpair()
        with first, second, socket.socket(socket.AF_INET, family) as peer:
            peer.connect(address)
            await asyncio.sleep(0.01)  # TCP: accepted

            def stop() -> None:
                loop.remove_reader(first)
                peer.send(KEEP_ALIVE)
                time.sleep(2 * STOPPED)

            # While it reads: what comes first after that are the loop's timers.
            loop.add_reader(first, stop)
            second.send(b"x")
            await asyncio.sleep(3 * STOPPED)
        driver.close()
        await transport.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(stopped())
    assert heard == ["message", "timer"]


def test_the_dialplan_is_taken_up_when_it_changes(
    start: Start, caller: Peer, callee: Peer, tmp_path: Path
) -> None:
    switch = start()
    port = switch.port
    call_id, tag = answered(port, caller, callee)
    plan = tmp_path / "plan.yaml"
    plan.write_text('routes:\n  - {match: "1", from: any, status: 486, reason: Changed}\n')
    switch.until("taken up")
    caller.request("INVITE", port, body=SDP)
    assert "Changed" in caller.get("SIP/2.0 486")
    plan.write_text('routes:\n  - {match: "1", form: any, status: 603}\n')
    switch.until("not taken up")
    assert re.search(r"plan\.yaml:2:\d+", switch.said), "file, line and column"
    caller.request("INVITE", port, body=SDP)
    assert "Changed" in caller.get("SIP/2.0 486")
    plan.unlink()
    switch.until("plan.yaml")
    plan.write_text('routes:\n  - {match: "1", from: any, status: 600, reason: Again}\n')
    end = time.monotonic() + PATIENCE
    while True:
        caller.request("INVITE", port, body=SDP)
        try:
            caller.get("SIP/2.0 600 Again", 0.3)
            break
        except AssertionError:
            assert time.monotonic() < end, "the file that came back was not taken up"
    caller.request("BYE", port, tag, call_id)
    callee.reply(callee.get("BYE"), 200)
    assert "BYE" in caller.get("SIP/2.0 200"), "no call was dropped"


def test_sighup_reads_all_of_it_again_and_kills_nothing(
    start: Start, caller: Peer, callee: Peer
) -> None:
    switch = start()
    port = switch.port
    call_id, tag = answered(port, caller, callee)
    switch.process.send_signal(signal.SIGHUP)
    switch.until("taken up: nothing has changed")
    was = switch.config.read_text()
    switch.config.write_text(was.replace("  callee:", "  calle:"))
    switch.until("not taken up")
    switch.until("there is no trunk `callee`")
    # The trunk of a call in progress goes; a limit comes, and what needs a restart is named.
    plan = switch.config.with_name("plan.yaml")
    plan.write_text('routes:\n  - {match: "1", from: any, status: 486}\n')
    switch.config.write_text(
        was.replace("  callee:", "  other:").replace("udp:127.0.0.1:0", "udp:127.0.0.1:1")
        + "limits: {max_calls: 1}\n"
    )
    switch.process.send_signal(signal.SIGHUP)
    switch.until("only a restart changes this: switch.listen")
    assert "taken up: 1 trunk added, 1 trunk removed, dialplan with 1 routes, switch, limits" in (
        switch.said
    )
    caller.request("INVITE", port, body=SDP)
    assert "Retry-After" in caller.get("SIP/2.0 503")
    caller.request("BYE", port, tag, call_id)
    callee.reply(callee.get("BYE"), 200)
    assert "BYE" in caller.get("SIP/2.0 200"), "no call was dropped"
    caller.request("INVITE", port, body=SDP)
    assert "486" in caller.get("SIP/2.0 486")


def test_a_mistaken_configuration_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("switch: {nam: hq}\ndialplan: none.yaml\n")
    switch = Running(tmp_path / "c.yaml")
    assert switch.ends() == 2
    assert "Traceback" not in switch.said
