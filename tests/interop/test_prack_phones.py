"""Phones that acknowledge what rings (PRACK), in both parts, with phones that do not."""

from __future__ import annotations

import pytest
from running_switch import Interop

from softswitch.lab.children import PhoneChild


def foreign(interop: Interop, *options: str) -> PhoneChild:
    phone = PhoneChild(
        "1001",
        *("--registrar", interop.sip, "--user", "1001", "--password", "foreign-secret", *options),
    )
    interop.children.append(phone)
    phone.expect("registered")
    return phone


@pytest.mark.parametrize(
    ("calls", "called"),
    [("require", "require"), ("use", "require"), ("require", ""), ("", "require"), ("use", "use")],
)
def test_both_hear_each_other(interop: Interop, calls: str, called: str) -> None:
    """A callee that requires it refuses callers that do not know it; here they need not."""
    there = foreign(
        interop, "--answer-after", "0.5", "--tone", "700", *(("--prack", called) if called else ())
    )
    here = interop.phone("--tone", "440", *(("--prack", calls) if calls else ()))
    here.send("call 1001")
    here.expect("ringing", 5)
    here.expect("answered", 5)
    here.expect_tone(700)
    there.expect_tone(440)
    here.send("hangup")
    there.expect("ended")
    (record,) = interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")


def test_one_that_rings_is_given_up(interop: Interop) -> None:
    there = foreign(interop, "--ring-only", "--prack", "require")
    here = interop.phone("--prack", "require")
    here.send("call 1001")
    here.expect("ringing", 5)
    here.send("hangup")
    there.expect("ended")
    here.expect("ended")
    (record,) = interop.records(1)
    assert record["disposition"] == "cancelled"
