"""A switch that speaks, with real phones and what they hear; and what is left when somebody kills
its workers, or itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from softswitch.control import ask, open_control, put_together
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
menus:
  main:
    say: [welcome, sales]
    timeout: 3
    digit_timeout: 0.5
    extensions: true
    choices:
      "1": {dial: "1002"}
      "2": {play: {menu: second}}
      "9": {play: {tone: 523}}
    else: {play: {tone: 330}}
  quick:
    say: [welcome]
    timeout: 1
    digit_timeout: 0.5
    extensions: true
    else: {play: {tone: 330}}
  second:
    say: [support]
    choices: {"1": back, "2": {play: time}}
routes:
  - {match: "*43", play: echo}
  - {match: "499", play: {menu: quick}}
  - {match: "500", play: {menu: main}}
  - {match: "501", play: {announcement: welcome}, then: {dial: "1002"}}
  - {match: "502", play: {tone: 660}}
  - {match: "503", play: {tone: {hz: 700, seconds: 1}}, then: {play: {tone: 800}}}
  - {match: "504", play: {tone: 660}, else: {dial: "1002"}}
  - {match: "505", play: {announcement: hello.wav}}
  - {match: "1XXX", dial: extension}
"""


@dataclass
class Office:
    """A switch, and phones that register there."""

    folder: Path
    address: str
    switch: SwitchChild
    phones: list[PhoneChild] = field(default_factory=list)
    api: int = 0

    def phone(self, user: str, *options: str) -> PhoneChild:
        phone = PhoneChild(
            user, "--registrar", self.address, "--user", user, "--password", "secret", *options
        )
        self.phones.append(phone)
        phone.expect("registered", 15)
        return phone

    def start(self) -> None:
        self.switch = SwitchChild("hq", self.folder / "hq.yaml")
        self.switch.until_ready(20)

    @contextmanager
    def opened(self) -> Iterator[Office]:
        """It is there, and in the end nothing of it is left."""
        try:
            self.switch.until_ready(20)
            yield self
        finally:
            for child in (*self.phones, self.switch):
                child.stop()

    def workers(self) -> list[int]:
        """The processes of workers, without the nursery."""
        return [pid for one in _children(self.switch.pid) for pid in _children(one)]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(f"file:{self.folder / 'hq.db'}?mode=ro", uri=True)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()

    def record(self, number: str) -> tuple[Any, ...]:
        """Of the call to that number, once it is final."""
        query = (
            "SELECT call_id, disposition, answered_party, hangup_by, parties FROM cdrs"
            f" WHERE dialled = '{number}' AND final"
        )
        wait_for(lambda: len(self.rows(query)) == 1, f"a record of {number}")
        return self.rows(query)[0]

    def talks(self, call_id: str) -> list[tuple[Any, ...]]:
        return self.rows(
            f"SELECT from_party, to_party, how FROM cdr_talks WHERE call_id = '{call_id}'"
            " ORDER BY talk"
        )

    def facts(self, call_id: str) -> list[dict[str, str]]:
        """What applications have told of a call."""
        return [
            json.loads(value)
            for (value,) in self.rows(
                f"SELECT value FROM cdr_properties WHERE call_id = '{call_id}'"
                " AND name LIKE 'application/%' ORDER BY name"
            )
        ]


