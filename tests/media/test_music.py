"""Music: on hold, parked, while one is consulted, while a phone rings; with real phones."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_speaking import Office, _tone, calls, wait_for

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
music: {hold: hold.wav, ringing: ringing.wav}
menus:
  main: {say: short.wav, timeout: 0.5, tries: 1, else: {dial: "1002"}}
routes:
  - {match: "500", play: {menu: main}}
  - {match: "501", play: {music: hold.wav}}
  - {match: "7X", do: park}
  - {match: "1XXX", dial: extension}
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port = free_port()
    (tmp_path / "plan.yaml").write_text(PLAN)
    _tone(tmp_path / "hold.wav", 900, 1.0)
    _tone(tmp_path / "ringing.wav", 700, 1.0)
    _tone(tmp_path / "short.wav", 500, 0.2)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        "extensions:\n"
        + "".join(f'  "{n}": {{password: secret}}\n' for n in (1001, 1002, 1003))
        + "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\n"
        "in_call: {transfer: '*1', consult: '*2', complete: '*3', back: '*4'}\n"
        "cds: {database: hq.db, linger: 0.5}\n"
    )
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    with office.opened():
        yield office


def test_on_hold(office: Office) -> None:
    """Who is put on hold hears music, then the other again; often, and by either side; a call that
    ends meanwhile ends its music."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "1002")
    bob.expect_tone(440)
    for holder, hz, other in ((alice, 440, bob), (bob, 620, alice), (alice, 440, bob)):
        holder.send("hold")
        other.expect_tone(900)
        holder.send("unhold")
        other.expect_tone(hz)
    alice.expect_tone(620)
    for _ in range(3):
        # As fast as can be: the music may not be there yet.
        alice.send("hold")
        alice.expect("media", 10, state="local_hold")
        alice.send("unhold")
        alice.expect("media", 10, state="active")
    alice.send("hold")
    bob.expect_tone(900)
    alice.send("unhold")
    bob.expect_tone(440)
    alice.send("hold")
    bob.expect_tone(900)
    bob.send("hangup")
    alice.expect("ended", 10)
    call_id, disposition, answered, _, parties = office.record("1002")
    assert (disposition, answered) == ("answered", "extension:1002")
    assert parties == '["extension:1001","extension:1002"]'
    assert len(office.talks(call_id)) == 1
    wait_for(lambda: not any(row["calls"] for row in _media(office)), "no port is in use")


def test_a_worker_dies(office: Office) -> None:
    """There is silence then, and the call goes on."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "1002")
    bob.expect_tone(440)
    alice.send("hold")
    bob.expect_tone(900)
    for row in _media(office):
        if row["calls"]:
            os.kill(row["pid"], signal.SIGKILL)
    bob.expect("heard", 10, hz=None)
    alice.send("unhold")
    bob.expect_tone(440)
    alice.expect_tone(620)
    alice.send("hangup")
    bob.expect("ended", 10)


def test_parked(office: Office) -> None:
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    carol = office.phone("1003", "--tone", "540", "--answer")
    calls(alice, "1002")
    bob.expect_tone(440)
    alice.expect_tone(620)
    bob.send("transfer 71")
    alice.expect_tone(900, 10)
    calls(carol, "71")
    alice.expect_tone(540, 10)
    carol.expect_tone(440)
    carol.send("hangup")
    alice.expect("ended", 10)
    assert office.record("1002")[1] == "answered"


def test_consulted(office: Office) -> None:
    """Who waits hears music, while two others talk."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer", "--dtmf-method", "info")
    carol = office.phone("1003", "--tone", "540", "--answer")
    calls(alice, "1002")
    alice.expect_tone(620)
    bob.send("dtmf *21003#")
    alice.expect_tone(900, 15)
    bob.expect_tone(540, 10)
    carol.expect_tone(620, 10)
    bob.send("dtmf *3")
    alice.expect_tone(540, 10)
    carol.expect_tone(440, 10)
    alice.send("hangup")
    carol.expect("ended", 10)


def test_while_a_phone_rings(office: Office) -> None:
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620")
    calls(alice, "500")
    alice.expect_tone(700, 10)
    bob.send("answer")
    alice.expect_tone(620, 10)
    bob.expect_tone(440)
    alice.send("hangup")
    bob.expect("ended", 10)
    calls(alice, "501")
    alice.expect_tone(900)
    alice.send("hangup")
    alice.expect("ended", 10)


def _media(office: Office) -> list[dict[str, int]]:
    from test_speaking import _status

    found: list[dict[str, int]] = _status(office)["media"]
    return found
