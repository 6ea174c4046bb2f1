"""Conferences with audio: who hears whom, how late, and what is left when workers die."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.crowd import Caller, Crowd, wait_for
from softswitch.control import ask, open_control, put_together
from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
conferences:
  twelve: {}
  four: {most: 4}
  secret: {pin: "4711", leader_pin: "0815", muted: true, most: 3}
routes:
  - {match: "700", from: any, play: {conference: twelve}}
  - {match: "701", from: any, play: {conference: four}}
  - {match: "702", from: any, play: {conference: secret}, else: {play: {tone: 950}}}
"""
TONES = [300 + 100 * n for n in range(12)]
"""Whole periods in 20 ms, so that none is taken for another."""
LOUD, SILENT = -32.0, -45.0


@dataclass
class House:
    """A switch, and those who call it."""

    folder: Path
    switch: SwitchChild
    crowd: Crowd

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(f"file:{self.folder / 'hq.db'}?mode=ro", uri=True)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()

    def facts(self, user: str) -> dict[str, str]:
        """What the final record of a caller says of the conference it was in last."""
        query = (
            "SELECT value FROM cdr_properties JOIN cdrs USING (call_id) WHERE final"
            f" AND caller = '{user}' AND name LIKE 'application/%' ORDER BY name"
        )
        wait_for(lambda: self.rows(query), f"a record of {user}")
        found: dict[str, str] = json.loads(self.rows(query)[-1][0])
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    port = free_port()
    crowd = Crowd(port)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "hq.yaml").write_text(
        f"switch: {{name: hq, listen: ['udp:127.0.0.1:{port}']}}\n"
        f"trunks: {{callers: {{to: 'sip:127.0.0.1:{crowd.port}', keepalive: 0}}}}\n"
        "dialplan: plan.yaml\ntimers: {drain_timeout: 0}\n"
        "cds: {database: hq.db, linger: 0.5}\n"
    )
    house = House(tmp_path, SwitchChild("hq", tmp_path / "hq.yaml"), crowd)
    try:
        house.switch.until_ready(20)
        yield house
    finally:
        house.switch.stop()
        crowd.close()


def settled(callers: list[Caller]) -> None:
    """Audio comes, and nothing is played to anybody."""
    wait_for(lambda: all(one.quiet() for one in callers), "silence")


def test_twelve(house: House) -> None:
    """Each says its own tone in turn; all others hear it, soon, and itself does not."""
    crowd = house.crowd
    people = [crowd.joins("700") for _ in range(12)]
    late = crowd.call("700")
    wait_for(lambda: late.status, "an answer")
    assert late.status == 486
    settled(people)
    delays = []
    for one, hz in zip(people, TONES, strict=True):
        began = crowd.say(one, hz)
        time.sleep(0.4)
        crowd.say(one, 0)
        time.sleep(0.1)
        for other in people:
            if other is one:
                assert other.hears(hz, began, began + 0.4) < SILENT, (one, other)
            else:
                delays.append(other.first(hz, began) - began)
                assert other.hears(hz, began + 0.25, began + 0.4) > LOUD, (one, other)
    delays.sort()
    print(f"mouth to ear: median {delays[len(delays) // 2]:.3f} s, longest {delays[-1]:.3f} s")
    assert delays[-1] < 0.25


def workers_of(house: House) -> dict[int, int]:
    """Processes of workers, and how many calls each has."""
    return {row["pid"]: row["calls"] for row in _section(house, "media") if row["pid"]}


def conferences(house: House) -> list[dict[str, Any]]:
    return _section(house, "conferences")


def _section(house: House, name: str) -> list[dict[str, Any]]:
    told: dict[str, Any] = {}
    with open_control(house.folder / "hq.sock") as stream:
        for piece in ask(stream, "status", sections=[name]):
            put_together(told, piece)
    found: list[dict[str, Any]] = told[name]
    return found


def test_one_of_the_workers_dies(house: House) -> None:
    """Who was there is gone; the others go on, and hear who comes in their place. If it is the one
    that joins the others, nobody is gone."""
    crowd = house.crowd
    people = [crowd.joins("700") for _ in range(6)]
    settled(people)
    calls = workers_of(house)
    (hub,) = [pid for pid, count in calls.items() if count == 2]
    os.kill(hub, signal.SIGKILL)
    first, last = people[0], people[-1]

    def heard(one: Caller, other: Caller, hz: float) -> bool:
        began = crowd.say(one, hz)
        time.sleep(0.5)
        crowd.say(one, 0)
        return other.hears(hz, began + 0.2, began + 0.5) > LOUD

    wait_for(lambda: heard(first, last, 500), "another hub")
    assert not any(one.over for one in people)
    # Now one at which people are.
    calls = workers_of(house)
    leaf = max(pid for pid, count in calls.items() if count == 4)
    os.kill(leaf, signal.SIGKILL)
    wait_for(lambda: sum(one.over for one in people) == 3, "its callers are gone")
    left = [one for one in people if not one.over]
    assert len(left) == 3
    assert heard(left[0], left[1], 600)
    newcomer = crowd.joins("700")
    settled([newcomer])
    wait_for(lambda: heard(left[0], newcomer, 700), "who comes now")
    (room,) = conferences(house)
    assert room["people"] == 4
    for one in [*left, newcomer]:
        crowd.hang_up(one)
    for one in people:
        assert house.facts(one.user)["conference"] == "twelve"
    query = "SELECT count(*), count(DISTINCT call_id) FROM cdrs WHERE final"
    wait_for(lambda: house.rows(query) == [(7, 7)], "the records of all")
    wait_for(lambda: not conferences(house), "nobody is there")
    wait_for(lambda: sum(workers_of(house).values()) == 0, "no port is in use")


