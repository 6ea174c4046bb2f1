"""Carriers that challenge: within the call nobody notices, and the record knows one leg."""

from __future__ import annotations

from pathlib import Path

import pytest

from calls.call_world import ANSWER, CONFIG, SDP, World
from calls.carrier import ACCOUNT, Carrier
from calls.transfers import phones
from softswitch.events import LegInvited


def made(folder: Path, config: str = ACCOUNT, **more: bool) -> tuple[World, Carrier]:
    world = World(folder, config, **more)
    return world, Carrier(world)


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256", "MD5"), ("SHA-512-256", "MD5")])
@pytest.mark.parametrize("qop", ['qop="auth", ', 'qop="auth-int,auth", ', ""])
def test_a_call(tmp_path: Path, status: int, algorithms: tuple[str, ...], qop: str) -> None:
    world, carrier = made(tmp_path)
    carrier.status, carrier.algorithms, carrier.qop = status, algorithms, qop
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    (first,) = carrier.challenged
    (second,) = carrier.passed
    assert "authorization" not in first
    assert "proxy-authorization" not in first
    assert second["call-id"] == first["call-id"]
    assert second["from"] == first["from"]
    assert ";tag=" not in second["to"]
    assert second.cseq == first.cseq + 1
    assert second.branch != first.branch
    assert second.body == first.body
    line = carrier.line
    line.reply(180)
    line.reply(200, ANSWER)
    a.ack()
    ack = line.find("ACK")
    assert ack.cseq == second.cseq
    header = "authorization" if status == 401 else "proxy-authorization"
    assert ack[header] == second[header], "RFC 3261 §22.1"
    assert [m.what for m in alice.inbox if m.status and m.method == "INVITE"][-2:] == [
        "180 INVITE",
        "200 INVITE",
    ]
    assert len(world.of(LegInvited)) == 1
    a.bye()
    bye = line.find("BYE")
    assert header in bye, "what was asked for last is sent unasked within the dialog"
    assert bye.cseq == second.cseq + 1
    line.reply(200, to="BYE")
    world.end()


def test_the_challenge_comes_again(tmp_path: Path) -> None:
    """Its ACK was lost: it is acknowledged again, and nothing else happens."""
    world, carrier = made(tmp_path)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    first = carrier.challenged[0]
    acks = carrier.line.count("ACK")
    count = len(carrier.passed)
    carrier.answer(first, 401, 'WWW-Authenticate: Digest realm="x", nonce="y"\r\n')
    assert len(carrier.passed) == count
    assert carrier.line.count("ACK") == acks + 1
    assert carrier.line.last.cseq == first.cseq
    a.cancel()
    cancel = carrier.line.find("CANCEL") if "CANCEL" in carrier.line.what else None
    carrier.line.reply(180)
    cancel = carrier.line.find("CANCEL")
    assert cancel.cseq == carrier.passed[0].cseq
    assert cancel.branch == carrier.passed[0].branch
    carrier.line.reply(200, to="CANCEL")
    carrier.line.reply(487)
    world.end()


def test_a_wrong_password(tmp_path: Path) -> None:
    """Once, and the call goes on to the next trunk."""
    world, carrier = made(tmp_path)
    carrier.secret = "another"
    backup = world.agent("10.3.0.1", "backup")
    alice = world.phone("1001", "10.9.0.1")
    alice.call("95550100")
    assert len(carrier.challenged) == 2
    assert backup.line.what == ["INVITE"]
    backup.line.reply(486)
    assert alice.line.last.status == 486
    assert "authorization" not in backup.line.find("INVITE")
    world.end()


def test_a_nonce_that_is_used_up(tmp_path: Path) -> None:
    """Each request may need another one (stale)."""
    world, carrier = made(tmp_path)
    carrier.uses = 1
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    carrier.line.reply(200, ANSWER)
    a.ack()
    a.invite(SDP)
    assert [m.method for m in carrier.passed] == ["INVITE", "INVITE"]
    carrier.line.reply(200, ANSWER)
    a.ack()
    assert carrier.line.last.what == "ACK"
    assert carrier.line.last.cseq == carrier.passed[-1].cseq
    a.send("INFO", "Signal=1", "Content-Type: application/dtmf-relay\r\n")
    assert carrier.line.last.what == "INFO"
    carrier.line.reply(200, to="INFO")
    assert a.last.what == "200 INFO"
    a.bye()
    carrier.line.reply(200, to="BYE")
    assert [m.method for m in carrier.passed] == ["INVITE", "INVITE", "INFO", "BYE"]
    cseqs = [m.cseq for m in carrier.inbox if m.method not in ("ACK",) and not m.status]
    assert cseqs == sorted(set(cseqs))
    world.end()


