"""A switch, phones of all makes that are registered with it, and what is done with them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from handsets import PATIENCE, UNMEASURED, BaresipHandset, Handset, LinphoneHandset, Ours

from softswitch.lab.children import Child, LabError, SwitchChild
from softswitch.lab.ports import free_port

MAKES = ("pjsua2", "baresip", "linphone")
NEAR = 5.0  # Hz
EXACT = 0.2  # seconds by which a record may differ from what the phones saw

# MD5: of the phones here baresip 1.0 knows no other.
CONFIG = """
switch:
  name: office
  listen: [udp:127.0.0.1:{sip}, tcp:127.0.0.1:{sip}]
  digest: [MD5]
extensions:
  "1001": {{password: secret-1001, pickup: desk}}
  "1002": {{password: secret-1002, pickup: desk}}
  "1003": {{password: secret-1003, pickup: desk}}
  "1004": {{password: secret-1004}}
dialplan: dialplan.yaml
media: {{mode: bypass}}
timers: {{completion_pause: 2}}
in_call: {{transfer: "##", consult: "*2", complete: "*3", back: "*1"}}
cds:
  listen: tcp:127.0.0.1:{link}
  database: office.db
  linger: 1
"""

DIALPLAN = """
routes:
  - {match: "1XXX", from: any, dial: extension, timeout: 20}
  - {match: "*8.", strip: 2, do: pickup}
  - {match: "70X", do: park}
  - {match: "*72.", strip: 3, do: {forward: always}}
  - {match: "*73", do: {forward: off}}
  - {match: "*37", do: complete}
"""


class Office:
    """`phones` by make; whoever calls `engaged` hears that it is busy."""

    def __init__(
        self, phones: dict[str, Handset], engaged: Ours, children: list[Child], database: Path
    ) -> None:
        self.phones = phones
        self.engaged = engaged
        self.database = database
        self._children = children

    def parts(self, *makes: str) -> list[Handset]:
        """The phones of these makes; then the others."""
        return [self.phones[make] for make in (*makes, *(m for m in MAKES if m not in makes))]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for it. LabError if it does not come, or if something has died."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            for child in self._children:
                child.check()
            if time.monotonic() > deadline:
                said = "".join(f"\n{child.name}:{child.recently()}" for child in self._children)
                raise LabError(f"no {what} within {PATIENCE:g} s{said}")
            time.sleep(0.02)

    def hear_each_other(self, one: Handset, two: Handset) -> None:
        """Each hears the tone of the other, and nobody else's with it."""
        self.hears(one, two)
        self.hears(two, one)

    def hears(self, phone: Handset, other: Handset) -> None:
        """It hears the tone of the other, and nothing else."""
        self.until(lambda: _near(phone.hears(), other.hz), f"{other.hz} Hz at {phone.number}")

    def hears_nobody(self, phone: Handset) -> None:
        self.until(lambda: phone.hears() is None, f"silence at {phone.number}")

    def until_engaged(self) -> None:
        """Somebody has called who is busy."""
        self.engaged.expect("ended", PATIENCE, status=486)

    def idle(self, *phones: Handset) -> None:
        """They have no call."""
        for phone in phones:
            self.until(lambda phone=phone: not phone.calls(), f"end of calls at {phone.number}")  # type: ignore[misc]


def _near(hz: float | None, wanted: float) -> bool:
    return hz is not None and (hz == UNMEASURED or abs(hz - wanted) < NEAR)


@dataclass(slots=True)
class Seen:
    """A talk as the phones saw it. It began, and ended, between two times (seconds since 1970)."""

    parties: tuple[str, str]
    how: str
    by: str
    began: tuple[float, float]
    ended: tuple[float, float] = (0.0, 0.0)


