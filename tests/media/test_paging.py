"""Pages with audio: who pages is heard by many phones, all of them processes; what is left when
somebody kills a worker, or the switch; and what the record says."""

from __future__ import annotations

import os
import signal
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media.test_speaking import Office, _ports, calls, is_there, wait_for

from softswitch.applications.page import BEEP
from softswitch.lab.children import PhoneChild, SwitchChild
from softswitch.lab.ports import free_port
from softswitch.phone.tones import level, power_at, samples_of

PLAN = """
routes:
  - {match: "750", play: {page: ["1002", "1003", "1004", "1005", "1006", "1007"]}}
  - match: "751"
    play: {page: {extensions: ["1002", "1003"], talk_back: true, tone: false}}
  - {match: "752", play: {page: {extensions: ["1008", "1002"], timeout: 1}}, else: {dial: "1003"}}
  - {match: "1XXX", dial: extension}
"""
TONES = {f"{1001 + n}": 440 + 130 * n for n in range(8)}
LOUD, SILENT = -30.0, -45.0


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    port = free_port()
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        "extensions:\n"
        + "".join(f'  "{n}": {{password: secret}}\n' for n in TONES)
        + "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\nmedia: {spare: 4, workers: 8}\n"
        "cds: {database: hq.db, linger: 0.5}\n"
    )
    office = Office(tmp_path, f"127.0.0.1:{port}", SwitchChild("hq", tmp_path / "hq.yaml"))
    with office.opened():
        yield office


def phone(office: Office, user: str, *options: str) -> PhoneChild:
    """One that plays its own tone."""
    return office.phone(user, "--tone", str(TONES[user]), *options)


def file_of(office: Office, user: str) -> Path:
    return office.folder / f"{user}.wav"


def heard(path: Path) -> tuple[int, array[int]]:
    """What was recorded: samples a second, and these."""
    with wave.open(str(path), "rb") as file:
        return file.getframerate(), samples_of(file.readframes(file.getnframes()))


def beeps(path: Path) -> bool:
    """Whether the tone before a page was heard."""
    rate, samples = heard(path)
    window = rate // 20
    return any(
        level(power_at(samples[n : n + window], rate, BEEP.first)) > LOUD
        for n in range(0, len(samples) - window, window)
    )


def levels(path: Path) -> dict[str, float]:
    """How loud each phone's tone is in the last second that was recorded (dBFS)."""
    rate, samples = heard(path)
    assert len(samples) > rate
    last = samples[-rate:]
    return {user: level(power_at(last, rate, hz)) for user, hz in TONES.items()}


def facts(office: Office, call_id: str) -> dict[str, str]:
    return office.facts(call_id)[0]


def legs(office: Office, call_id: str) -> list[tuple[Any, ...]]:
    """Those to phones: whom, whether it was answered, the status, who ended it."""
    return office.rows(
        "SELECT party, answered_at IS NOT NULL, sip_status, ended_by FROM cdr_legs"
        f" WHERE call_id = '{call_id}' AND party LIKE 'extension:%' AND leg > 0 ORDER BY party"
    )


def test_five_hear_one_who_pages(office: Office) -> None:
    """Not each other, and not who is in a call: that one hears on what it heard."""
    pager = phone(office, "1001", "--record", str(file_of(office, "1001")))
    paged = {
        user: phone(office, user, "--intercom", "--record", str(file_of(office, user)))
        for user in ("1002", "1003", "1004", "1005", "1006")
    }
    busy, other = phone(office, "1007", "--intercom"), phone(office, "1008")
    other.send("call 1007")
    busy.expect("incoming", 10)
    busy.send("answer")
    other.expect("answered", 10)
    other.expect_tone(TONES["1007"], 10)
    calls(pager, "750")
    for one in paged.values():
        one.expect_tone(TONES["1001"], 10)
    wait_for(lambda: len(_ports(office)) == 6, "a port for each")
    assert len(busy.events) == len([e for e in busy.events if e["event"] != "incoming"]) + 1
    # A second in which nothing but the page is heard: as long as what is measured.
    seen = max(file_of(office, user).stat().st_size for user in paged)
    wait_for(lambda: file_of(office, "1002").stat().st_size > seen + 60_000, "audio comes")
    pager.send("hangup")
    for one in paged.values():
        one.expect("ended", 10, by="remote")
    for one in (pager, *paged.values()):
        one.stop()
    for user in paged:
        found = levels(file_of(office, user))
        assert found.pop("1001") > LOUD, user
        assert max(found.values()) < SILENT, (user, found)
        assert beeps(file_of(office, user)), user
    assert max(levels(file_of(office, "1001")).values()) < SILENT, "nobody talks back"
    assert beeps(file_of(office, "1001"))
    assert not any(event["event"] == "ended" for event in busy.events)
    call_id, disposition, _, by, _ = office.record("750")
    assert (disposition, by) == ("answered", "caller")
    assert office.rows("SELECT count(*) FROM cdrs WHERE caller = '1001'") == [(1,)]
    assert legs(office, call_id) == [
        (f"extension:{user}", 1, 200, "switch") for user in sorted(paged)
    ]
    assert office.talks(call_id) == [
        ("extension:1001", "application:page", "application"),
        *office.talks(call_id)[1:],
    ]
    assert {how for _, _, how in office.talks(call_id)[1:]} == {"page"}
    told = facts(office, call_id)
    assert (told["outcome"], told["asked"], told["answered"]) == ("heard", "6", "5")
    assert sorted(told["answered_by"].split(", ")) == sorted(paged)
    assert told["not_answered_by"] == "1007 (busy)"
    assert not _ports(office)


