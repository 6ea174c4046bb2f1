"""Linphone as a phone of ours: registers, calls and is called, cancels, holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from linphone_phone import Linphone
from running_switch import Interop, require

Start = Callable[[], Linphone]


@pytest.fixture
def linphone(interop: Interop, tmp_path: Path, wav: Path) -> Start:
    require("linphonec", "linphone-cli")

    def start() -> Linphone:
        phone = Linphone(tmp_path / "linphone", interop.sip, "1001", "foreign-secret", wav)
        interop.children.append(phone)
        phone.until_registered()
        return phone

    return start


def test_called_with_audio(interop: Interop, linphone: Start) -> None:
    foreign = linphone()
    ours = interop.phone("--tone", "440")
    ours.send("call 1001")
    foreign.expect("new incoming call")
    foreign.send("answer")
    ours.expect("answered", 10)
    ours.expect_tone(700)
    ours.send("hangup")
    foreign.expect("ended")
    (record,) = interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")


def test_calls_with_audio(interop: Interop, linphone: Start) -> None:
    foreign = linphone()
    ours = interop.phone("--answer")
    foreign.send("call 1002")
    ours.expect("answered", 10)
    foreign.expect("connected")
    ours.expect_tone(700)
    foreign.send("terminate")
    ours.expect("ended", by="remote", answered=True)
    (record,) = interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")


def test_each_cancels(interop: Interop, linphone: Start) -> None:
    foreign = linphone()
    ours = interop.phone("--ring-only")
    ours.send("call 1001")
    foreign.expect("new incoming call")
    ours.expect("ringing")
    ours.send("hangup")
    ours.expect("ended", status=487)
    foreign.expect("ended|missed|declined")
    foreign.send("call 1002")
    ours.expect("incoming", 10)
    foreign.expect("ringing")
    foreign.send("terminate")
    ours.expect("ended", by="remote", answered=False)
    assert interop.dispositions(2) == ["cancelled", "cancelled"]


def test_each_refuses(interop: Interop, linphone: Start) -> None:
    foreign = linphone()
    ours = interop.phone("--reject", "486")
    ours.send("call 1001")
    foreign.expect("new incoming call")
    foreign.send("terminate")
    assert ours.expect("ended", answered=False, by="remote")["status"] in (486, 603)
    foreign.send("call 1002")
    ours.expect("ended", 10, status=486)
    foreign.expect("Call 2 .* error")
    assert interop.dispositions(2)[0] in ("busy", "rejected")
    assert interop.dispositions(2)[1] == "busy"


def test_each_holds_and_resumes(interop: Interop, linphone: Start) -> None:
    foreign = linphone()
    ours = interop.phone("--answer", "--tone", "440")
    foreign.send("call 1002")
    ours.expect("answered", 10)
    ours.expect_tone(700)
    ours.send("hold")
    ours.expect("media", state="local_hold")
    ours.expect("heard", silent=True)
    ours.send("unhold")
    ours.expect("media", state="active")
    ours.expect_tone(700)
    foreign.expect("established|connected|resumed", 10)
    foreign.send("pause")
    ours.expect("media", 10, state="remote_hold")
    foreign.expect("is now paused")
    foreign.send("resume 1")
    ours.expect("media", 10, state="active")
    ours.send("hangup")
    foreign.expect("ended")
    assert interop.dispositions(1) == ["answered"]