def test_leaders(house: House) -> None:
    """PINs, mute, lock, removal, and what records say of them."""
    crowd = house.crowd
    stranger = crowd.joins("702")
    for _ in range(3):
        crowd.press(stranger, "1111#")
    wait_for(
        lambda: stranger.heard and stranger.hears(950, time.monotonic() - 0.3) > LOUD, "`else`"
    )
    leader, guest = crowd.joins("702"), crowd.joins("702")
    crowd.press(leader, "0815#")
    wait_for(lambda: conferences(house), "the leader is in")
    crowd.press(guest, "4711#")
    wait_for(lambda: conferences(house)[0]["people"] == 2, "the guest is in")
    (room,) = conferences(house)
    assert room["members"] == [leader.user, guest.user]
    settled([leader, guest])
    began = crowd.say(guest, 500)
    time.sleep(0.6)
    assert leader.hears(500, began + 0.3, began + 0.6) < SILENT, "who does not lead comes muted"
    assert conferences(house)[0]["speaker"] is None
    crowd.press(guest, "*1")
    wait_for(lambda: leader.hears(500, time.monotonic() - 0.2) > LOUD, "unmuted")
    wait_for(lambda: conferences(house)[0]["speaker"] == guest.user, "who speaks")
    crowd.press(guest, "*2")
    crowd.say(guest, 0)
    time.sleep(0.3)
    assert not conferences(house)[0]["locked"], "not by who does not lead"
    crowd.press(leader, "*2")
    wait_for(lambda: conferences(house)[0]["locked"], "locked")
    other = crowd.joins("702")
    crowd.press(other, "4711#")
    wait_for(lambda: other.hears(950, time.monotonic() - 0.3) > LOUD, "`else`, as it is locked")
    crowd.press(leader, "*9")
    wait_for(lambda: guest.over, "removed")
    assert not leader.over
    for one in (stranger, other, leader):
        crowd.hang_up(one)
    facts = house.facts(guest.user)
    assert facts["conference"] == "secret"
    assert facts["role"] == "guest"
    assert facts["most_members"] == "2"
    assert float(facts["spoke"]) > 0.5
    assert "4711" not in str(facts), "a PIN is no call data"
    assert house.facts(leader.user)["role"] == "leader"


def test_four(house: House) -> None:
    """Where one worker is enough there is no other one; one who leaves makes place for another."""
    crowd = house.crowd
    people = [crowd.joins("701") for _ in range(4)]
    settled(people)
    (room,) = conferences(house)
    assert (room["people"], room["media_workers"]) == (4, 1)
    crowd.hang_up(people[0])
    wait_for(lambda: conferences(house)[0]["people"] == 3, "one has left")

    def again() -> bool:
        one = crowd.call("701")
        wait_for(lambda: one.status, "an answer")
        return one.status == 200

    wait_for(again, "the place is free")
    assert conferences(house)[0]["media_workers"] == 1


def test_the_switch_is_killed(house: House) -> None:
    """Nothing is left of it, and the records are there."""
    crowd = house.crowd
    people = [crowd.joins("700") for _ in range(5)]
    settled(people)
    pids = list(workers_of(house))
    assert len(pids) >= 3
    house.switch.signal(signal.SIGKILL)
    house.switch.stop()
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids), "workers end")
    house.switch = SwitchChild("hq", house.folder / "hq.yaml")
    house.switch.until_ready(20)
    wait_for(lambda: all(one.over for one in people), "all are told")
    for one in people:
        assert house.facts(one.user)["members"] in ("4", "5")
    query = "SELECT count(*), count(DISTINCT call_id) FROM cdrs WHERE final"
    wait_for(lambda: house.rows(query) == [(5, 5)], "one record a call")
    late = crowd.joins("700")
    settled([late])


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
def test_on_hold_and_back(house: House, direction: str) -> None:
    """Others talk on meanwhile, and then it hears and is heard as before."""
    crowd = house.crowd
    one, two, three = (crowd.joins("701") for _ in range(3))
    settled([one, two, three])
    crowd.offer(one, direction)
    began = crowd.say(two, 500)
    wait_for(lambda: three.hears(500, max(began, time.monotonic() - 0.3)) > LOUD, "the others")
    assert one.hears(500, began) < SILENT, "who has put it on hold hears nothing"
    crowd.offer(one, "sendrecv")
    wait_for(lambda: one.hears(500, time.monotonic() - 0.3) > LOUD, "heard again")
    crowd.say(one, 700)
    for other in (two, three):
        wait_for(lambda other=other: other.hears(700, time.monotonic() - 0.3) > LOUD, "it speaks")
    assert one.hears(700, time.monotonic() - 0.5) < SILENT, "not itself"
    crowd.press(one, "*1")
    wait_for(lambda: two.hears(700, time.monotonic() - 0.3) < SILENT, "muted")
    (room,) = conferences(house)
    assert room["people"] == 3
