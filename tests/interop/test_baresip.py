"""baresip as a phone of ours: registers, calls and is called, cancels, holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from baresip_phone import Baresip
from running_switch import Interop, require

Start = Callable[..., Baresip]


@pytest.fixture
def digest() -> str:
    """libre 1.1, of baresip 1.0 in Debian 12, gives up on any challenge that is not MD5."""
    return "MD5"


@pytest.fixture
def baresip(interop: Interop, tmp_path: Path, wav: Path) -> Start:
    require("baresip", "baresip-core")

    def start(*, auto: bool) -> Baresip:
        phone = Baresip(
            tmp_path / "baresip",
            interop.sip,
            "1001",
            "foreign-secret",
            wav,
            auto=auto,
        )
        interop.children.append(phone)
        phone.until_registered()
        return phone

    return start


def test_called_with_audio_both_ways(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=True)
    ours = interop.phone("--tone", "440")
    ours.send("call 1001")
    foreign.expect("CALL_ESTABLISHED")
    ours.expect("answered")
    ours.expect_tone(700)
    ours.send("hangup")
    foreign.expect("CALL_CLOSED")
    ours.expect("ended", status=200)
    assert any(heard.hz and abs(heard.hz - 440) < 5 for heard in foreign.heard())
    (record,) = interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")
    assert (record["caller"], record["callee"]) == ("1002", "1001")


def test_calls_with_audio_both_ways(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=False)
    ours = interop.phone("--answer", "--tone", "440")
    foreign.command("dial", "1002")
    ours.expect("answered", 10)
    foreign.expect("CALL_ESTABLISHED")
    ours.expect_tone(700)
    foreign.command("hangup")
    foreign.expect("CALL_CLOSED")
    ours.expect("ended", by="remote", answered=True)
    assert any(heard.hz and abs(heard.hz - 440) < 5 for heard in foreign.heard())
    (record,) = interop.records(1)
    assert (record["disposition"], record["hangup_by"]) == ("answered", "caller")
    assert (record["caller"], record["callee"]) == ("1001", "1002")


def test_called_side_hangs_up(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=True)
    ours = interop.phone()
    ours.send("call 1001")
    ours.expect("answered", 10)
    foreign.expect("CALL_ESTABLISHED")
    foreign.command("hangup")
    ours.expect("ended", by="remote", answered=True)
    assert interop.records(1)[0]["hangup_by"] == "callee"


def test_each_cancels(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=False)
    ours = interop.phone("--ring-only")
    ours.send("call 1001")
    foreign.expect("CALL_INCOMING")
    ours.expect("ringing")
    ours.send("hangup")
    foreign.expect("CALL_CLOSED")
    ours.expect("ended", status=487)
    foreign.command("dial", "1002")
    ours.expect("incoming", 10)
    foreign.expect("CALL_RINGING")
    foreign.command("hangup")
    ours.expect("ended", by="remote", answered=False)
    assert interop.dispositions(2) == ["cancelled", "cancelled"]


def test_each_refuses(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=False)
    ours = interop.phone("--reject", "486")
    ours.send("call 1001")
    foreign.expect("CALL_INCOMING")
    foreign.command("hangup")
    assert ours.expect("ended", answered=False, by="remote")["status"] in (486, 603)
    foreign.command("dial", "1002")
    ours.expect("ended", status=486)
    foreign.expect("CALL_CLOSED")
    assert interop.dispositions(2)[1] == "busy"
    assert interop.dispositions(2)[0] in ("busy", "rejected")


def test_we_hold_and_resume(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=True)
    ours = interop.phone("--tone", "440")
    ours.send("call 1001")
    ours.expect("answered", 10)
    ours.expect_tone(700)
    ours.send("hold")
    ours.expect("media", state="local_hold")
    ours.expect("heard", silent=True)
    ours.send("unhold")
    ours.expect("media", state="active")
    ours.expect_tone(700)
    ours.send("hangup")
    foreign.expect("CALL_CLOSED")
    assert interop.dispositions(1) == ["answered"]


def test_baresip_holds_and_resumes(interop: Interop, baresip: Start) -> None:
    foreign = baresip(auto=False)
    ours = interop.phone("--answer", "--tone", "440")
    foreign.command("dial", "1002")
    foreign.expect("CALL_ESTABLISHED")
    ours.expect_tone(700)
    foreign.command("hold")
    ours.expect("media", 10, state="remote_hold")
    foreign.command("resume")
    ours.expect("media", 10, state="active")
    foreign.command("hangup")
    ours.expect("ended", answered=True)
    assert interop.dispositions(1) == ["answered"]