class Talks:
    """What is done with the phones of an office, and the talks that come of it."""

    def __init__(self, place: Office) -> None:
        self._place = place
        self._since = time.time()
        self._seen: list[Seen] = []
        self._on: dict[frozenset[str], Seen] = {}

    def connect(self, caller: Handset, callee: Handset) -> None:
        """They talk, whatever other calls they have, and hear each other."""
        before, calls = time.time(), [(phone, len(phone.calls()) + 1) for phone in (caller, callee)]
        caller.call(callee.number)
        for phone, count in calls:
            self._answered(phone, count)
        self._begin(caller, callee, "dialled", caller, (before, time.time()))
        self._place.hear_each_other(caller, callee)

    def transfer(self, who: Handset, kept: Handset, to: Handset) -> None:
        """Blind."""
        before = time.time()
        who.transfer(to.number)
        self._answered(to, 1)
        moment = before, time.time()
        self._end(who, kept, moment)
        self._begin(kept, to, "blind-transfer", who, moment)

    def transfer_to_engaged(self, who: Handset, kept: Handset) -> None:
        """Blind, to one who is busy."""
        before = time.time()
        who.transfer(self._place.engaged.number)
        self._place.until_engaged()
        moment = before, time.time()
        self._end(who, kept, moment)
        self._begin(kept, who, "returned", who, moment)

    def consulted(self, who: Ours, kept: Handset, target: Handset) -> None:
        """By code: the one waits, and `who` talks with the other in its one call."""
        before = time.time()
        who.press(f"*2{target.number}#")
        self._place.hears_nobody(kept)
        self._answered(target, 1)
        self._place.hear_each_other(who, target)
        self._end(who, kept, (before, time.time()))
        self._begin(who, target, "dialled", who, (before, time.time()))

    def brought_together(self, who: Ours, kept: Handset, target: Handset) -> None:
        """By code: the two others talk."""
        before = time.time()
        who.press("*3")
        self._place.idle(who)
        moment = before, time.time()
        self._end(who, target, moment)
        self._begin(kept, target, "attended-transfer", who, moment)

    def went_back(self, who: Ours, kept: Handset, target: Handset) -> None:
        """By code: the first two talk again."""
        before = time.time()
        who.press("*1")
        self._place.idle(target)
        moment = before, time.time()
        self._end(who, target, moment)
        self._begin(kept, who, "returned", who, moment)

    def attended(self, who: Handset, kept: Handset, target: Handset, asked: int) -> None:
        """Asked for in the older (1) or the newer (2) call of `who`: `kept` is in there."""
        before = time.time()
        who.attended(asked, 3 - asked)
        self._place.idle(who)
        moment = before, time.time()
        self._end(who, kept, moment)
        self._end(who, target, moment)
        self._begin(kept, target, "attended-transfer", who, moment)

    def attended_early(self, who: Handset, kept: Handset, target: Handset) -> None:
        """The newer call of `who` rings at `target`, which answers by hand."""
        place = self._place
        who.call(target.number)
        place.until(lambda: len(who.calls()) == 2 and who.rings(), f"ringing at {target.number}")
        place.until(lambda: target.calls() == [False], f"call at {target.number}")
        asked = time.time()
        who.attended(1, 2)
        place.until(lambda: len(who.calls()) < 2, f"end of the newer call at {who.number}")
        place.until(lambda: target.with_whom() == kept.number, f"other call at {target.number}")
        self._end(who, kept, (asked, time.time()))
        before = time.time()
        target.answer()
        self._answered(target, 1)
        place.idle(who)
        # They have not talked yet.
        self._begin(kept, target, "blind-transfer", who, (before, time.time()))

    def park(self, who: Handset, kept: Handset, orbit: str) -> None:
        before = time.time()
        who.transfer(orbit)
        self._place.idle(who)
        self._end(who, kept, (before, time.time()))

    def retrieve(self, who: Handset, parked: Handset, orbit: str) -> None:
        before = time.time()
        who.call(orbit)
        self._answered(who, 1)
        self._begin(parked, who, "park", who, (before, time.time()))

    def forwarded(self, caller: Handset, who: Handset, to: Handset) -> None:
        """By star code."""
        who.dial(f"*72{to.number}")
        try:
            before = time.time()
            caller.call(who.number)
            self._answered(to, 1)
            self._answered(caller, 1)
            self._begin(caller, to, "forward", who, (before, time.time()))
            assert who.calls() == []
        finally:
            who.dial("*73")

    def pick_up(self, who: Handset, caller: Handset, rung: Handset) -> None:
        """`caller` calls `rung`, and who is at another phone takes the call."""
        rung.answers(False)
        try:
            caller.call(rung.number)
            self._place.until(lambda: rung.with_whom() == caller.number, f"call at {rung.number}")
            before = time.time()
            who.call(f"*8{rung.number}")
            self._answered(caller, 1)
            self._place.idle(rung)
        finally:
            rung.answers(True)
        self._begin(caller, who, "pickup", who, (before, time.time()))

    def completed(self, who: Handset, other: Handset, third: Handset) -> None:
        """`who` calls in vain, and is rung when `other` has talked with a third one."""
        other.answers(False)
        try:
            who.call(other.number)
            self._place.until(lambda: other.with_whom() == who.number, f"call at {other.number}")
            self._place.until(who.rings, f"ringing at {other.number}")
            who.hang_up()
            self._place.idle(who, other)
        finally:
            other.answers(True)
        who.dial("*37")
        self.connect(other, third)
        before = time.time()
        self.hang_up(third, other)
        for phone in (who, other):
            self._answered(phone, 1)
        self._begin(who, other, "dialled", who, (before, time.time()))

    def hang_up(self, who: Handset, other: Handset) -> None:
        """Of the two that are left; that is the end of all calls."""
        before = time.time()
        who.hang_up()
        self.over(who, other, before)

    def over(self, one: Handset, other: Handset, before: float) -> None:
        """One of them has hung up, not earlier than that; each talk has its record."""
        self._place.idle(one, other)
        self._end(one, other, (before, time.time()))
        assert not self._on
        self._place.until(lambda: len(self._rows()) >= len(self._seen), "record of each talk")
        rows = self._rows()
        assert [row[:4] for row in rows] == [(*s.parties, s.how, s.by) for s in self._seen]
        for (*_, began, ended), seen in zip(rows, self._seen, strict=True):
            assert seen.began[0] - EXACT <= began <= seen.began[1] + EXACT
            assert seen.ended[0] - EXACT <= ended <= seen.ended[1] + EXACT

    def _rows(self) -> list[tuple[str, str, str, str, float, float]]:
        """Talks that are over: the parties, how, by, when."""
        with sqlite3.connect(f"file:{self._place.database}?mode=ro", uri=True) as database:
            rows = database.execute(
                "select from_party, to_party, how, by, began_at, ended_at from cdr_talks"
                " where ended_at is not null order by began_at"
            ).fetchall()
        database.close()
        talks = [
            (*row[:4], *(datetime.fromisoformat(at).timestamp() for at in row[4:])) for row in rows
        ]
        return [talk for talk in talks if talk[4] >= self._since]

    def _answered(self, phone: Handset, count: int) -> None:
        self._place.until(lambda: phone.calls() == [True] * count, f"answer at {phone.number}")

    def _begin(
        self, one: Handset, two: Handset, how: str, by: Handset, at: tuple[float, float]
    ) -> None:
        seen = Seen((_party(one), _party(two)), how, _party(by), at)
        self._seen.append(seen)
        self._on[frozenset(seen.parties)] = seen

    def _end(self, one: Handset, two: Handset, at: tuple[float, float]) -> None:
        self._on.pop(frozenset((_party(one), _party(two)))).ended = at


