"""Recordings, with real phones: both sides in stereo, one file for each talk, whatever dies."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import wave
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from test_speaking import Office, _status, _tone, calls, wait_for

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port
from softswitch.phone.tones import listen

PLAN = """
music: {hold: hold.wav}
queues: {desk: {agents: ["1002"], music: hold.wav, record: true, empty: wait, announce: 0}}
routes:
  - {match: "81", play: {queue: desk}}
  - {match: "9.", record: true, strip: 1, dial: extension}
  - {match: "1XXX", dial: extension}
"""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port, api = free_port(), free_port()
    (tmp_path / "plan.yaml").write_text(PLAN)
    _tone(tmp_path / "hold.wav", 900, 1.0)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        "extensions:\n"
        '  "1001": {password: secret}\n'
        '  "1002": {password: secret}\n'
        '  "1003": {password: secret, record: true}\n'
        "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\n"
        "in_call: {transfer: '*1', record: '*5', pause: '*6'}\n"
        f"cds: {{database: hq.db, linger: 2, api: {{listen: '127.0.0.1:{api}',"
        " tokens: [writes, {token: reads, name: wall, role: read}]}}\n"
    )
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    office.api = api
    with office.opened():
        yield office


def recordings(office: Office, number: str) -> list[dict[str, str]]:
    """What the record of the call to that number says of them, one for each talk."""
    call_id = office.record(number)[0]
    return [
        json.loads(value)
        for (value,) in office.rows(
            f"SELECT value FROM cdr_properties WHERE call_id = '{call_id}'"
            " AND name LIKE 'recording/%' ORDER BY name"
        )
    ]


def sides(path: str, since: float = 0.0, until: float | None = None) -> list[float | None]:
    """The tone on the left and on the right, in that part of a file (seconds)."""
    with wave.open(path) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 8000)
        both = array("h", file.readframes(file.getnframes()))
    first = int(since * 8000)
    last = len(both) // 2 if until is None else int(until * 8000)
    return [_mostly(both[side::2][first:last]) for side in (0, 1)]


def _mostly(samples: Sequence[int]) -> float | None:
    """The tone that is heard most of the time. Each tenth of a second for itself: where a packet
    was late a tone goes on with another phase, and would cancel itself."""
    found = [listen(samples[n : n + 800], 8000).hz for n in range(0, len(samples) - 799, 800)]
    tones = sorted(hz for hz in found if hz is not None)
    return tones[len(tones) // 2] if 2 * len(tones) > len(found) else None


def is_kept(one: dict[str, str]) -> float:
    """Its seconds; it is on disk as it says."""
    assert one["state"] == "kept", one
    path = Path(one["path"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"]
    with wave.open(str(path)) as file:
        assert abs(file.getnframes() / 8000 - float(one["seconds"])) < 0.02
    assert not list(path.parent.glob("*.part.wav"))
    return float(one["seconds"])


def under_way(office: Office) -> bool:
    """Somebody is being recorded."""
    return any((office.folder / "recordings").glob("*/*.part.wav"))


def _seconds(office: Office) -> float:
    """How much of both sides has been written of what is under way."""
    parts = (office.folder / "recordings").glob("*/*.part.wav")
    return min((path.stat().st_size for path in parts), default=0) / 16_000


def test_a_route(office: Office) -> None:
    """From the first moment to the last; who is on hold hears music, which is not recorded."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    wait_for(lambda: under_way(office), "recorded")
    alice.expect_tone(620)
    bob.expect_tone(440)
    time.sleep(1.0)
    alice.send("hold")
    bob.expect_tone(900)
    alice.send("unhold")
    bob.expect_tone(440)
    time.sleep(0.5)
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = recordings(office, "91002")
    seconds = is_kept(one)
    assert seconds > 2
    assert sides(one["path"], seconds - 0.6)[1] == pytest.approx(620, abs=5), "it is heard still"
    left, right = sides(one["path"], 0.3, 1.0)
    assert left is not None
    assert abs(left - 440) < 5
    assert right is not None
    assert abs(right - 620) < 5
    calls(alice, "1002")
    bob.expect_tone(440)
    assert not under_way(office), "not by this route"
    alice.send("hangup")
    bob.expect("ended", 10)
    assert recordings(office, "1002") == []