def test_who_is_paged_talks_back(office: Office) -> None:
    """And is heard by the others, too. Who hangs up goes alone; with the last one it is over."""
    pager = phone(office, "1001")
    one, other = phone(office, "1002", "--answer"), phone(office, "1003", "--answer")
    calls(pager, "751")
    mixed = {"hz": None, "silent": False}
    for each in (pager, one, other):
        each.expect("heard", 10, **mixed)
    other.send("hangup")
    other.expect("ended", 10, by="local")
    pager.expect_tone(TONES["1002"], 10)
    one.expect_tone(TONES["1001"], 10)
    one.send("hangup")
    pager.expect("ended", 10, by="remote")
    call_id = office.record("751")[0]
    assert legs(office, call_id) == [
        ("extension:1002", 1, 200, "remote"),
        ("extension:1003", 1, 200, "remote"),
    ]
    assert facts(office, call_id)["listening"] == "0"


def test_nobody_picks_up(office: Office) -> None:
    """In time: then it goes on as the route says, and who rang does not ring any more."""
    pager = phone(office, "1001")
    ringing = phone(office, "1002")
    phone(office, "1003", "--answer")
    calls(pager, "752")
    ringing.expect("incoming", 10)
    ringing.expect("ended", 10, answered=False)
    pager.expect_tone(TONES["1003"], 10)
    pager.send("hangup")
    call_id = office.record("752")[0]
    told = facts(office, call_id)
    assert told["outcome"] == "nobody"
    assert told["not_answered_by"] == "1008 (not registered), 1002 (no answer)"
    assert office.talks(call_id) == [
        ("extension:1001", "application:page", "application"),
        ("extension:1001", "extension:1003", "dialled"),
    ]


def test_a_worker_is_killed(office: Office) -> None:
    """Who was there is gone; the others hear on, unless it is where who pages is."""
    pager = phone(office, "1001")
    users = ("1002", "1003", "1004", "1005", "1006")
    paged = {user: phone(office, user, "--answer") for user in users}
    calls(pager, "750")
    for one in paged.values():
        one.expect_tone(TONES["1001"], 10)
    ports = _ports(office)
    assert len(ports) == 6
    first = next(port["pid"] for port in ports if port["leg"] == min(p["leg"] for p in ports))
    far = next(port["pid"] for port in ports if port["pid"] != first)
    os.kill(far, signal.SIGKILL)
    wait_for(lambda: len(gone(paged)) == 3, "its phones are gone")
    left = [one for user, one in paged.items() if user not in gone(paged)]
    assert not any(event["event"] == "ended" for event in pager.events)
    os.kill(first, signal.SIGKILL)
    for one in left:
        one.expect("ended", 10, by="remote")
    pager.expect("ended", 10, by="remote")
    call_id = office.record("750")[0]
    assert len(legs(office, call_id)) == 5
    wait_for(lambda: not _ports(office), "no port is in use")


def gone(phones: dict[str, PhoneChild]) -> list[str]:
    """Whose call is over."""
    return [user for user, one in phones.items() if any(e["event"] == "ended" for e in one.events)]


def test_the_switch_is_killed(office: Office) -> None:
    """All are hung up on when it is there again, and there is one record."""
    pager = phone(office, "1001")
    paged = {user: phone(office, user, "--answer") for user in ("1002", "1003")}
    ringing = phone(office, "1004")
    calls(pager, "750")
    for one in paged.values():
        one.expect_tone(TONES["1001"], 10)
    ringing.expect("incoming", 10)
    workers = office.workers()
    os.kill(office.switch.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_there(pid) for pid in workers), "no worker is left")
    office.switch.stop()
    office.start()
    for one in (pager, *paged.values(), ringing):
        one.expect("ended", 20, by="remote")
    call_id, disposition, _, by, _ = office.record("750")
    assert (disposition, by) == ("answered", "switch")
    assert office.rows("SELECT count(*) FROM cdrs") == [(1,)]
    assert [leg[:2] for leg in legs(office, call_id)] == [
        ("extension:1002", 1),
        ("extension:1003", 1),
        ("extension:1004", 0),
    ]
    told = facts(office, call_id)
    assert (told["outcome"], told["answered"]) == ("heard", "2")
