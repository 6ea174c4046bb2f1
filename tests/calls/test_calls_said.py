"""What the switch says of its calls: each in the log from its route to its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, PLAN, SDP, Agent, World
from calls.test_answered import answered, parties
from calls.transfers import phones, refer, talk
from softswitch.config import Log as Settings
from softswitch.log import CallLog, Log
from softswitch.sip.digest import answer


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(Settings(file=tmp_path / "said.log"))
    log.open()
    yield log
    log.close()


def said(log: Log) -> list[str]:
    """All lines, without times and callIDs."""
    assert log.writer.flush()
    assert log.writer.path is not None
    lines = log.writer.path.read_text().splitlines()
    return [re.sub(r"[-0-9a-f]{36}", "ID", line.split(" ", 2)[2]) for line in lines]


def test_an_answered_call(world: World, log: Log) -> None:
    world.switch.call_log = CallLog(log, 50)
    _, b = answered(world)
    world.run(7)
    b.bye()
    begins, *found = said(log)
    assert re.fullmatch(
        r'INFO calls: ID begins: trunk:caller \(alice\) "alice" calls 85550100, route 8\. '
        r"\(\S*plan\.yaml:\d+\) as 5550100",
        begins,
    ), begins
    assert found == [
        "INFO calls: ID answered by trunk:pstn (5550100), PCMA/8000",
        "INFO calls: ID ends: answered for 7.0 s, 200, by the callee",
    ]


def test_a_transferred_call(world: World, log: Log) -> None:
    alice, bob, carol = phones(world)
    world.switch.call_log = CallLog(log, 50)
    a, b = talk(alice, bob)
    refer(b, "1003")
    carol.line.reply(200, ANSWER)
    a.reply(200, SDP)
    world.run(3)
    a.bye()
    assert said(log)[-3:] == [
        "INFO calls: ID is transferred by extension:1002 to 1003 (blind-transfer)",
        "INFO calls: ID is transferred by extension:1002 to 1003 (blind-transfer): 200",
        "INFO calls: ID ends: answered for 3.0 s, 200, by the caller",
    ]


def test_a_call_without_a_route_is_refused_aloud(world: World, log: Log) -> None:
    world.switch.call_log = CallLog(log, 50)
    caller, _ = parties(world)
    caller.call("7")
    assert said(log) == [
        "WARNING calls: a call of trunk:caller (udp:10.1.0.1:5060) to '7' is refused: 404 No Route"
    ]


def test_phones_that_come_and_go(world: World, log: Log) -> None:
    phone = world.phone("1001", "10.9.0.1")
    phone.register(extra="User-Agent: M\xfcller/1\r\n")  # a refresh is no news
    other = world.phone("1002", "10.9.0.2")
    # The same phone behind another port of its NAT.
    Agent(world, ("10.9.0.2", 5099), "1002", "dabc"[2]).register(f"<sip:1002@{other.host_port}>")
    phone.register(f"<sip:1001@{phone.host_port}>;expires=0")
    world.run(3601)
    world.switch.registrations.expire()
    assert said(log) == [
        "INFO registrations: extension:1001 is registered at udp:10.9.0.1:5060, ''",
        "INFO registrations: extension:1002 is registered at udp:10.9.0.2:5060, ''",
        "INFO registrations: extension:1002 is registered at udp:10.9.0.2:5099, ''",
        "INFO registrations: extension:1001 is not registered at udp:10.9.0.1:5060 any more: "
        "removed",
        "INFO registrations: extension:1002 is not registered at udp:10.9.0.2:5099 any more: "
        "expired",
    ]


def test_registrations_that_are_refused(world: World, log: Log) -> None:
    phone = Agent(world, ("10.9.0.1", 5060), "1001", "dabc"[1])
    assert phone.register("<sip:1001@10.9.0.1>;expires=30").status == 423
    assert phone.register("*").status == 400
    # With the password of the one it registers as the other.
    value = answer(
        phone.request("REGISTER", uri="sip:10.0.0.1")["www-authenticate"],
        *("REGISTER", "sip:10.0.0.1", "1001", phone.password, "cn"),
    )
    phone.name = "1002"
    lines = f"Contact: <sip:1002@10.9.0.1>\r\nAuthorization: {value}\r\n"
    assert phone.request("REGISTER", lines, "sip:10.0.0.1").status == 403
    refused = "registrations: a registration of extension:1001 (udp:10.9.0.1:5060) is refused:"
    assert said(log) == [
        f"INFO {refused} 423 Interval Too Brief",
        f"WARNING {refused} 400 Contact * Without Expires 0",
        f"WARNING {refused} 403 registers as '1002'",
    ]


def test_the_end_of_a_call_that_outlived_the_process(journalled: World, log: Log) -> None:
    world = journalled
    a, b = answered(world)
    world.run(0.25)
    world.kill()
    world.switch = switch = world.add_switch("hq", ("10.0.0.1", 5060), CONFIG, PLAN)
    switch.call_log = CallLog(log, 1)
    assert world.rows is not None
    switch.restore(list(world.rows.rows.items()))
    switch.opened()
    world.settle()
    b.bye()
    a.reply(200, to="BYE")
    assert said(log)[-1] == "INFO calls: ID ends: answered for 0.2 s, 200, by the callee"
