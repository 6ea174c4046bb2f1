"""Two phones that share no codec, and the media worker between them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_speaking import Office, _status, calls, wait_for

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
routes:
  - {match: "1XXX", dial: extension}
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port = free_port()
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        "extensions:\n"
        '  "1001": {password: secret}\n'
        '  "1002": {password: secret}\n'
        '  "1003": {password: secret}\n'
        "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\n"
        "cds: {database: hq.db, linger: 2}\n"
    )
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    with office.opened():
        yield office


def busy(office: Office) -> int:
    """Calls at workers."""
    return sum(row["calls"] for row in _status(office)["media"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("PCMA/8000", "PCMU/8000"),
        ("PCMU/8000", "G722/16000"),
        ("GSM/8000", "PCMA/8000"),
        ("iLBC/8000", "speex/8000"),
    ],
)
def test_no_codec_in_common(office: Office, one: str, other: str) -> None:
    alice = office.phone("1001", "--tone", "440", "--codec", one)
    bob = office.phone("1002", "--tone", "620", "--codec", other, "--answer")
    calls(alice, "1002")
    alice.expect_tone(620, 10)
    bob.expect_tone(440, 10)
    assert busy(office) == 2
    alice.send("dtmf 12")
    bob.expect("dtmf", 10, digit="1")
    bob.expect("dtmf", 10, digit="2")
    alice.send("hold")
    bob.expect("heard", 10, silent=True)
    alice.send("unhold")
    bob.expect_tone(440, 10)
    bob.send("hangup")
    alice.expect("ended", 10)
    call_id, disposition, answered, _, parties = office.record("1002")
    assert (disposition, answered) == ("answered", "extension:1002")
    assert parties == '["extension:1001","extension:1002"]'
    assert len(office.talks(call_id)) == 1
    wait_for(lambda: not busy(office), "no port is in use")


def test_only_then(office: Office) -> None:
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "1002")
    alice.expect_tone(620, 10)
    assert not _status(office)["media"], "not even a worker"
    alice.send("hangup")
    bob.expect("ended", 10)


def test_recorded_as_well(office: Office) -> None:
    """And a call goes on whose other side has hung up before it was answered, and one to nobody."""
    config = office.folder / "hq.yaml"
    config.write_text(config.read_text().replace('1002": {', '1002": {record: true, '))
    office.switch.stop()
    office.start()
    alice = office.phone("1001", "--tone", "440", "--codec", "PCMA/8000")
    bob = office.phone("1002", "--tone", "620", "--codec", "PCMU/8000")
    for _ in range(2):
        alice.send("call 1002")
        bob.expect("incoming", 10)
        alice.send("hangup")
        bob.expect("ended", 10)
    wait_for(lambda: not busy(office), "no port is in use")
    alice.send("call 1002")
    bob.expect("incoming", 10)
    bob.send("answer")
    alice.expect_tone(620, 10)
    bob.expect_tone(440, 10)
    wait_for(lambda: list((office.folder / "recordings").glob("*/*.part.wav")), "recorded")
    bob.send("hangup")
    alice.expect("ended", 10)
    wait_for(
        lambda: (
            len(list((office.folder / "recordings").glob("*/[!.]*.wav"))) == 1
            and not list((office.folder / "recordings").glob("*/*.part.wav"))
        ),
        "one file",
    )
    wait_for(lambda: not busy(office), "no port is in use")


def test_the_worker_is_killed(office: Office) -> None:
    """The two cannot talk without it: by way of another one they go on."""
    alice = office.phone("1001", "--tone", "440", "--codec", "PCMA/8000")
    bob = office.phone("1002", "--tone", "620", "--codec", "PCMU/8000", "--answer")
    calls(alice, "1002")
    alice.expect_tone(620, 10)
    (row,) = [row for row in _status(office)["media"] if row["calls"]]
    os.kill(row["pid"], signal.SIGKILL)
    wait_for(lambda: busy(office) == 2, "there is another one", 20)
    for phone, tone in ((alice, 620), (bob, 440)):
        phone.expect_tone(tone, 20)
    alice.send("hangup")
    bob.expect("ended", 10)
    assert office.record("1002")[3] == "caller"


def test_transferred(office: Office) -> None:
    """To one who shares no codec with whom it is connected to, and back to nobody's worker."""
    alice = office.phone("1001", "--tone", "440", "--codec", "PCMA/8000")
    bob = office.phone("1002", "--tone", "620", "--codec", "PCMA/8000", "--answer")
    carol = office.phone("1003", "--tone", "880", "--codec", "GSM/8000", "--answer")
    calls(alice, "1002")
    alice.expect_tone(620, 10)
    assert not busy(office)
    bob.send("transfer 1003")
    alice.expect_tone(880, 20)
    carol.expect_tone(440, 10)
    assert busy(office) == 2
    alice.send("hangup")
    carol.expect("ended", 10)
    wait_for(lambda: not busy(office), "no port is in use")
