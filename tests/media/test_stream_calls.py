"""Real phones that talk with a real program, through a whole switch; and what is left when somebody
kills what is between."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media.program import Program, Talk, tone
from media.test_speaking import Office, _ports, calls, is_there, wait_for

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
routes:
  - match: "80"
    play: {stream: {url: "URL", parameters: {lang: en}}}
    then: {dial: "1002"}
    else: {play: {tone: 330}}
  - {match: "81", play: {stream: "ws://127.0.0.1:NOBODY/"}, else: {dial: "1002"}}
  - {match: "82", play: {stream: "URL"}}
  - {match: "1XXX", dial: extension}
"""

CONFIG = """
switch: {{name: hq, listen: ["udp:127.0.0.1:{port}"]}}
extensions: {{"1001": {{name: Alice, password: secret}}, "1002": {{password: secret}}}}
dialplan: plan.yaml
timers: {{drain_timeout: 0}}
cds: {{database: hq.db, linger: 0.5}}
"""


def obeys(talk: Talk) -> None:
    """Says what it hears, until a key is pressed: 1: it closes, 2: it breaks down, 3: it says a
    tone, and 4: no more."""
    talk.start()
    speaks = False
    while True:
        message = talk.next()
        if message["event"] == "media" and not speaks:
            talk.send("media", media={"payload": message["media"]["payload"]})
        key = message["dtmf"]["digit"] if message["event"] == "dtmf" else ""
        if key == "1":
            return
        if key == "2":
            talk.connection.close(1011, "no model")
            return
        if key == "3":
            speaks = True
            talk.say(tone(740, 60.0))
            talk.mark("said")
        elif key == "4":
            talk.send("clear")


@pytest.fixture
def program() -> Iterator[Program]:
    with Program(obeys) as program:
        yield program


@pytest.fixture
def office(tmp_path: Path, program: Program) -> Iterator[Office]:
    port = free_port()
    plan = PLAN.replace("URL", program.url).replace("NOBODY", str(free_port()))
    (tmp_path / "plan.yaml").write_text(plan)
    (tmp_path / "hq.yaml").write_text(CONFIG.format(port=port))
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    with office.opened():
        yield office


def facts(office: Office, number: str) -> tuple[str, dict[str, str]]:
    call_id = office.record(number)[0]
    (found,) = [one for one in office.facts(call_id) if one["name"] == "stream"]
    return call_id, found


def start(talk: Talk) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in talk.got if one["event"] == "start")["start"]
    return found


def test_a_phone_and_a_program(office: Office, program: Program) -> None:
    """It hears itself, silences what the program says, and hangs up."""
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", "info")
    calls(alice, "80")
    alice.expect_tone(440, 15)
    alice.send("dtmf 3")
    alice.expect_tone(740, 15)
    alice.send("dtmf 4")
    alice.expect("heard", 15, silent=True)
    alice.send("hangup")
    talk = program.until_over()
    assert talk.code == 1000
    assert talk.events()[-1] == "stop"
    assert [one["mark"]["name"] for one in talk.got if one["event"] == "mark"] == ["said"]
    call_id, found = facts(office, "80")
    said = start(talk)
    assert said["callSid"] == call_id
    assert said["streamSid"] == f"{call_id}/hq/1"
    assert said["customParameters"] == {
        "caller": "1001",
        "callerName": "Alice",
        "callee": "80",
        "lang": "en",
    }
    assert found["host"] == f"127.0.0.1:{program.port}"
    assert found["digits"] == "34"
    assert found["streaming_from"]
    talks = [("extension:1001", "application:stream", "application")]
    assert office.talks(call_id) == talks


@pytest.mark.parametrize("method", ["rfc4733", "info"])
def test_then(office: Office, program: Program, method: str) -> None:
    """The program closes, and a person goes on."""
    bob = office.phone("1002", "--answer", "--tone", "880")
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", method)
    calls(alice, "80")
    alice.expect_tone(440, 15)
    alice.send("dtmf 1")
    alice.expect_tone(880, 15)
    bob.expect_tone(440, 15)
    alice.send("hangup")
    call_id, found = facts(office, "80")
    assert (found["ended"], found["digits"]) == ("closed", "1")
    assert float(found["seconds"]) > 0.2
    assert [to for _, to, _ in office.talks(call_id)] == ["application:stream", "extension:1002"]


