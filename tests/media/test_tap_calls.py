"""Real phones that talk with each other, and a real program that listens; whatever dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media.program import Program, Talk, listens
from media.test_speaking import Office, _status, _tone, calls, wait_for

from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port
from softswitch.media.g711 import linear_of
from softswitch.phone.tones import Heard, listen, samples_of

PLAN = """
music: {hold: hold.wav}
queues: {desk: {agents: ["1002"], music: hold.wav, tap: "URL", empty: wait, announce: 0}}
routes:
  - {match: "80", play: {queue: desk}}
  - {match: "9.", tap: {url: "URL", parameters: {lang: en}}, strip: 1, dial: extension}
  - {match: "8.", tap: "URL", record: true, strip: 1, dial: extension}
  - {match: "7.", tap: {url: "URL", tracks: callee, format: l16}, strip: 1, dial: extension}
  - {match: "1XXX", dial: extension}
"""

CONFIG = """
switch: {{name: hq, listen: ["udp:127.0.0.1:{port}"]}}
extensions:
  "1001": {{name: Alice, password: secret}}
  "1002": {{password: secret}}
  "1003": {{password: secret}}
dialplan: plan.yaml
timers: {{drain_timeout: 0}}
in_call: {{transfer: '*1', record: '*5', pause: '*6'}}
tapping: {{tries: 3, pause: 0.2}}
cds: {{database: hq.db, linger: 0.5}}
"""


def set_up(folder: Path, url: str, config: str = CONFIG) -> Office:
    port = free_port()
    (folder / "plan.yaml").write_text(PLAN.replace("URL", url))
    _tone(folder / "hold.wav", 900, 1.0)
    (folder / "hq.yaml").write_text(config.format(port=port))
    return Office(folder, f"127.0.0.1:{port}", SwitchChild("hq", folder / "hq.yaml"))


@pytest.fixture
def program() -> Iterator[Program]:
    with Program(listens) as program:
        yield program


@pytest.fixture
def office(tmp_path: Path, program: Program) -> Iterator[Office]:
    office = set_up(tmp_path, program.url)
    with office.opened():
        yield office


def start(talk: Talk) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in talk.got if one["event"] == "start")["start"]
    return found


def frames(talk: Talk, track: str) -> list[bytes]:
    media = [one["media"] for one in list(talk.got) if one["event"] == "media"]
    return [b64decode(one["payload"]) for one in media if one["track"] == track]


def newest(talk: Talk, track: str) -> Heard:
    """What is in the newest frames of a track."""
    mulaw = b"".join(frames(talk, track)[-10:])
    return listen(samples_of(linear_of(mulaw)), 8000) if mulaw else Heard(None, -120.0, 0.0)


def hears(talk: Talk, track: str, hz: float | None) -> None:
    """Until that tone is what the newest frames of that track have; None: silence."""

    def is_it() -> bool:
        heard = newest(talk, track)
        if hz is None:
            return heard.silent
        return heard.hz is not None and abs(heard.hz - hz) < 5

    wait_for(is_it, f"{hz} Hz {track}")


def is_tapped(program: Program, number: int = 1) -> Talk:
    """The stream of that number; until its program has been told of the talk."""
    wait_for(
        lambda: (
            len(program.talks) >= number
            and any(one["event"] == "start" for one in list(program.talks[number - 1].got))
        ),
        f"stream {number}",
    )
    return program.talks[number - 1]


def facts(office: Office, number: str) -> list[dict[str, str]]:
    """What the record of the call to that number says of who listened, by its talks."""
    call_id = office.record(number)[0]
    return [
        json.loads(value)
        for (value,) in office.rows(
            f"SELECT value FROM cdr_properties WHERE call_id = '{call_id}'"
            " AND name LIKE 'tap/%' ORDER BY name"
        )
    ]


def test_both_in_their_tracks(office: Office, program: Program) -> None:
    """Nobody hears what the program says; music that is heard on hold is nobody's speech."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    talk = is_tapped(program)
    hears(talk, "inbound", 440)
    hears(talk, "outbound", 620)
    talk.say(b"\0\x80" * 4000)
    talk.connection.send(b"binary")
    talk.connection.send("no JSON")
    alice.expect_tone(620)
    bob.expect_tone(440)
    alice.send("hold")
    bob.expect_tone(900)
    hears(talk, "outbound", 620)
    assert newest(talk, "inbound").hz != pytest.approx(900, abs=5)
    alice.send("unhold")
    bob.expect_tone(440)
    hears(talk, "inbound", 440)
    alice.send("hangup")
    bob.expect("ended", 10)
    assert program.until_over() is talk
    assert talk.code == 1000
    assert talk.events()[-1] == "stop"
    (one,) = facts(office, "91002")
    call_id = office.record("91002")[0]
    assert (one["state"], one["host"]) == ("ended", f"127.0.0.1:{program.port}")
    assert float(one["seconds"]) > 0.5
    said = start(talk)
    assert said["tracks"] == ["inbound", "outbound"]
    assert (said["callSid"], said["streamSid"]) == (call_id, f"{call_id}/hq/1/1/1")
    assert said["customParameters"] == {
        "caller": "1001",
        "callerName": "Alice",
        "callee": "1002",
        "talk": "1",
        "legs": "0 1",
        "inbound": "extension:1001",
        "outbound": "extension:1002",
        "lang": "en",
    }
    calls(alice, "1002")
    bob.expect_tone(440)
    assert len(program.talks) == 1, "not by this route"


