"""A failure goes to the other side with what explains it: Warning, Require, Min-SE, Accept."""

from __future__ import annotations

import pytest

from calls.call_world import HOLD, World
from calls.test_answered import answered, parties

WARNED = 'Warning: 370 gw.example "Too little bandwidth", 399 gw.example "Ask again"\r\n'


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        (420, "Unsupported", "timer"),
        (421, "Require", "100rel, timer"),
        (422, "Min-SE", "1800"),
        (415, "Accept", "application/sdp"),
        (488, "Warning", '304 gw.example "Media type not available"'),
        (606, "Warning", '330 gw.example "No multicast"'),
    ],
)
@pytest.mark.parametrize("method", ["first", "INVITE", "UPDATE", "INFO"])
def test_what_explains_it_passes(
    world: World, status: int, name: str, value: str, method: str
) -> None:
    line = f"{name}: {value}\r\nX-Other: no\r\n"
    if method == "first":
        caller, callee = parties(world)
        a = caller.call("85550100")
        callee.line.reply(status, "", line)
        if status == 422:  # asked once more, for as long as it says
            callee.line.reply(status, "", line)
        a.acknowledge(a.last)
    else:
        a, b = answered(world)
        if method == "INVITE":
            a.invite(HOLD)
        else:
            a.send(method, "", a.contact)
        b.reply(status, "", line, to=method)
        if method == "INVITE":
            a.acknowledge(a.last)
    failure = a.find(f"{status} {'INVITE' if method == 'first' else method}")
    assert failure[name.lower()] == value
    assert "x-other" not in failure
    if method != "first":
        a.bye()
        b.reply(200, to="BYE")
    world.rest()


def test_what_belongs_to_another_failure_does_not(world: World) -> None:
    caller, callee = parties(world)
    a = caller.call("85550100")
    callee.line.reply(486, "", f"Require: timer\r\nMin-SE: 90\r\n{WARNED}")
    assert "require" not in a.last
    assert "min-se" not in a.last
    assert a.last.headers["warning"] == [WARNED.strip().partition(": ")[2]]
    a.acknowledge(a.last)
    world.rest()


def test_it_is_that_of_the_failure_that_is_passed_on(world: World) -> None:
    """Of two trunks the first said why, the second said more."""
    caller = world.agent("10.1.0.1", "caller")
    pstn, backup = world.agent("10.2.0.1", "pstn"), world.agent("10.3.0.1", "backup")
    a = caller.call("95550100")
    pstn.line.reply(500, "", WARNED)
    backup.line.reply(422, "", "Min-SE: 600\r\n")
    backup.line.reply(422, "", "Min-SE: 600\r\n")
    assert a.last.what == "422 INVITE"
    assert a.last["min-se"] == "600"
    assert "warning" not in a.last
    a.acknowledge(a.last)
    world.rest()
