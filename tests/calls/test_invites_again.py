"""INVITEs that come again after a SIGKILL: none makes a second call, whatever had become of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from calls.call_world import ANSWER, HOLD, T1, Line, World
from calls.test_answered import answered, parties
from softswitch.calls.records import decode, encode
from softswitch.events import CallEnded, CallRestored, CallStarted


def invites(line: Line) -> int:
    """How often its agent was called, all its calls together."""
    return sum(one.count("INVITE") for one in line.agent.lines)


def hangs_up(a: Line, b: Line) -> None:
    """The caller; the callee hears of it."""
    a.bye()
    assert a.last.what == "200 BYE"
    assert b.last.what == "BYE"
    b.reply(200, to="BYE")


def over(world: World, calls: int = 1) -> None:
    """Nothing is left, each INVITE was one call, and each call ended once."""
    world.end()
    assert len(world.of(CallStarted)) == calls
    assert len(world.of(CallEnded)) == calls
    assert world.rows.rows == {}


# --- not answered --------------------------------------------------------------------------------


@pytest.mark.parametrize("rings", [0, 180])
def test_killed_before_the_answer(journalled: World, rings: int) -> None:
    """Killed once more before its 503 is acknowledged, the switch says the same."""
    world = journalled
    caller, callee = parties(world)
    if not rings:
        world.mute()
    a = caller.call("85550100")
    if rings:
        callee.line.reply(rings)
    for _ in range(3):
        world.restart(0.5)
        a.received.clear()
        a.again()
        assert a.what == ["503 INVITE"]
    a.acknowledge(a.last)
    if rings:
        assert callee.line.count("CANCEL") == 1
        callee.line.reply(200, to="CANCEL")
        callee.line.reply(487)
    assert sum(line.count("INVITE") for line in callee.lines) == (1 if rings else 0)
    over(world)


# --- answered ------------------------------------------------------------------------------------


def test_killed_before_the_answer_left(journalled: World) -> None:
    """The caller has heard nothing at all; its INVITE is answered with the 200 of the one call."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    world.mute()
    b.reply(200, ANSWER)
    world.run(0.1)
    assert a.what == []
    world.kill()
    world.run(1)
    world.start()
    a.again()
    assert a.what == ["200 INVITE"]
    assert a.last.body == ANSWER
    a.ack()
    b.reply(200, ANSWER)  # nor has it heard of the ACK
    assert b.last.what == "ACK"
    hangs_up(a, b)
    assert invites(b) == 1
    over(world)