def test_one_of_them(office: Office, program: Program) -> None:
    """In samples of 16 bits."""
    alice = office.phone("1001", "--tone", "440")
    office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "71002")
    talk = is_tapped(program)
    wait_for(lambda: len(frames(talk, "outbound")) > 30, "frames")
    assert start(talk)["tracks"] == ["outbound"]
    heard = listen(samples_of(b"".join(frames(talk, "outbound")[-10:])), 8000)
    assert heard.hz == pytest.approx(620, abs=5)
    assert frames(talk, "inbound") == []
    alice.send("hangup")
    assert program.until_over().code == 1000


def test_a_transfer(office: Office, program: Program) -> None:
    """Another talk is another stream."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    carol = office.phone("1003", "--tone", "540", "--answer")
    calls(alice, "91003")
    first = is_tapped(program)
    hears(first, "outbound", 540)
    alice.send("transfer 1002")
    carol.expect_tone(620, 10)
    bob.expect_tone(540, 10)
    second = is_tapped(program, 2)
    hears(second, "inbound", 540)
    hears(second, "outbound", 620)
    wait_for(lambda: first.code is not None, "the first is over")
    assert first.code == 1000
    said = start(second)
    assert said["callSid"] == start(first)["callSid"]
    assert said["customParameters"]["talk"] == "2"
    assert said["customParameters"]["inbound"] == "extension:1003"
    assert said["customParameters"]["outbound"] == "extension:1002"
    carol.send("hangup")
    bob.expect("ended", 10)
    assert [one["state"] for one in facts(office, "91003")] == ["ended", "ended"]


def test_a_queue(office: Office, program: Program) -> None:
    """From when an agent has answered."""
    alice = office.phone("1001", "--tone", "440")
    alice.send("call 80")
    alice.expect_tone(900, 10)
    assert program.talks == []
    office.phone("1002", "--tone", "620", "--answer")
    talk = is_tapped(program)
    hears(talk, "inbound", 440)
    hears(talk, "outbound", 620)
    alice.send("hangup")
    assert program.until_over().code == 1000


def test_recorded_and_paused(office: Office, program: Program) -> None:
    """A card's number is neither recorded nor heard."""
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", "info")
    office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "81002")
    talk = is_tapped(program)
    hears(talk, "inbound", 440)
    alice.send("dtmf *6")
    hears(talk, "inbound", None)
    hears(talk, "outbound", None)
    alice.expect_tone(620)
    alice.send("dtmf *6")
    hears(talk, "inbound", 440)
    hears(talk, "outbound", 620)
    alice.send("hangup")
    assert program.until_over().code == 1000
    assert [one["state"] for one in facts(office, "81002")] == ["ended"]
    assert list((office.folder / "recordings").glob("*/*.wav"))