def test_a_realm_that_is_not_the_carriers(tmp_path: Path) -> None:
    world, carrier = made(tmp_path, ACCOUNT.replace("s3cret}", "s3cret, realm: carrier.example}"))
    carrier.realm = "thief.example"
    alice = world.phone("1001", "10.9.0.1")
    alice.call("85550100")
    assert len(carrier.challenged) == 1
    assert alice.line.last.status in (401, 407, 502, 500, 403)
    world.end()


def test_no_other_trunk_gets_the_password(tmp_path: Path) -> None:
    world, _ = made(tmp_path)
    backup = Carrier(world, ("10.3.0.1", 5060))
    carrier = Carrier(world)
    carrier.asks = set()
    carrier.answers["INVITE"] = (503, "")
    alice = world.phone("1001", "10.9.0.1")
    alice.call("95550100")
    assert len(backup.challenged) == 1
    assert backup.passed == []
    world.end()


def test_a_call_from_the_carrier(tmp_path: Path) -> None:
    """What we send within it is challenged as well."""
    world, carrier = made(tmp_path)
    _, bob, _ = phones(world)
    line = carrier.call("1002")
    bob.line.reply(200)
    line.ack()
    bob.line.bye()
    bye = line.find("BYE")
    assert "authorization" in bye
    line.reply(200, to=bye)
    assert bob.line.last.what == "200 BYE"
    world.end()


def test_after_a_restart(tmp_path: Path) -> None:
    world, carrier = made(tmp_path, journal=True)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    carrier.line.reply(200, ANSWER)
    a.ack()
    world.restart(config=ACCOUNT)
    world.run(3)
    a.bye()
    assert carrier.line.last.what == "BYE"
    carrier.line.reply(200, to="BYE")
    assert a.last.what == "200 BYE"
    world.rest()


def test_a_caller_who_gives_up_between(tmp_path: Path) -> None:
    """The challenge crosses the CANCEL."""
    world, carrier = made(tmp_path)
    world.dead.add(carrier.address)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    a.cancel()
    world.dead.clear()
    world.run(40)
    assert a.find("487 INVITE")
    assert carrier.passed == []
    world.end()


def test_killed_while_the_second_invite_rings(tmp_path: Path) -> None:
    """What is cancelled after the restart is the INVITE that was answered for, not the first."""
    world, carrier = made(tmp_path, journal=True)
    alice = world.phone("1001", "10.9.0.1")
    alice.call("85550100")
    carrier.line.reply(100)
    world.restart(config=ACCOUNT)
    world.run(3)
    cancel = carrier.line.find("CANCEL")
    (second,) = carrier.passed
    assert (cancel.branch, cancel.cseq) == (second.branch, second.cseq)
    carrier.line.reply(200, to="CANCEL")
    carrier.line.reply(487, to=second)
    world.rest()


def test_a_prack_is_challenged(tmp_path: Path) -> None:
    """A PRACK that is challenged says which response it is of all the same (RFC 3262 §7.2)."""
    world, carrier = made(tmp_path)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100", SDP, "Supported: 100rel\r\n")
    invite = carrier.passed[0]
    line = carrier.line
    line.reply(183, ANSWER, extra="Require: 100rel\r\nRSeq: 7\r\n")
    if "rseq" in a.last:
        a.send("PRACK", extra=f"RAck: {a.last['rseq']} {a.last['cseq']}\r\n")
    prack = next(m for m in reversed(carrier.inbox) if m.what == "PRACK")
    assert prack["rack"] == f"7 {invite.cseq} INVITE"
    assert carrier.proved(prack)
    count = carrier.line.count("PRACK")
    carrier.challenge(prack)
    again = next(m for m in reversed(carrier.inbox) if m.what == "PRACK")
    assert carrier.line.count("PRACK") == count + 1
    assert carrier.proved(again)
    assert again["rack"] == prack["rack"]
    assert again.cseq == prack.cseq + 1
    line.reply(200, to="PRACK")
    line.reply(200, to="INVITE")
    a.ack()
    a.bye()
    line.reply(200, to="BYE")
    world.end()


