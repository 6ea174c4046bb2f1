"""A switch at work for a long time: ``python -m bench.soak --minutes 60 --rate 20``.

Most calls are plain (SIPp on both sides). One of ten is to the switch itself, with audio both ways:
to a menu, where a key leads on to the echo, or to voicemail, where a message is left. Each minute
what the switch and its workers hold is noted: memory (proportional set size of what belongs to no
file), open files, sockets among them, processes.

At the end there has to be one record of each call, a message of each that left one, and no more of
anything than there was in the first part: the medians of the second and of the last quarter are
compared. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.crowd import Caller, Crowd, level
from bench.process import cpu_seconds, memory_bytes, tree
from bench.sipp import sipp_callee, start_caller
from softswitch.lab.children import SwitchChild
from softswitch.lab.ports import free_port

PLAN = """
menus: {main: {say: welcome, timeout: 20, choices: {"1": {play: echo}}}}
routes:
  - {match: "2001", from: any, dial: "trunk:callees"}
  - {match: menu, from: any, play: {menu: main}}
  - {match: voicemail, from: any, play: {voicemail: {of: "1001", greeting: welcome}}}
"""
CONFIG = """
switch: {{name: soak, listen: ["udp:127.0.0.1:{sip}"]}}
extensions: {{"1001": {{password: p, mailbox: true}}}}
trunks:
  callers: {{to: "sip:127.0.0.1:{callers}", keepalive: 0}}
  crowd: {{to: "sip:127.0.0.1:{crowd}", keepalive: 0}}
  callees: {{to: "sip:127.0.0.1:{callees}", keepalive: 0}}
dialplan: plan.yaml
media: {{workers: 40, worker_calls: 1000}}
voicemail: {{messages: 100000}}
cds: {{database: soak.db, linger: 1}}
"""
SPOKEN = 10
"""One of so many calls is to the switch itself."""
HOLD = 5.0
ANSWERED_WITHIN = 10.0
AGAIN = 0.5
MORE = 0.10
"""By how much more there may be in the end, as a part of what there was."""
ROOM = {"memory_mb": 8.0, "files": 20.0, "sockets": 20.0, "processes": 2.0}
"""And besides: calls come and go."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the switch and its workers hold at a time (`minute`)."""

    minute: float
    memory_mb: float
    files: float
    sockets: float
    processes: float


def held(pid: int, minute: float) -> Held:
    """Of the process and all below it."""
    files = sockets = 0
    processes = tree(pid)
    for one in processes:
        try:
            names = [os.readlink(f"/proc/{one}/fd/{fd}") for fd in os.listdir(f"/proc/{one}/fd")]
        except OSError:
            continue  # it has just ended, or closed one
        files += len(names)
        sockets += sum(name.startswith("socket:") for name in names)
    return Held(minute, memory_bytes(pid, "Pss_Anon") / 1e6, files, sockets, len(processes))


def _hears_itself(one: Caller) -> bool:
    """Whether half of what came in the last second is what it says. Each packet for itself: where
    one was late the tone goes on with another phase, and would cancel itself."""
    since = time.monotonic() - 1.0
    came = [payload for at, payload in list(one.heard) if at >= since]
    return sum(level(payload, one.hz) > -30 for payload in came) >= 25


class Visit:
    """One call to the switch itself: `menu` or `voicemail`."""

    def __init__(self, crowd: Crowd, number: str, now: float) -> None:
        self.number = number
        self.one: Caller = crowd.call(number)
        self.began = self.sent = now
        self.answered = 0.0
        self.pressed = False
        self.left = False
        self.failed = ""

    def goes_on(self, crowd: Crowd, now: float) -> bool:
        """What is due; whether it is over."""
        one = self.one
        if self.left:
            if not one.gone and now - self.sent > AGAIN:
                self.sent = now
                crowd.bye(one)
            return one.gone or now - self.answered > 60
        if one.status == 0:
            if now - self.began > ANSWERED_WITHIN:
                self.failed = "not answered"
            elif now - self.sent > AGAIN:
                self.sent = now
                crowd.invite(one)
        elif one.over:
            self.failed = f"{one.status}, or hung up on"
        elif not self.answered:
            self.answered = now
            one.hz = 440.0
        elif self.number == "menu" and not self.pressed and now - self.answered > 1.0:
            self.pressed = True
            crowd.press(one, "1")
        elif now - self.answered > HOLD:
            if self.number == "menu" and not _hears_itself(one):
                self.failed = "no echo was heard"
            self.left, self.sent = True, now
            crowd.hang_up(one)
        return bool(self.failed) and not self.left


@dataclass(slots=True)
class Spoken:
    """What has come of the calls to the switch."""

    menu: int = 0
    voicemail: int = 0
    failed: int = 0


