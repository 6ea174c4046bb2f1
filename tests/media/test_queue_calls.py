"""Queues as people have them: a switch with its workers, callers and agents with audio, all of them
processes, of which the switch is killed; and what the records and reports say of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from media.test_speaking import Office, _tone, calls, wait_for

from cdsplugin.cli import main as cds
from softswitch.control import ask, open_control, put_together
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
queues:
  sales:
    agents: ["1001", "1002"]
    music: music.wav
    ring: 10
    retry: 1
    announce: 0
    choices: {"9": {play: {tone: 700}}}
  hold: {agents: ["1001"], announce: 0}
routes:
  - {match: "500", play: {queue: sales}}
  - {match: "501", play: {queue: hold}}
  - {match: "*45", do: agent}
  - {match: "*46", do: pause}
"""
MUSIC = 523
AGENTS = {"1001": 880, "1002": 1040}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port = free_port()
    (tmp_path / "plan.yaml").write_text(PLAN)
    _tone(tmp_path / "music.wav", MUSIC, 1.0)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        "extensions:\n"
        + "".join(f'  "{n}": {{password: secret}}\n' for n in (1001, 1002, 1003, 1004))
        + "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\ncds: {database: hq.db, linger: 0.5}\n"
    )
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    with office.opened():
        yield office


def status(office: Office, section: str) -> list[dict[str, Any]]:
    told: dict[str, Any] = {}
    with open_control(office.folder / "hq.sock") as stream:
        for piece in ask(stream, "status", sections=[section]):
            put_together(told, piece)
    found: list[dict[str, Any]] = told[section]
    return found


def waiting(office: Office) -> int:
    return next(row["waiting"] for row in status(office, "queues") if row["queue"] == "sales")


def records(office: Office, count: int) -> list[dict[str, Any]]:
    """The final ones of calls to the queue, in order: callID, how its talks came about, facts."""
    query = "SELECT call_id FROM cdrs WHERE dialled = '500' AND final ORDER BY call_id"
    wait_for(lambda: len(office.rows(query)) == count, f"{count} records")
    return [
        {
            "call_id": call_id,
            "talks": [talk[1:] for talk in office.talks(call_id)],
            "facts": office.facts(call_id)[0],
        }
        for (call_id,) in office.rows(query)
    ]


def report(office: Office) -> dict[str, Any]:
    done = CliRunner().invoke(
        cds, ["report", str(office.folder / "hq.db"), "--by", "queue", "--json"]
    )
    assert done.exit_code == 0, done.output
    (line,) = json.loads(done.output)["lines"]
    found: dict[str, Any] = line
    return found


def heard(phone: PhoneChild) -> list[int]:
    """The tones that it has heard, one after the other."""
    return [event["hz"] for event in phone.events if event["event"] == "heard" and event["hz"]]


def hangs_up(phone: PhoneChild, other: PhoneChild) -> None:
    phone.send("hangup")
    phone.expect("ended", 10)
    other.expect("ended", 10, by="remote")


def test_a_caller_waits_and_talks_with_the_agent_that_is_idle_longest(office: Office) -> None:
    first = office.phone("1001", "--tone", str(AGENTS["1001"]))
    second = office.phone("1002", "--tone", str(AGENTS["1002"]))
    caller = office.phone("1003", "--tone", "440")
    calls(caller, "500")
    caller.expect_tone(MUSIC, 10)
    first.expect("incoming", 10)
    assert waiting(office) == 1
    assert heard(caller) == [MUSIC], "no ringing tone"
    first.send("answer")
    caller.expect_tone(AGENTS["1001"], 10)
    first.expect_tone(440, 10)
    assert {row["agent"]: row["state"] for row in status(office, "agents")} == {
        "1001": "talks",
        "1002": "free",
    }
    hangs_up(caller, first)
    calls(caller, "500")
    second.expect("incoming", 10)
    second.send("answer 486")
    second.expect("ended", 10)
    first.expect("incoming", 10)
    first.send("answer")
    caller.expect_tone(AGENTS["1001"], 10)
    hangs_up(first, caller)
    wait_for(lambda: {row["state"] for row in status(office, "agents")} == {"free"}, "both free")
    calls(caller, "500")
    second.expect("incoming", 10)
    second.send("answer")
    caller.expect_tone(AGENTS["1002"], 10)
    hangs_up(caller, second)
    one, two, three = records(office, 3)
    for record, agent in ((one, "1001"), (two, "1001"), (three, "1002")):
        assert record["talks"] == [
            ("application:queue", "application"),
            (f"extension:{agent}", "queue"),
        ]
        facts = record["facts"]
        assert (facts["queue"], facts["outcome"], facts["agent"]) == ("sales", "answered", agent)
        assert 0 <= float(facts["waited"]) < 30
    line = report(office)
    assert (line["queue"], line["offered"], line["answered"]) == ("sales", 3, 3)
    query = "SELECT parties FROM cdrs WHERE dialled = '500' ORDER BY call_id"
    assert [json.loads(parties) for (parties,) in office.rows(query)] == [
        ["extension:1003", "application:queue", f"extension:{agent}"]
        for agent in ("1001", "1001", "1002")
    ]


def test_agents_pause_and_a_key_leads_out(office: Office) -> None:
    """Who is paused is not rung; as soon as it is not, it is. The music is that of the switch."""
    agent = office.phone("1001", "--answer", "--tone", "880")
    caller = office.phone("1003", "--tone", "440")
    agent.send("call *46")
    agent.expect("ended", 10)
    calls(caller, "501")
    wait_for(lambda: any(row["waiting"] for row in status(office, "queues")), "it waits")
    assert {row["agent"]: row["state"] for row in status(office, "agents")}["1001"] == "paused"
    agent.send("call *46")
    caller.expect_tone(880, 10)
    hangs_up(caller, agent)
    agent.send("call *46")
    agent.expect("ended", 10)
    calls(caller, "500")
    caller.expect_tone(MUSIC, 10)
    caller.send("dtmf 9")
    caller.expect_tone(700, 10)
    caller.send("hangup")
    (record,) = records(office, 1)
    assert (record["facts"]["outcome"], record["facts"]["digits"]) == ("exit", "9")


def test_the_switch_is_killed_while_callers_wait(office: Office) -> None:
    """They are hung up on at the restart, and the record says that they were waiting; an agent
    that talks talks on, and who has paused does so yet."""
    first = office.phone("1001", "--answer", "--tone", "880")
    second = office.phone("1002")
    second.send("call *46")
    second.expect("ended", 10)
    callers = [office.phone(number, "--tone", "440") for number in ("1003", "1004")]
    calls(callers[0], "500")
    callers[0].expect_tone(880, 10)
    calls(callers[1], "500")
    callers[1].expect_tone(MUSIC, 10)
    wait_for(lambda: waiting(office) == 1, "one waits")
    os.kill(office.switch.pid, signal.SIGKILL)
    office.switch.stop()
    office.start()
    callers[1].expect("ended", 10, by="remote")
    assert not any(event["event"] == "ended" for event in callers[0].events)
    hangs_up(callers[0], first)
    talked, waited = records(office, 2)
    assert talked["facts"]["outcome"] == "answered"
    assert [how for _, how in talked["talks"]] == ["application", "queue"]
    assert waited["facts"]["outcome"] == "waiting"
    assert [how for _, how in waited["talks"]] == ["application"]
    line = report(office)
    assert (line["offered"], line["answered"], line["abandoned"]) == (2, 1, 1)
    assert {row["agent"]: row["state"] for row in status(office, "agents")}["1002"] == "paused"