def test_glare_after_a_challenge(tmp_path: Path) -> None:
    """Our re-INVITE is challenged, then refused with 491: it is tried again, and answered for."""
    world, carrier = made(tmp_path)
    carrier.uses = 1
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    carrier.line.reply(200, ANSWER)
    a.ack()
    a.invite(SDP)
    carrier.line.reply(491)
    if a.last.status == 491:
        a.acknowledge(a.last)
        a.invite(SDP)
    world.run(5)
    carrier.line.reply(200, ANSWER)
    a.ack()
    cseqs = [m.cseq for m in carrier.inbox if m.method == "INVITE" and not m.status]
    assert cseqs == sorted(set(cseqs))
    assert carrier.line.last.what == "ACK"
    assert carrier.line.last.cseq == cseqs[-1]
    a.bye()
    carrier.line.reply(200, to="BYE")
    world.end()


def test_a_fork_behind_the_challenge_wins(tmp_path: Path) -> None:
    """Two who are behind the carrier's proxy ring; the second takes it."""
    world, carrier = made(tmp_path)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    invite = carrier.passed[0]
    line = carrier.line
    line.tag = "one"
    line.reply(180)
    line.tag = "two"
    line.reply(180)
    line.reply(200, ANSWER)
    a.ack()
    ack = line.find("ACK")
    assert ack["to"].endswith("tag=two")
    assert ack.cseq == invite.cseq
    assert ack["authorization"] == invite["authorization"]
    a.bye()
    bye = line.find("BYE")
    assert bye.cseq == invite.cseq + 1
    assert "authorization" in bye
    line.reply(200, to="BYE")
    world.end()


def test_a_brief_session_after_a_challenge(tmp_path: Path) -> None:
    """422 to the second INVITE: the third has a CSeq of its own."""
    world, carrier = made(tmp_path)
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    carrier.line.reply(422, extra="Min-SE: 4000\r\n")
    assert [m.cseq for m in carrier.passed] == sorted({m.cseq for m in carrier.passed})
    assert len(carrier.passed) == 2
    carrier.line.reply(200, ANSWER)
    a.ack()
    a.bye()
    carrier.line.reply(200, to="BYE")
    world.end()


def test_a_second_answer_behind_the_challenge(tmp_path: Path) -> None:
    """Two take the call at once: the second is acknowledged and ended, as the carrier wants it."""
    world, carrier = made(tmp_path)
    carrier.uses = 1
    alice = world.phone("1001", "10.9.0.1")
    a = alice.call("85550100")
    line = carrier.line
    line.tag = "one"
    line.reply(200, ANSWER)
    a.ack()
    line.tag = "two"
    line.reply(200, ANSWER, to="INVITE")
    (bye,) = [m for m in carrier.passed if m.method == "BYE"]
    assert bye["to"].endswith("tag=two")
    assert [m.method for m in carrier.challenged] == ["INVITE", "BYE"]
    line.reply(200, to="BYE")
    a.bye()
    line.tag = "one"
    line.reply(200, to="BYE")
    world.end()


def test_nothing_more_after_a_challenge(tmp_path: Path) -> None:
    """The first INVITE had a 100; who says nothing to the second does not take the call."""
    world, carrier = made(tmp_path)
    backup = world.agent("10.3.0.1", "backup")
    carrier.trying = True
    alice = world.phone("1001", "10.9.0.1")
    alice.call("95550100")
    assert len(carrier.passed) == 1
    world.dead.add(carrier.address)
    world.run(4)
    assert backup.lines == []
    world.run(1.2)
    assert set(backup.line.what) == {"INVITE"}
    backup.line.reply(486)
    world.run(40)
    world.end()


def test_a_challenge_is_a_sign_of_life(tmp_path: Path) -> None:
    """Whoever challenges late has its time to answer all the same."""
    world, carrier = made(tmp_path)
    backup = world.agent("10.3.0.1", "backup")
    world.dead.add(carrier.address)
    alice = world.phone("1001", "10.9.0.1")
    alice.call("95550100")
    world.run(3)
    world.dead.clear()
    world.run(1)  # the INVITE comes once more
    assert len(carrier.challenged) == 1
    carrier.asks.clear()
    world.run(3)
    assert backup.lines == []
    carrier.line.reply(180)
    carrier.line.reply(486)
    world.end()


def test_options_to_an_address_of_ipv6(tmp_path: Path) -> None:
    config = CONFIG.replace('"sip:10.2.0.1:5060", from', '"sip:[2001:db8::1]:5060", from')
    world = World(tmp_path, config.replace("max_calls: 5, keepalive: 0", "max_calls: 5"))
    peer = world.agent("2001:db8::1", "pstn")
    for _ in range(40):
        world.switch.trunk_checks.ask()
        world.run(1)
    asked = [m for m in peer.inbox if m.method == "OPTIONS"]
    assert asked
    assert asked[0].uri == "sip:[2001:db8::1]"