def test_the_program_goes(office: Office, program: Program) -> None:
    """It is tried again; when it is gone for good the two talk on."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    talk = is_tapped(program)
    hears(talk, "inbound", 440)
    talk.connection.close(1011, "no model")
    again = is_tapped(program, 2)
    hears(again, "inbound", 440)
    hears(again, "outbound", 620)
    assert start(again)["streamSid"] == start(talk)["streamSid"][:-1] + "2"
    program.close()
    again.connection.socket.close()
    given_up = re.compile(r"tapped by \S+: Connection refused$")
    wait_for(lambda: any(map(given_up.search, list(office.switch.errors))), "it is given up", 30)
    alice.send("hold")
    bob.expect_tone(900)
    alice.send("unhold")
    bob.expect_tone(440)
    alice.expect_tone(620)
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = facts(office, "91002")
    assert (one["state"], one["ended"]) == ("failed", "unreachable")
    assert office.record("91002")[1] == "answered"


def test_the_worker_is_killed(office: Office, program: Program) -> None:
    """The two go on without it."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    hears(is_tapped(program), "inbound", 440)
    (row,) = [row for row in _status(office)["media"] if row["calls"]]
    os.kill(row["pid"], signal.SIGKILL)
    assert program.until_over().code == 1006
    bob.expect("media", 10, state="active")
    alice.expect_tone(620, 10)
    bob.expect_tone(440, 10)
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = facts(office, "91002")
    assert (one["state"], one["error"]) == ("failed", "its media worker has died")
    assert office.record("91002")[1] == "answered"


def test_the_switch_is_killed(office: Office, program: Program) -> None:
    """The call goes on, and the program hears it again."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--tone", "620", "--answer")
    calls(alice, "91002")
    hears(is_tapped(program), "inbound", 440)
    office.switch.signal(signal.SIGKILL)
    office.switch.stop()
    assert program.until_over().code == 1000
    office.start()
    again = is_tapped(program, 2)
    hears(again, "inbound", 440)
    hears(again, "outbound", 620)
    alice.send("hangup")
    bob.expect("ended", 10)
    (one,) = facts(office, "91002")
    assert one["state"] == "ended"


def test_it_is_announced(tmp_path: Path, program: Program) -> None:
    """To both, when somebody listens."""
    _tone(tmp_path / "listens.wav", 750, 3.0)
    config = CONFIG.replace("tries: 3,", "announce: listens.wav, tries: 3,")
    office = set_up(tmp_path, program.url, config)
    try:
        office.switch.until_ready(20)
        alice = office.phone("1001")
        bob = office.phone("1002", "--answer")
        calls(alice, "91002")
        alice.expect_tone(750, 10)
        bob.expect_tone(750, 10)
    finally:
        for child in (*office.phones, office.switch):
            child.stop()


def test_the_program_of_the_page(tmp_path: Path) -> None:
    """As `docs/streams.md` prints it."""
    page = (Path(__file__).parents[2] / "docs/streams.md").read_text()
    (code,) = re.findall(r"^```python\n(# levels\.py\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "levels.py").write_text(code)
    at = free_port()
    command = [sys.executable, "levels.py", str(at)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        office = set_up(tmp_path, f"ws://127.0.0.1:{at}/")
        try:
            office.switch.until_ready(20)
            bob = office.phone("1002", "--answer")
            alice = office.phone("1001", "--tone", "440")
            calls(alice, "91002")
            assert program.stdout.readline() == "extension:1001 talks with extension:1002\n"
            assert program.stdout.readline() == "extension:1001 speaks\n"
            alice.send("hangup")
            bob.expect("ended", 10)
            assert program.stdout.readline() == "over\n"
        finally:
            for child in (*office.phones, office.switch):
                child.stop()
            program.kill()