def _party(phone: Handset) -> str:
    return f"extension:{phone.number}"


@contextmanager
def office(folder: Path, routes: str = "") -> Iterator[Office]:
    """It is open, with more `routes`; its files are in `folder`. The switch must end cleanly."""
    folder.mkdir()
    sip = free_port()
    config = folder / "office.yaml"
    config.write_text(CONFIG.format(sip=sip, link=free_port()))
    (folder / "dialplan.yaml").write_text(DIALPLAN + routes)
    children: list[Child] = []
    switch = SwitchChild("office", config)
    try:
        switch.until_ready(20)
        registrar = f"127.0.0.1:{sip}"
        ours = Ours(registrar, "1001", 440, "--answer")
        children.append(ours)
        engaged = Ours(registrar, "1004", 550, "--reject", "486")
        children.append(engaged)
        linphone = LinphoneHandset(folder / "linphone", registrar, "1003", 900)
        children.append(linphone)
        baresip = BaresipHandset(folder / "baresip", registrar, "1002", 700)
        children.append(baresip)
        linphone.until_registered(20)
        baresip.until_registered(20)
        ours.expect("registered", 20)
        engaged.expect("registered", 20)
        phones: dict[str, Handset] = {"pjsua2": ours, "baresip": baresip, "linphone": linphone}
        yield Office(phones, engaged, [*children, switch], folder / "office.db")
    finally:
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop()
        status = switch.stop()
    assert status == 0, switch.recently()


def _say_where(what: Callable[[Office, Any], None], place: Office, variant: Any) -> None:
    try:
        what(place, variant)
    except BaseException as error:
        error.add_note(f"variant {variant}")
        raise


class Offices:
    """Several, so that several things can be done at once: most of the time is waiting. They are
    used again until something has failed in one."""

    COUNT = 4

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._stack = ExitStack()
        self._open: list[Office] = []

    def at_once(self, what: Callable[[Office, Any], None], variants: Sequence[Any]) -> None:
        """Do it in each variant; nobody is in a call before and after."""
        try:
            places = self._opened()
            with ThreadPoolExecutor(self.COUNT) as threads:
                list(threads.map(partial(_say_where, what), places, variants))
                list(threads.map(lambda place: place.idle(*place.phones.values()), places))
        except BaseException:
            self.close()
            raise

    def _opened(self) -> list[Office]:
        if not self._open:
            folder = self._folders.mktemp("offices")
            doors = [office(folder / str(number)) for number in range(self.COUNT)]
            with ThreadPoolExecutor(self.COUNT) as threads:
                entering = [threads.submit(door.__enter__) for door in doors]
            for door, entered in zip(doors, entering, strict=True):
                if entered.exception() is None:
                    self._stack.push(door)
            self._open = [entered.result() for entered in entering]
        return self._open

    def close(self) -> None:
        self._open = []
        self._stack.close()