def test_killed_before_the_answer_came(journalled: World) -> None:
    """As above, but it has left and was lost: it comes also without being asked for."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(200, ANSWER)
    world.restart(1)
    a.received.clear()
    world.run(T1 + 0.02)
    assert a.what == ["200 INVITE"]
    a.again()
    assert a.what == ["200 INVITE"] * 2
    a.ack()
    world.run(5)
    assert a.count("200 INVITE") == 2
    hangs_up(a, callee.line)
    assert invites(callee.line) == 1
    over(world)


@pytest.mark.parametrize("moved", [False, True])
def test_an_acknowledged_invite_is_absorbed(journalled: World, moved: bool) -> None:
    """A copy of it that was held up on the way: nobody waits for a response to it."""
    world = journalled
    a, b = answered(world)
    first = (a.invite_branch, a.invite_cseq)
    if moved:
        a.invite(HOLD)
        b.reply(200, ANSWER)
        a.ack()
    for _ in range(2):
        world.restart(1)
        a.invite_branch, a.invite_cseq = first
        a.received.clear()
        remote, a.remote = a.remote, a.remote.partition(";tag=")[0]
        a.again()
        assert a.what == []
        # The same request by another path (§8.2.2.2).
        a.send("INVITE", "", a.contact, cseq=a.invite_cseq)
        assert a.what == ["482 INVITE"]
        a.remote = remote
    hangs_up(a, b)
    assert invites(b) == 1 + moved
    over(world)


def test_it_cannot_come_again_for_ever(journalled: World) -> None:
    """64*T1 after the answer nothing is kept of the INVITE, nor written with what comes then."""
    world = journalled
    a, b = answered(world)
    world.run(64 * T1 - 1)
    world.restart(0.5)
    assert len(world.switch.transactions.servers) == 1
    world.run(1)
    assert not world.switch.transactions.servers
    assert not world.switch.transactions.merged
    a.invite(HOLD)
    b.reply(200, ANSWER)
    a.ack()
    world.run(0.1)
    (row,) = world.rows.rows.values()
    assert decode(row).key == decode(row).merged == ""
    hangs_up(a, b)
    over(world)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_the_time_of_day_was_changed_meanwhile(journalled: World, ahead: float) -> None:
    """That is nothing by which anything is kept, or forgotten."""
    world = journalled
    a, b = answered(world)
    world.run(1)
    world.kill()
    world.utc_ahead = ahead
    world.start()
    assert world.switch.transactions.servers
    world.run(64 * T1 + 0.1)
    for line in (a, b):
        line.reply(200, to="OPTIONS")
    assert not world.switch.transactions.servers
    hangs_up(a, b)
    world.end()


def test_a_phone_that_calls(journalled: World) -> None:
    """The switch that is back would not take the credentials of its INVITE any more."""
    world = journalled
    alice = world.phone("1001", "10.9.0.1")
    _, callee = parties(world)
    a = alice.call("85550100")
    callee.line.reply(200, ANSWER)
    world.restart(1)
    a.received.clear()
    a.remote = a.remote.partition(";tag=")[0]
    a.again()
    assert a.what == ["200 INVITE"]
    a.ack()
    hangs_up(a, callee.line)
    world.end()
    assert len(world.of(CallStarted)) == 1


def test_a_branch_of_any_bytes(journalled: World) -> None:
    world = journalled
    caller, callee = parties(world)

    def send(text: str, body: str = "") -> None:
        data = f"{text}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        world.carry(data.encode("utf-8", "surrogateescape"), caller.address, caller.switch)
        world.settle()

    caller.send = send  # type: ignore[method-assign]
    line = Line(caller, "any@10.1.0.1", "85550100")
    caller.lines.append(line)
    line.uri = "sip:85550100@10.0.0.1:5060"
    line.remote, line.local = f"<{line.uri}>", "<sip:alice@10.1.0.1>;tag=any"
    branch = b"z9hG4bK\xff".decode("utf-8", "surrogateescape")
    line.invite(branch=branch)
    callee.line.reply(200, ANSWER)
    world.run(0.1)
    (row,) = world.rows.rows.values()
    record = decode(row)
    assert record.key.startswith(branch)
    assert decode(encode(record)) == record
    world.restart(1)
    line.again()
    assert invites(callee.line) == 1
    line.send("CANCEL", cseq=1, branch=branch)
    assert line.last.what == "200 CANCEL", "and changes nothing"
    line.ack()
    hangs_up(line, callee.line)
    over(world)


def test_a_reinvite_whose_answer_was_lost(journalled: World) -> None:
    """Before, its sender was told 500 of what both sides had agreed on, and later hung up on."""
    world = journalled
    a, b = answered(world)
    a.invite(HOLD)
    world.mute()
    b.reply(200, ANSWER)
    world.run(0.1)
    world.kill()
    world.start()
    for _ in range(2):
        a.received.clear()
        a.send("INVITE", HOLD, a.contact, cseq=a.invite_cseq, branch=a.invite_branch)
        assert a.what == ["200 INVITE"]
        world.restart()
    a.ack()
    world.run(40)
    for line in (a, b):
        line.reply(200, to="OPTIONS")
    assert b.count("INVITE") == 2
    hangs_up(a, b)
    over(world)


# --- refused, cancelled --------------------------------------------------------------------------


def busy(world: World) -> Line:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(486)
    return a


def nobody_there(world: World) -> Line:
    return parties(world)[0].call("777")


def cancelled(world: World) -> Line:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    a.cancel()
    callee.line.reply(200, to="CANCEL")
    callee.line.reply(487)
    return a


@pytest.mark.parametrize(("fail", "status"), [(busy, 486), (nobody_there, 404), (cancelled, 487)])
@pytest.mark.parametrize("lives", [1, 2])
def test_a_failure_comes_again_until_its_ack(
    journalled: World, fail: Callable[[World], Line], status: int, lives: int
) -> None:
    world = journalled
    a = fail(world)
    assert a.last.status == status
    for _ in range(lives):
        world.restart(1)
    a.received.clear()
    world.run(T1 + 0.02)
    assert a.what == [f"{status} INVITE"], "without being asked for"
    a.again()
    assert a.what == [f"{status} INVITE"] * 2
    a.cancel()
    assert a.last.what == "200 CANCEL"
    a.acknowledge(a.find(f"{status} INVITE"))
    a.received.clear()
    world.run(4)
    a.again()
    assert a.what == []
    world.run(1.1)
    assert world.rows.rows == {}, "T4 after the ACK nothing can come any more"
    over(world)
    assert not world.of(CallRestored)


def test_a_failure_that_is_never_acknowledged(journalled: World) -> None:
    world = journalled
    a = busy(world)
    world.run(10)
    world.restart(10)
    a.received.clear()
    world.run(64 * T1 - 20.4)
    assert a.count("486 INVITE") > 2
    assert len(world.rows.rows) == 1
    world.run(0.3)
    assert world.rows.rows == {}
    over(world)


def test_a_failure_that_is_of_no_use_any_more(journalled: World) -> None:
    world = journalled
    a = busy(world)
    world.restart(64 * T1)
    world.run(1)
    assert a.count("486 INVITE") == 1
    over(world)


def test_killed_before_a_failure_left(journalled: World) -> None:
    """The call is there again, and is ended once more, with the same failure."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(180)
    world.run(0.3)
    world.mute()
    callee.line.reply(486)
    world.run(0.1)
    world.kill()
    assert len(world.rows.rows) == 2
    world.start()
    assert a.last.what == "486 INVITE"
    a.again()
    assert a.count("486 INVITE") == 2
    a.acknowledge(a.last)
    callee.line.reply(486)
    assert callee.line.last.what == "ACK"
    assert invites(callee.line) == 1
    world.run(0.5)
    world.end()
    assert len(world.of(CallStarted)) == 1
    assert [(end.disposition, end.sip_status) for end in world.of(CallEnded)] == [("busy", 486)] * 2
    assert world.rows.rows == {}