def _visits(crowd: Crowd, pid: int, minutes: float, rate: float) -> tuple[Spoken, list[Held]]:
    began = time.monotonic()
    spoken, samples, visits = Spoken(), [], list[Visit]()
    placed, noted = 0, 0.0
    while True:
        now = time.monotonic()
        due = min(int((now - began) * rate), int(minutes * 60 * rate))
        while placed < due:
            number = ("menu", "voicemail")[placed % 2]
            visits.append(Visit(crowd, number, now))
            placed += 1
            if number == "menu":
                spoken.menu += 1
            else:
                spoken.voicemail += 1
        for visit in visits[:]:
            if visit.goes_on(crowd, now):
                visits.remove(visit)
                crowd.forget(visit.one)
            if visit.failed:
                spoken.failed += 1
                print(f"  {visit.number} {visit.one.number}: {visit.failed}", flush=True)
                visit.failed = ""
        if now - began > noted:
            sample = held(pid, noted / 60)
            samples.append(sample)
            print(f"  {json.dumps(asdict(sample))}", flush=True)
            noted += min(60.0, minutes * 60 / 20)
        if now - began > minutes * 60 and not visits:
            return spoken, samples
        time.sleep(0.02)


def grown(samples: list[Held]) -> list[str]:
    """What there is more of in the last quarter than in the second."""
    quarter = len(samples) // 4
    found = []
    for name, room in ROOM.items():
        values = [float(getattr(sample, name)) for sample in samples]
        was = statistics.median(values[quarter : 2 * quarter] or values)
        now = statistics.median(values[-quarter:] or values)
        print(f"  {name}: {was:.1f} in the second quarter, {now:.1f} in the last", flush=True)
        if now > was * (1 + MORE) + room:
            found.append(f"{name} grew from {was:.1f} to {now:.1f}")
    return found


def missing(folder: Path, expected: dict[str, int], left: int) -> list[str]:
    """Which records, and messages, there are not, or twice."""
    found = []
    database = sqlite3.connect(folder / "soak.db")
    for dialled, count in expected.items():
        rows, calls = database.execute(
            "SELECT count(*), count(DISTINCT call_id) FROM cdrs WHERE dialled = ?", [dialled]
        ).fetchone()
        print(f"  {dialled}: {count} calls, {rows} records", flush=True)
        if not rows == calls == count:
            found.append(f"{dialled}: {count} calls, {rows} records of {calls}")
    (answered,) = database.execute(
        "SELECT count(*) FROM cdrs WHERE disposition = 'answered' AND billsec > 0"
    ).fetchone()
    database.close()
    if answered != sum(expected.values()):
        found.append(f"{answered} records of {sum(expected.values())} say that they were answered")
    database = sqlite3.connect(folder / "voicemail" / "voicemail.db")
    (kept,) = database.execute("SELECT count(*) FROM messages WHERE state = 'new'").fetchone()
    database.close()
    if kept != left:
        found.append(f"{kept} of {left} messages")
    return found


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=20, help="calls a second")
    options = parser.parse_args()
    seconds, spoken_rate = options.minutes * 60, options.rate / SPOKEN
    plain_rate = options.rate - round(spoken_rate)
    plain = round(plain_rate * seconds)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as name,
        sipp_callee("uas-answered", timeout=seconds + 120) as callee,
    ):
        folder, sip, caller = Path(name), free_port(), free_port()
        crowd = Crowd(sip)
        (folder / "plan.yaml").write_text(PLAN)
        (folder / "soak.yaml").write_text(
            CONFIG.format(sip=sip, callers=caller, crowd=crowd.port, callees=callee.port)
        )
        switch = SwitchChild("soak", folder / "soak.yaml")
        try:
            switch.until_ready(20)
            calls = start_caller(
                "uac-answered",
                f"127.0.0.1:{sip}",
                calls=plain,
                rate=plain_rate,
                hold_ms=int(HOLD * 1000),
                port=caller,
                timeout=seconds + 120,
            )
            spoken, samples = _visits(crowd, switch.pid, options.minutes, spoken_rate)
            result = calls.wait(60)
            time.sleep(5.0)  # `linger`, and messages of those who left last
            spent = cpu_seconds(switch.pid)
            idle = held(switch.pid, options.minutes)
        finally:
            crowd.close()
            switch.stop()
        count = plain + spoken.menu + spoken.voicemail
        print(
            f"{count} calls in {options.minutes:g} minutes, {spoken.menu} to a menu, "
            f"{spoken.voicemail} to voicemail; {spent / count * 1000:.2f} ms of processor time each"
        )
        print(f"  nobody calls: {json.dumps(asdict(idle))}")
        wrong = grown(samples)
        expected = {"2001": plain, "menu": spoken.menu, "voicemail": spoken.voicemail}
        wrong += missing(folder, expected, spoken.voicemail)
        if result.failed or spoken.failed:
            wrong.append(f"{result.failed} plain calls and {spoken.failed} others failed")
        print("\n".join(f"  WRONG: {one}" for one in wrong) or "  0 records missing, none twice")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