def test_a_queue(office: Office) -> None:
    """From when an agent has answered; not what the caller says while it waits."""
    alice = office.phone("1001", "--tone", "440")
    alice.send("call 81")
    alice.expect_tone(900, 10)
    assert not under_way(office)
    bob = office.phone("1002", "--tone", "620", "--answer")
    bob.expect_tone(440, 20)
    wait_for(lambda: under_way(office), "recorded")
    alice.expect_tone(620)
    wait_for(lambda: _seconds(office) > 1.2, "that much is recorded")
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = recordings(office, "81")
    assert is_kept(one) > 1.0
    assert sides(one["path"], 0.6, 1.0) == [pytest.approx(440, abs=5), pytest.approx(620, abs=5)]


def test_an_extension_and_a_transfer(office: Office) -> None:
    """One file for each talk."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    carol = office.phone("1003", "--tone", "540", "--answer")
    calls(alice, "1003")
    wait_for(lambda: under_way(office), "recorded")
    alice.expect_tone(540)
    time.sleep(0.5)
    alice.send("transfer 1002")
    carol.expect_tone(620, 10)
    bob.expect_tone(540, 10)
    time.sleep(0.5)
    carol.send("hangup")
    bob.expect("ended", 10)
    first, second = recordings(office, "1003")
    assert is_kept(first) > 0.4
    assert is_kept(second) > 0.4
    assert {round(hz or 0, -1) for hz in sides(first["path"], 0.2)} == {440, 540}
    assert {round(hz or 0, -1) for hz in sides(second["path"], 0.2)} == {540, 620}


def test_by_a_code_and_paused(office: Office) -> None:
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", "info")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "1002")
    alice.expect_tone(620)
    assert not under_way(office)
    alice.send("dtmf *5")
    wait_for(lambda: under_way(office), "recorded")
    began = time.monotonic()
    time.sleep(1.2)
    alice.send("dtmf *6")
    time.sleep(1.0)
    paused = time.monotonic() - began
    time.sleep(1.0)
    alice.send("dtmf *6")
    time.sleep(1.5)
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = recordings(office, "1002")
    seconds = is_kept(one)
    assert sides(one["path"], paused, paused + 0.4) == [None, None], "a card's number"
    assert sides(one["path"], seconds - 0.6)[0] is not None


def test_the_worker_is_killed(office: Office) -> None:
    """The two go on without it; what was said up to then is there."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    wait_for(lambda: under_way(office), "recorded")
    alice.expect_tone(620)
    time.sleep(2.0)
    (row,) = [row for row in _status(office)["media"] if row["calls"]]
    os.kill(row["pid"], signal.SIGKILL)
    bob.expect("media", 10, state="active")
    time.sleep(1.0)
    alice.send("hold")
    bob.expect("media", 10, state="remote_hold")
    alice.send("unhold")
    bob.expect("media", 10, state="active")
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = recordings(office, "91002")
    assert is_kept(one) > 1.0
    assert office.record("91002")[1] == "answered"


def test_the_switch_is_killed(office: Office) -> None:
    """The call goes on, and so does its recording, in a second file; the first is made whole."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    wait_for(lambda: under_way(office), "recorded")
    alice.expect_tone(620)
    time.sleep(2.0)
    office.switch.signal(signal.SIGKILL)
    office.switch.stop()
    time.sleep(0.5)
    office.start()
    wait_for(lambda: under_way(office), "recorded again")
    time.sleep(1.5)
    alice.send("hangup")
    bob.expect("ended", 10)
    found = recordings(office, "91002")
    assert found
    assert is_kept(found[-1]) > 1.0
    files = sorted((office.folder / "recordings").glob("*/*.wav"))
    assert len(files) == 2
    with wave.open(str(files[0])) as file:
        assert file.getnframes() / 8000 > 1.0, "at most the last second is lost"
    assert {round(hz or 0, -1) for hz in sides(str(files[0]), 0.2)} == {440, 620}


def test_by_the_api(office: Office) -> None:
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "1002")
    alice.expect_tone(620)
    (call,) = _status(office)["calls"]

    def ask(call_id: str, body: dict[str, object], token: str = "writes") -> httpx.Response:
        return httpx.put(
            f"http://127.0.0.1:{office.api}/calls/{call_id}/recording",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        )

    assert ask(call["call_id"], {}, "reads").status_code == 403
    assert ask("nobody", {}).status_code == 404
    assert ask(call["call_id"], {"paused": "no"}).status_code == 422
    assert ask(call["call_id"], {}).json() == {"paused": False, "talks": 1}
    wait_for(lambda: under_way(office), "recorded")
    time.sleep(1.0)
    assert ask(call["call_id"], {"paused": True}).json() == {"paused": True, "talks": 1}
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = recordings(office, "1002")
    assert is_kept(one) > 0.5
