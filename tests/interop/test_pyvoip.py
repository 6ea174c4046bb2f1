"""PyVoIP 1.6 as a phone of ours: registers, is called, calls, hangs up, refuses.

What it cannot do, by faults of its own:

* The ACK of a call that it has placed has a To tag that it has just made up (its issue 272). It has
  the branch of the INVITE as well, so that it is known whose it is.
* It cannot call off a call that it has placed, and does not notice that one is called off: it
  answers the CANCEL and goes on ringing.
* Of refusals it knows 404 and 503. It says nothing to a 486, and goes on dialling.
* After a call that it has placed it may take a 200 that is sent again for that of its REGISTER, and
  stay registered.

Its credentials are for another URI than its request (`switch.digest_any_uri`), and both of its
INVITEs, without and with them, have one branch.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
from pyvoip_phone import PyVoip
from running_switch import Interop

Start = Callable[..., PyVoip]


@pytest.fixture
def digest() -> str:
    """It looks at the last challenge, and answers it by MD5 whatever it asks for."""
    return "MD5"


@pytest.fixture
def pyvoip(interop: Interop) -> Start:
    if importlib.util.find_spec("pyVoIP") is None:
        pytest.fail("PyVoIP is not there: pip install 'pyVoIP>=1.6,<2'")

    def start(password: str = "foreign-secret") -> PyVoip:
        phone = PyVoip(interop.sip, "1001", password)
        interop.children.append(phone)
        return phone

    return start


def test_registers_and_leaves(interop: Interop, pyvoip: Start) -> None:
    foreign = pyvoip()
    foreign.expect("registered")
    ours = interop.phone()
    foreign.send("leave")
    foreign.expect("left", status="INACTIVE")
    ours.send("call 1001")
    ours.expect("ended", status=480, answered=False)


def test_a_wrong_password(interop: Interop, pyvoip: Start) -> None:
    """It tries three times, and gives up."""
    foreign = pyvoip("wrong")
    foreign.expect("failed", 10)
    ours = interop.phone()
    ours.send("call 1001")
    ours.expect("ended", status=480, answered=False)
    said = list(interop.switch.errors)
    assert any("wrong password from 127.0.0.1" in line for line in said), said


def test_is_called_and_each_hangs_up(interop: Interop, pyvoip: Start) -> None:
    foreign = pyvoip()
    foreign.expect("registered")
    ours = interop.phone("--tone", "440")
    for hangs_up in (ours, foreign):
        ours.send("call 1001")
        foreign.expect("incoming", 10, number="1002")
        ours.expect("ringing")
        foreign.send("answer")
        foreign.expect("answered")
        ours.expect("answered")
        ours.expect_tone(700)
        foreign.expect_tone(440)
        hangs_up.send("hangup")
        foreign.expect("ended")
        ours.expect("ended", status=200, by="local" if hangs_up is ours else "remote")
    records = interop.records(2)
    assert [row["hangup_by"] for row in records] == ["caller", "callee"]
    assert [row["disposition"] for row in records] == ["answered", "answered"]


def test_calls_and_each_hangs_up(interop: Interop, pyvoip: Start) -> None:
    foreign = pyvoip()
    foreign.expect("registered")
    ours = interop.phone("--answer", "--tone", "440")
    for hangs_up in (foreign, ours):
        foreign.send("call 1002")
        foreign.expect("answered", 10)
        ours.expect("answered")
        ours.expect_tone(700)
        foreign.expect_tone(440)
        hangs_up.send("hangup")
        ours.expect("ended", status=200, by="local" if hangs_up is ours else "remote")
    records = interop.records(2)
    assert [row["hangup_by"] for row in records] == ["caller", "callee"]
    assert [row["disposition"] for row in records] == ["answered", "answered"]


def test_it_refuses_and_we_call_off(interop: Interop, pyvoip: Start) -> None:
    foreign = pyvoip()
    foreign.expect("registered")
    ours = interop.phone()
    ours.send("call 1001")
    foreign.expect("incoming", 10)
    foreign.send("refuse")
    ours.expect("ended", status=486, answered=False)
    ours.send("call 1001")
    ours.expect("ringing")
    ours.send("hangup")
    ours.expect("ended", status=487, answered=False)
    assert interop.dispositions(2) == ["busy", "cancelled"]


def test_calls_a_number_that_there_is_not(interop: Interop, pyvoip: Start) -> None:
    foreign = pyvoip()
    foreign.expect("registered")
    foreign.send("call 4711")
    foreign.expect("dialing")
    foreign.expect("ended")
