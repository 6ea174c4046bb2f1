"""Guessing passwords at a whole switch: who waits, who does not; and credentials that are odd."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from calls.call_world import CONFIG, Agent, Message, World
from calls.conftest import world
from prometheus_client import Metric

from softswitch.metrics import SwitchMetrics
from softswitch.sip.digest import answer
from softswitch.sip.outbox import Outbox
from softswitch.sip.transport import Transport

__all__ = ["world"]


def credentials(agent: Agent, password: str, uri: str = "sip:10.0.0.1", user: str = "") -> str:
    challenge = agent.request("REGISTER", uri="sip:10.0.0.1")["www-authenticate"]
    return answer(challenge, "REGISTER", uri, user or agent.name, password, "cn")


def guess(agent: Agent, password: str = "guess") -> list[str]:
    """Say a password; what came at once."""
    value = credentials(agent, password)
    before = len(agent.inbox)
    agent.request("REGISTER", f"Authorization: {value}\r\n", "sip:10.0.0.1")
    return [message.what for message in agent.inbox[before:]]


def waits(world: World, agent: Agent) -> float:
    """Seconds until something more comes; timers have ticks of 10 ms."""
    before, began = len(agent.inbox), world.now
    while len(agent.inbox) == before:
        world.run(0.5)
        assert world.now - began < 60
    return round(agent.inbox[-1].at - began, 1)


def counts(world: World) -> dict[str, float]:
    outbox = Outbox(lambda what: None, lambda seconds, what: None, lambda: 0.0)
    transport = Transport(None, lambda message, flow: None, None, outbox)  # type: ignore[arg-type]
    found: list[Metric] = list(SwitchMetrics(world.switch, transport).collect())
    return {m.name.removeprefix("softswitch_"): m.samples[0].value for m in found if m.samples}


def test_known_and_unknown_names_wait_alike(world: World, caplog: pytest.LogCaptureFixture) -> None:
    told = []
    for host, name in (("10.66.0.1", "1001"), ("10.66.0.2", "8888")):
        eve = world.agent(host, name)
        assert [guess(eve) for _ in range(5)] == [["401 REGISTER"]] * 5
        late = []
        for _ in range(6):
            assert guess(eve) == []
            late.append(waits(world, eve))
            last = eve.inbox[-1]
            assert last.what == "401 REGISTER"
        shape = re.sub(r'nonce="[^"]*"', "", last["www-authenticate"])
        lines = [re.sub(r"10\.66\.0\.\d|'\d+'", "", line) for line in caplog.messages]
        told.append((late, shape, lines))
        caplog.clear()
    assert told[0] == told[1]
    assert told[0][0] == [1, 2, 4, 8, 16, 16]
    world.end()


def test_who_does_not_wait_for_an_answer_gets_one_at_a_time(world: World) -> None:
    eve = world.agent("10.66.0.1", "1001")
    for _ in range(5):
        guess(eve)
    value = credentials(eve, "guess")
    before = len(eve.inbox)
    for _ in range(500):
        eve.request("REGISTER", f"Authorization: {value}\r\n", "sip:10.0.0.1")
    world.run(30)
    assert [m.what for m in eve.inbox[before:]] == ["401 REGISTER"]
    found = counts(world)
    assert (found["wrong_passwords"], found["wrong_passwords_unanswered"]) == (505, 499)
    assert found["challenged"] == 6, "honest first challenges are counted apart"
    assert len(world.switch.guesses) == 1
    world.end()


def test_a_copy_of_a_guess_is_no_guess(world: World) -> None:
    eve = world.agent("10.66.0.1", "1001")
    for _ in range(5):
        guess(eve)
    assert guess(eve) == []
    sent = [m for m in world.wire if m.source == eve.address][-1]
    for _ in range(4):
        world.carry(sent.data, eve.address, ("10.0.0.1", 5060))
        world.settle()
    assert counts(world)["wrong_passwords"] == 6
    assert waits(world, eve) == 1
    world.end()


def test_phones_behind_the_address_of_a_guesser(world: World) -> None:
    """One that is registered, and one that was and comes from another port now."""
    phone = world.phone("1001", "10.66.0.1", 5060)
    moved = world.phone("1003", "10.66.0.1", 5063)
    eve = world.agent("10.66.0.1", "1002", 6666)
    for _ in range(9):
        guess(eve)
        world.run(20)
    assert guess(eve) == []
    late = world.agent("10.66.0.1", "1003", 7063)
    late.password = moved.password
    assert late.register().status == 200
    assert phone.register().status == 200
    a = phone.call("1003")
    late.line.reply(486)
    a.acknowledge(a.last)
    # Who mistyped and knows better is heard when its time has come, and that ends the matter.
    world.run(20)
    assert guess(eve, "b") == ["200 REGISTER"]
    assert len(world.switch.guesses) == 0
    world.end()


def test_the_right_one_among_guesses_that_wait_for_no_answer_is_not_heard(world: World) -> None:
    eve = world.agent("10.66.0.1", "1001")
    values = [credentials(eve, f"guess {n}") for n in range(300)]
    values[200] = credentials(eve, "a")
    before = len(eve.inbox)
    for value in values:
        eve.request("REGISTER", f"Authorization: {value}\r\n", "sip:10.0.0.1")
    world.run(30)
    assert [m.what for m in eve.inbox[before:]] == ["401 REGISTER"] * 6
    # A phone that has never been there waits until it is over, as does the guesser.
    new = world.agent("10.66.0.1", "1003", 5063)
    guess(eve)
    assert guess(new, "c") == []
    world.run(20)
    assert guess(new, "c") == ["200 REGISTER"]
    world.end()


def test_names_that_were_registered_there_are_no_way_round(world: World) -> None:
    """Of such a name one password a second is looked at, not as many as are sent."""
    world.phone("1003", "10.66.0.1", 5063)
    eve = world.agent("10.66.0.1", "1003", 6666)
    for _ in range(6):
        guess(eve)
    values = [credentials(eve, f"guess {n}") for n in range(100)]
    values[50] = credentials(eve, eve.world.agents["10.66.0.1", 5063].password)
    before = len(eve.inbox)
    for value in values:
        eve.request("REGISTER", f"Authorization: {value}\r\n", "sip:10.0.0.1")
    assert "200 REGISTER" not in [m.what for m in eve.inbox[before:]]
    world.run(30)
    world.end()


def test_a_registered_phone_whose_password_was_changed_does_not_wait(world: World) -> None:
    phone = world.phone("1001", "10.9.0.1")
    assert [guess(phone) for _ in range(12)] == [["401 REGISTER"]] * 12
    world.end()


def test_calls_are_guesses_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    eve = world.agent("10.66.0.1", "1001")
    eve.password = "guess"
    for _ in range(5):
        a = eve.call("1002")
        assert a.what == ["401 INVITE"]
        a.acknowledge(a.last)
    a = eve.call("1002")
    assert a.what == []
    assert caplog.messages[0].endswith("over udp, 1 times: INVITE as '1001'")
    assert counts(world)["wrong_passwords"] == 6
    world.run(2)
    assert a.what == ["401 INVITE"]
    a.acknowledge(a.last)
    world.end()


def test_without_delay(tmp_path: Path) -> None:
    settings = "timers: {guess_delay: 0}\nlimits: {guesses_at_once: 0}\n"
    site = World(tmp_path, CONFIG + settings)
    eve = site.agent("10.66.0.1", "1001")
    assert [guess(eve) for _ in range(9)] == [["401 REGISTER"]] * 9
    site.end()


# --- phones that differ --------------------------------------------------------------------------


def register(agent: Agent, value: str, cseq: int = 2, call_id: str = "same") -> Message:
    agent.send(
        f"REGISTER sip:10.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {agent.host_port};branch=z9hG4bKr{next(agent.world.serial)};rport\r\n"
        f"From: <sip:{agent.name}@10.0.0.1>;tag=r\r\nTo: <sip:{agent.name}@10.0.0.1>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n"
        f"Contact: <sip:{agent.name}@{agent.host_port}>\r\nExpires: 3600\r\n"
        f"Authorization: {value}\r\n"
    )
    return agent.inbox[-1]


def test_a_phone_that_was_started_anew_counts_from_the_beginning(world: World) -> None:
    """RFC 3261 §10.3 step 7, for one that proves that it is not its own past."""
    phone = world.agent("10.9.0.1", "1001")
    challenge = phone.request("REGISTER", uri="sip:10.0.0.1")["www-authenticate"]

    def proof(nc: int) -> str:
        return answer(challenge, "REGISTER", "sip:10.0.0.1", "1001", "a", "cn", nc)

    assert register(phone, proof(1), cseq=10).status == 200
    late = register(phone, proof(2), cseq=10)
    assert late.start == "SIP/2.0 500 CSeq Out Of Order"
    assert register(phone, proof(3), cseq=9).status == 500
    for cseq in (10, 1):
        assert register(phone, credentials(phone, "a"), cseq).status == 200
    (binding,) = world.switch.registrar.contacts("1001")
    assert binding.cseq == 1
    world.end()


def test_credentials_for_another_uri(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """As PyVoIP and SIPp send them: taken, and said once of each phone."""
    phone = world.agent("10.9.0.1", "1001")
    for n in range(3):
        value = credentials(phone, "a", "sip:1001@elsewhere")
        assert register(phone, value, call_id=f"c{n}").status == 200
    (line,) = caplog.messages
    assert line.startswith(
        "extension 1001 (udp:10.9.0.1:5060): its credentials are for another URI"
    )
    assert register(phone, credentials(phone, "b", "sip:x@elsewhere")).status == 401
    world.end()


def test_credentials_for_another_uri_where_they_are_not_wanted(tmp_path: Path) -> None:
    config = CONFIG.replace("switch: {", "switch: {digest_any_uri: false, ")
    site = World(tmp_path, config)
    phone = site.agent("10.9.0.1", "1001")
    value = credentials(phone, "a", "sip:1001@elsewhere")
    assert register(phone, value).start == "SIP/2.0 400 Credentials For Another URI"
    assert register(phone, credentials(phone, "a")).status == 200
    site.end()


def test_a_user_name_with_its_domain(world: World, caplog: pytest.LogCaptureFixture) -> None:
    phone = world.agent("10.9.0.1", "1001")
    for n, domain in enumerate(("hq", "10.0.0.1", "office.example")):
        value = credentials(phone, "a", user=f"1001@{domain}")
        assert register(phone, value, call_id=f"c{n}").status == 200
    assert register(phone, credentials(phone, "b", user="1001@hq")).status == 401
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "wrong password from 10.9.0.1 port 5060 over udp, 1 times: REGISTER as '1001'"
    ]
    world.end()