def test_else(office: Office, program: Program) -> None:
    """It breaks down; another one is not there at all."""
    bob = office.phone("1002", "--answer", "--tone", "880")
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", "info")
    calls(alice, "80")
    alice.expect_tone(440, 15)
    alice.send("dtmf 2")
    alice.expect_tone(330, 15)
    alice.send("hangup")
    found = facts(office, "80")[1]
    assert (found["ended"], found["error"]) == ("lost", "it closed with 1011: no model")
    alice.expect("ended", 10)
    calls(alice, "81")
    alice.expect_tone(880, 15)
    bob.expect_tone(440, 15)
    alice.send("hangup")
    found = facts(office, "81")[1]
    assert (found["ended"], found["error"]) == ("unreachable", "Connection refused")


def test_neither_then_nor_else(office: Office, program: Program) -> None:
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", "info")
    calls(alice, "82")
    alice.expect_tone(440, 15)
    alice.send("dtmf 1")
    alice.expect("ended", 10, by="remote")
    assert facts(office, "82")[1]["ended"] == "closed"


def test_the_worker_is_killed(office: Office, program: Program) -> None:
    """The caller goes on with `else`, and the program sees that nobody is there."""
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "80")
    alice.expect_tone(440, 15)
    (pid,) = [leg["pid"] for leg in _ports(office)]
    os.kill(pid, signal.SIGKILL)
    assert program.until_over().code == 1006
    alice.expect_tone(330, 20)


def test_the_switch_is_killed(office: Office, program: Program) -> None:
    """Its workers end with it, and say so to the programs."""
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "80")
    alice.expect_tone(440, 15)
    left = office.workers()
    os.kill(office.switch.pid, signal.SIGKILL)
    talk = program.until_over()
    assert talk.code == 1000
    assert talk.events()[-1] == "stop"
    wait_for(lambda: not any(is_there(pid) for pid in left), "workers have ended")


def test_the_switch_stops(office: Office, program: Program) -> None:
    """The program is told."""
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "80")
    alice.expect_tone(440, 15)
    assert office.switch.stop() == 0
    talk = program.until_over()
    assert talk.code == 1000
    assert talk.events()[-1] == "stop"


def test_the_program_of_the_page(tmp_path: Path) -> None:
    """As `docs/streams.md` prints it."""
    page = (Path(__file__).parents[2] / "docs/streams.md").read_text()
    (code,) = re.findall(r"^```python\n(# echo_agent\.py\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 45
    (tmp_path / "echo_agent.py").write_text(code)
    at, sip = free_port(), free_port()
    plan = PLAN.replace("URL", f"ws://127.0.0.1:{at}/").replace("NOBODY", str(free_port()))
    (tmp_path / "plan.yaml").write_text(plan)
    (tmp_path / "hq.yaml").write_text(CONFIG.format(port=sip))
    command = [sys.executable, "echo_agent.py", str(at)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "ready\n"
        office = Office(tmp_path, f"127.0.0.1:{sip}", SwitchChild("hq", tmp_path / "hq.yaml"))
        try:
            office.switch.until_ready(20)
            bob = office.phone("1002", "--answer", "--tone", "880")
            alice = office.phone("1001", "--tone", "440")
            calls(alice, "80")
            alice.expect_tone(440, 15)
            assert agent.stdout.readline() == "1001 calls 80\n"
            alice.send("dtmf 5#")
            assert agent.stdout.readline() == "key 5\n"
            assert agent.stdout.readline() == "key #\n"
            alice.expect_tone(880, 15)
            bob.expect_tone(440, 15)
            alice.send("hangup")
            alice.expect("ended", 10)
            calls(alice, "80")
            alice.expect_tone(440, 15)
            assert agent.stdout.readline() == "1001 calls 80\n"
            alice.send("hangup")
            assert agent.stdout.readline() == "the caller has hung up\n"
        finally:
            for child in (*office.phones, office.switch):
                child.stop()
            agent.kill()


def test_many_calls_one_after_the_other(office: Office, program: Program) -> None:
    """No program is left waiting."""
    alice = office.phone("1001", "--tone", "440")
    for number in range(8):
        calls(alice, "82")
        wait_for(lambda: len(program.talks) > number, "the program is there")  # noqa: B023
        alice.send("hangup")
        alice.expect("ended", 10)
        assert program.until_over().code in (1000, 1006)