def _children(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += [int(one) for one in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(there: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port, api = free_port(), free_port()
    (tmp_path / "plan.yaml").write_text(PLAN)
    _tone(tmp_path / "hello.wav", 900, 2.0)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        "extensions:\n"
        + "".join(f'  "{n}": {{password: secret}}\n' for n in (1001, 1002, 1003))
        + "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\n"
        f"cds: {{database: hq.db, linger: 0.5, api: {{listen: '127.0.0.1:{api}', tokens: [x]}}}}\n"
    )
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    with office.opened():
        yield office


def _tone(path: Path, hz: int, seconds: float) -> None:
    """A WAV file of 16 kHz: not the rate of the bridge."""
    import wave

    from softswitch.phone.tones import sine

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sine(hz, seconds, 16000).tobytes())


def calls(phone: PhoneChild, number: str) -> None:
    phone.send(f"call {number}")
    phone.expect("answered", 10)


def test_what_is_played(office: Office) -> None:
    """Echo, tones, a file of another rate, one after the other."""
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "*43")
    alice.expect_tone(440)
    alice.send("hangup")
    alice.expect("ended")
    calls(alice, "502")
    alice.expect_tone(660)
    alice.send("hangup")
    alice.expect("ended")
    calls(alice, "503")
    alice.expect_tone(700)
    alice.expect_tone(800)
    alice.send("hangup")
    alice.expect("ended")
    calls(alice, "505")
    alice.expect_tone(900)
    alice.expect("ended", 10, by="remote")
    call_id, disposition, answered, by, parties = office.record("505")
    assert (disposition, answered, by) == ("answered", "application:announcement", "callee")
    assert json.loads(parties) == ["extension:1001", "application:announcement"]
    call_id = office.record("503")[0]
    tone = ("extension:1001", "application:tone", "application")
    assert office.talks(call_id) == [tone, tone]


@pytest.mark.parametrize("method", ["rfc4733", "info"])
def test_a_menu_leads_to_a_phone(office: Office, method: str) -> None:
    """Through a menu, a second one and back; then each hears the other."""
    alice = office.phone("1001", "--tone", "440", "--dtmf-method", method)
    bob = office.phone("1002", "--answer", "--tone", "880")
    calls(alice, "500")
    alice.expect("heard", silent=False)
    for digits in ("2", "1", "1"):
        time.sleep(1.0)  # a caller who listens to what is said first
        alice.send(f"dtmf {digits}")
    alice.expect_tone(880, 10)
    bob.expect_tone(440, 10)
    alice.send("hangup")
    bob.expect("ended", 10, by="remote")
    call_id, disposition, _, by, _ = office.record("500")
    assert (disposition, by) == ("answered", "caller")
    assert office.talks(call_id) == [
        ("extension:1001", "application:menu", "application"),
        ("extension:1001", "extension:1002", "dialled"),
    ]
    (facts,) = office.facts(call_id)
    assert facts["digits"] == "211"
    assert facts["choices"] == "main:2 second:1 main:1"


def test_an_extension_is_dialled_in_a_menu_and_is_busy(office: Office) -> None:
    """Then the caller hears the menu again, and gets to `else` in the end."""
    alice = office.phone("1001")
    office.phone("1003", "--reject", "486")
    calls(alice, "499")
    alice.expect("heard", silent=False)
    alice.send("dtmf 1003")
    alice.expect_tone(330, 40)
    alice.send("hangup")
    call_id = office.record("499")[0]
    assert [to for _, to, _ in office.talks(call_id)] == ["application:menu", "application:tone"]


def test_many_at_once(office: Office) -> None:
    """More than a worker has ports: each hears itself."""
    users = ("1001", "1002", "1003")
    phones = [office.phone(user, "--tone", f"{400 + 50 * n}") for n, user in enumerate(users)]
    for phone in phones:
        for _ in range(4):
            phone.send("call *43")
    for phone in phones:
        for _ in range(4):
            phone.expect("answered", 15)
    wait_for(lambda: len(office.workers()) >= 3, "three workers")
    rows = _status(office)["media"]
    assert sum(row["calls"] for row in rows) == 12
    assert {row["pid"] for row in rows if row["pid"]} <= set(office.workers())
    for number, phone in enumerate(phones):
        heard = {
            event["call"]
            for event in phone.events
            if event["event"] == "heard"
            and event["hz"]
            and abs(event["hz"] - 400 - 50 * number) < 5
        }
        while len(heard) < 4:
            heard.add(phone.expect_tone(400 + 50 * number, 10)["call"])


