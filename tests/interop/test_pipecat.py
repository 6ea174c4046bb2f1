"""Pipecat 1.14 as the program of a stream: it takes the switch for Twilio, hears and speaks, gets
keys, interrupts what it says, and ends with the call or before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pipecat_agent
import pytest
from media.test_speaking import Office, calls
from pipecat_agent import PipecatAgent

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

CONFIG = """
switch: {{name: hq, listen: ["udp:127.0.0.1:{port}"]}}
extensions: {{"1001": {{name: Alice, password: secret}}, "1002": {{password: secret}}}}
dialplan: plan.yaml
cds: {{database: hq.db, linger: 0.5}}
"""

PLAN = """
routes:
  - match: "80"
    play: {{stream: {{url: "{url}", parameters: {{language: en}}}}}}
    then: {{dial: "1002"}}
  - {{match: "1XXX", dial: extension}}
"""


@pytest.fixture
def agent() -> Iterator[PipecatAgent]:
    pipecat_agent.require()
    agent = PipecatAgent()
    try:
        yield agent
    finally:
        agent.stop()
    assert not agent.errors


@pytest.fixture
def office(tmp_path: Path, agent: PipecatAgent) -> Iterator[Office]:
    port = free_port()
    (tmp_path / "plan.yaml").write_text(PLAN.format(url=agent.url))
    (tmp_path / "hq.yaml").write_text(CONFIG.format(port=port))
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    try:
        office.switch.until_ready(20)
        yield office
    finally:
        for child in (*office.phones, office.switch):
            child.stop()


def test_talks_and_is_interrupted(office: Office, agent: PipecatAgent) -> None:
    """The caller hears itself, then a minute's tone until a key takes it back."""
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", "info")
    calls(alice, "80")
    start = agent.expect("start", 15)
    alice.expect_tone(440, 15)

    alice.send("dtmf 3")
    agent.expect("key", 15, key="3")
    agent.expect("sent", 15, what="mark")
    alice.expect_tone(740, 15)
    alice.send("dtmf 4")
    agent.expect("key", 15, key="4")
    agent.expect("sent", 15, what="clear")
    agent.expect("got", 15, what="mark")  # what was before it has a minute
    alice.expect_tone(440, 15)

    alice.send("hangup")
    agent.expect("got", 15, what="stop")
    agent.expect("gone", 15)
    agent.expect("over", 15)
    call_id, _, party, hangup_by, _ = office.record("80")
    assert (party, hangup_by) == ("application:stream", "caller")
    assert start == {
        "event": "start",
        "provider": "twilio",
        "stream": f"{call_id}/hq/1",
        "call": call_id,
        "parameters": {"caller": "1001", "callerName": "Alice", "callee": "80", "language": "en"},
    }
    (facts,) = office.facts(call_id)
    assert facts["digits"] == "34"
    assert office.talks(call_id) == [("extension:1001", "application:stream", "application")]


def test_its_pipeline_ends(office: Office, agent: PipecatAgent) -> None:
    """It closes, and the caller goes on to a person; then it is there for the next call."""
    bob = office.phone("1002", "--answer", "--tone", "880")
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "80")
    alice.expect_tone(440, 15)
    alice.send("dtmf #")
    agent.expect("key", 15, key="#")
    agent.expect("over", 15)
    alice.expect_tone(880, 15)
    bob.expect_tone(440, 15)
    alice.send("hangup")
    alice.expect("ended", 10)
    call_id = office.record("80")[0]
    (facts,) = office.facts(call_id)
    assert (facts["ended"], facts["digits"]) == ("closed", "#")
    assert [to for _, to, _ in office.talks(call_id)] == ["application:stream", "extension:1002"]

    calls(alice, "80")
    alice.expect_tone(440, 15)
    alice.send("hangup")
    agent.expect("over", 15)