def test_a_failed_passage_leaves_its_leg_numbers(journalled: World) -> None:
    """The switch before tries again by another way, and the same call comes here once more."""
    world = journalled
    before = world.agent("10.0.0.2", "branch")
    _, callee = parties(world)
    call_id = "X-CDS-Call-ID: 0199c0de-0000-7000-8000-000000000001;owner=branch\r\n"
    a = before.call("85550100", extra=call_id)
    callee.line.reply(486)
    a.acknowledge(a.last)
    world.restart(1)
    a = before.call("85550100", extra=call_id)
    callee.line.reply(200, ANSWER)
    a.ack()
    hangs_up(a, callee.line)
    over(world, calls=2)
    assert [event.leg for event in world.of(CallStarted)] == [0, 2]


# --- over before the ACK -------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [True, False])
@pytest.mark.parametrize("lives", [1, 2])
def test_the_callee_hung_up_before_the_callers_ack(
    journalled: World, acks: bool, lives: int
) -> None:
    """The caller's BYE has to wait for its ACK (§15), in whichever life that comes."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    b.bye('Reason: Q.850;cause=16;text="Bye"\r\n')
    assert b.last.what == "200 BYE"
    ended = len(world.events)
    for _ in range(lives):
        world.restart(1)
    a.received.clear()
    a.remote = a.remote.partition(";tag=")[0]
    a.again()
    assert a.what == ["200 INVITE"]
    if acks:
        a.ack()
        world.run(0.1)
        assert world.rows.rows == {}
    else:
        world.run(64 * T1 + 1)
    assert a.last.what == "BYE"
    assert a.last["reason"] == 'Q.850;cause=16;text="Bye"'
    a.reply(200, to="BYE")
    assert invites(b) == 1
    over(world)
    assert {type(event).__name__ for event in world.events[ended:]} == {"SwitchStarted"}


def test_killed_before_that_was_said(journalled: World) -> None:
    """The call is there again, and ended once more."""
    world = journalled
    caller, callee = parties(world)
    a = caller.call("85550100")
    b = callee.line
    b.reply(200, ANSWER)
    world.run(0.1)
    world.mute()
    b.bye()
    world.run(0.1)
    world.kill()
    assert len(world.rows.rows) == 2
    world.start()
    b.bye()
    assert b.last.what == "200 BYE"
    a.again()
    a.ack()
    assert a.last.what == "BYE"
    a.reply(200, to="BYE")
    assert invites(b) == 1
    world.run(0.5)
    world.end()
    assert len(world.of(CallStarted)) == 1
    assert world.rows.rows == {}


# --- the rows ------------------------------------------------------------------------------------


def test_rows_of_the_version_before(journalled: World) -> None:
    """They say nothing of talks, and their calls go on."""
    world = journalled
    a, b = answered(world)
    c = parties(world)[0].call("85550100")
    world.run(0.3)
    world.kill()
    for number, row in world.rows.rows.items():
        call, as_bytes = msgspec.msgpack.decode(row)
        assert len(call) == 28
        assert {len(leg) for leg in call[11]} == {33}
        call[10] = [event for event in call[10] if event["type"] != "TalkBegan"]
        call[11] = [leg[:24] for leg in call[11]]
        world.rows.rows[number] = msgspec.msgpack.encode([call[:18], as_bytes])
    world.start()
    hangs_up(a, b)
    assert c.last.what == "503 INVITE"
    over(world, calls=2)


def test_rows_that_make_no_sense(journalled: World, caplog: pytest.LogCaptureFixture) -> None:
    world = journalled
    a = busy(world)
    world.run(0.1)
    world.kill()
    (number,) = world.rows.rows
    world.rows.rows[number + 1] = b"f\xc1"
    world.rows.rows[number + 2] = b"g\xc1"
    world.start()
    world.run(T1 + 0.02)
    assert list(world.rows.rows) == [number]
    assert sum("cannot be read" in r.getMessage() for r in caplog.records) == 2
    a.acknowledge(a.last)
    over(world)


def test_a_new_file_gets_what_is_still_to_be_said(journalled: World) -> None:
    world = journalled
    a = busy(world)
    world.rows.crowded = True
    b, c = nobody_there(world), nobody_there(world)
    # `finish` has compared what was written anew with what counts.
    assert world.rows.begun is None
    assert not world.rows.crowded
    assert len(world.rows.rows) == 3
    for line in (a, b, c):
        line.acknowledge(line.last)
    over(world, calls=3)


def test_a_call_that_is_over_is_let_go(journalled: World) -> None:
    """Its INVITE's transaction, which lives longer, holds nothing of it."""
    world = journalled
    hangs_up(*answered(world))
    (invite,) = [
        one for one in world.switch.transactions.servers.values() if one.key[-6:] == "INVITE"
    ]
    assert invite.user is None
    del invite
    over(world)


def test_without_a_journal_nothing_is_kept_longer(world: World) -> None:
    a, b = answered(world)
    (call,) = world.switch.calls
    assert call.caller.incoming is None
    del call
    hangs_up(a, b)
    world.end()