def test_a_worker_is_killed(office: Office) -> None:
    """Its callers go on with `else`, or are hung up on; callers at others hear no difference."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--answer", "--tone", "880")
    carol = office.phone("1003", "--tone", "550")
    calls(carol, "*43")
    carol.expect_tone(550)
    calls(alice, "504")
    alice.expect_tone(660)
    at = {leg["party"]: leg["pid"] for leg in _ports(office)}
    os.kill(at["application:tone"], signal.SIGKILL)
    alice.expect_tone(880, 10)
    bob.expect_tone(440, 10)
    assert not any(event["event"] == "ended" for event in carol.events)
    alice.send("hangup")
    bob.expect("ended", 10)
    call_id = office.record("504")[0]
    assert office.talks(call_id) == [
        ("extension:1001", "application:tone", "application"),
        ("extension:1001", "extension:1002", "dialled"),
    ]
    os.kill(at["application:echo"], signal.SIGKILL)
    carol.expect("ended", 10, by="remote")
    _, disposition, answered, by, _ = office.record("*43")
    assert (disposition, answered, by) == ("answered", "application:echo", "switch")
    calls(carol, "502")
    carol.expect_tone(660, 10)


def test_a_worker_that_hangs(office: Office) -> None:
    """Is ended like one that has died: its caller goes on."""
    alice = office.phone("1001", "--tone", "440")
    bob = office.phone("1002", "--answer", "--tone", "880")
    calls(alice, "504")
    alice.expect_tone(660)
    (pid,) = [leg["pid"] for leg in _ports(office)]
    os.kill(pid, signal.SIGSTOP)
    alice.expect_tone(880, 25)
    bob.expect_tone(440, 10)
    wait_for(lambda: not is_there(pid), "it has ended")


def _status(office: Office) -> dict[str, Any]:
    """What the switch says of itself."""
    told: dict[str, Any] = {}
    with open_control(office.folder / "hq.sock") as stream:
        for piece in ask(stream, "status", rows=100):
            put_together(told, piece)
    return told


def _ports(office: Office) -> list[dict[str, Any]]:
    """Each application's leg, and the process that has it: by the UDP port that it talks to."""
    legs = [leg for call in _status(office)["calls"] for leg in call["legs"]]
    found = []
    for leg in legs:
        if leg["party"].startswith("application:"):
            port = int(leg["address"].rpartition(":")[2])
            (pid,) = [pid for pid in office.workers() if port in _udp_ports(pid)]
            found.append({**leg, "pid": pid})
    return found


def _udp_ports(pid: int) -> set[int]:
    """Those that a process has open on loopback."""
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(one).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    ports = set()
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            ports.add(int(fields[1].partition(":")[2], 16))
    return ports


def test_the_switch_is_killed(office: Office) -> None:
    """Its workers end with it, whoever they speak to; the record is right after the restart."""
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "*43")
    alice.expect_tone(440)
    left = [*_children(office.switch.pid), *office.workers()]
    assert len(left) >= 2
    os.kill(office.switch.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_there(pid) for pid in left), "workers have ended")
    office.switch.stop()
    office.start()
    alice.expect("ended", 10, by="remote")
    _, disposition, answered, by, _ = office.record("*43")
    assert (disposition, answered, by) == ("answered", "application:echo", "switch")
    calls(alice, "*43")
    alice.expect_tone(440)


def test_the_switch_stops(office: Office) -> None:
    """With somebody in an application, and nothing is left."""
    alice = office.phone("1001", "--tone", "440")
    calls(alice, "502")
    alice.expect_tone(660)
    left = [*_children(office.switch.pid), *office.workers()]
    assert office.switch.stop() == 0
    alice.expect("ended", 10, by="remote")
    wait_for(lambda: not any(is_there(pid) for pid in left), "workers have ended")
