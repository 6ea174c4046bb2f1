"""A call's data as its record shows it: the row of ``cdrs``, and those of ``cdr_talks``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from cdsplugin.archive.ends import Leg, ends_at, true_ends
from cdsplugin.archive.rows import Cdr, Ends, Place, TalkRow
from cdsplugin.archive.talks import (
    Caller,
    Heard,
    answered_leg,
    compose,
    parties_of,
    talk_rows,
)
from cdsplugin.data import (
    MERGED,
    TALK,
    Call,
    Property,
    Scalar,
    Value,
    leg_of,
    passage_name,
    talk_of,
)

_LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
_THREE_DIGITS: Final = [f"{number:03d}" for number in range(1000)]
_LAST_DIGITS: Final = [f"{digits}Z" for digits in _THREE_DIGITS]


class _Second:
    """A second and its text. The rows of a record are of the same few seconds, and so are those of
    records that are written one after the other."""

    def __init__(self) -> None:
        self.number = -1
        self.text = ""


# Few: each of them that is replaced later holds on to a piece of the memory of its time.
_SECONDS: Final = [_Second() for _ in range(16)]


def iso(us: object) -> str | None:
    """Microseconds since the epoch as ``2026-01-02T03:04:05.678901Z``; None for what is no time.

    Such texts sort by time, and SQLite's date functions take them.
    """
    if type(us) is not int or not 0 <= us <= _LAST_US:
        return None
    # A twentieth of the time that strftime and a format take, and a record has a dozen of these.
    second = us // 1_000_000
    rest = us % 1_000_000
    made = _SECONDS[second & 15]
    if made.number != second:
        made.number = second
        made.text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
    return f"{made.text}{_THREE_DIGITS[rest // 1000]}{_LAST_DIGITS[rest % 1000]}"


def _seconds(begin: Value, end: Value) -> float | None:
    if type(begin) is int and type(end) is int:
        return (end - begin) / 1_000_000
    return None


_NOTHING: dict[str, Scalar] = {}
_json = msgspec.json.Encoder().encode


class Told:
    """What the switches told of parts of a call: its legs, the talks of which those do not say all,
    when its passages were over, and into which call it went on."""

    __slots__ = ("ended", "legs", "merged_into", "talks")

    def __init__(self, properties: Iterable[Property] = ()) -> None:
        self.legs: dict[Place, Leg] = {}
        self.talks: dict[Place, Leg] = {}
        self.ended: dict[str, Scalar] = {}
        self.merged_into: str | None = None
        for entry in properties:
            if type(entry.value) is dict:
                place = leg_of(entry.name)
                if place is not None:
                    self.legs[place] = entry.value
                elif entry.name.startswith(PARTS):
                    self.take(entry.name, entry.value)

    def take(self, name: str, value: dict[str, Scalar]) -> None:
        """A property whose name is of ``PARTS``."""
        place = talk_of(name)
        if place is not None:
            self.talks[place] = value
        elif name.startswith("switch/"):
            self.ended[name] = value.get("ended_at")
        elif name.startswith(MERGED):
            into = value.get("merged_into")
            if isinstance(into, str) and (self.merged_into is None or into < self.merged_into):
                self.merged_into = into


PARTS: Final = (TALK, MERGED, "switch/")


Known: TypeAlias = tuple[Ends, bool, list[Heard], str | None]


class View:
    """A call's data as its record shows it: what its originating switch told of the whole, its
    parts (unless somebody has just read them), and its true ends. ``talked``: there is more to
    know of its talks than its ends; ``heard`` are they then."""

    __slots__ = ("answer", "began", "call", "end", "ends", "heard", "legs", "merged_into", "talked")

    def __init__(self, call: Call, told: Told | None = None) -> None:
        held = call.data.properties
        if told is None:
            told = Told(held.values())
        self.call = call
        self.began = _mapping(held.get("call"))
        self.answer = _mapping(held.get("answer"))
        self.end = _mapping(held.get("end"))
        self.legs = told.legs
        self.merged_into = told.merged_into
        self.ends = true_ends(self.legs, self.began)
        self.heard: list[Heard] = []
        self.talked = bool(told.talks) or told.merged_into is not None
        if self.talked:
            self._compose(told)

    def _compose(self, told: Told) -> None:
        ended = dict(told.ended)
        if self.end:
            ended[passage_name("switch", str(self.began.get("switch")), 0)] = self.end.get(
                "ended_at"
            )
        self.heard = compose(self.legs, told.talks, ended)
        caller_at = self.ends.caller_at
        answered = answered_leg(self.heard, caller_at)
        if answered is not None and answered != self.ends.answered_at:
            self.ends = ends_at(self.legs, self.began, caller_at, answered)

    def known(self) -> Known:
        """By which it is seen whether a row that was written says all that is known."""
        return self.ends, self.talked, self.heard, self.merged_into

    def whole(self) -> bool:
        """Whether the originating switch told the end."""
        return bool(self.end)

    def cdr(self, written_by: str, final: bool) -> Cdr:
        """The row of ``cdrs`` as the originating switch told it."""
        began, answer, end, ends = self.began, self.answer, self.end, self.ends
        started, answered, ended = (
            began.get("started_at"), answer.get("answered_at"), end.get("ended_at"),
        )  # fmt: skip
        caller_party = began.get("caller_party")
        at = ends.answered_at
        return Cdr(
            self.call.call_id,
            self.call.owner,
            written_by,
            began.get("switch"),
            began.get("site"),
            began.get("caller"),
            began.get("caller_name"),
            began.get("dialled"),
            answer.get("callee"),
            caller_party,
            answer.get("callee_party"),
            ends.party,
            ends.number,
            None if at is None else at[0],
            ends.site,
            ends.trunk,
            self._parties(caller_party),
            iso(started),
            iso(answered),
            iso(ended),
            _seconds(started, ended),
            _seconds(answered, ended) or 0.0,
            end.get("disposition"),
            end.get("sip_status"),
            end.get("reason"),
            end.get("hangup_by"),
            1 if final else 0,
            self.merged_into,
        )

    def _parties(self, caller_party: object) -> str | None:
        if not self.heard:
            if self.merged_into is not None:
                return None
            return _parties(caller_party, self.ends.party)
        caller = Caller(self.ends.caller_at, caller_party, None)
        parties = parties_of(talk_rows("", self.heard, self.legs, caller, None, iso))
        return _json(parties).decode() if parties else None

    def pieced(self, written_by: str, final: bool) -> Cdr:
        """The row of ``cdrs`` of a call whose originating switch never told its end, or never told
        of it at all: from what others saw."""
        row = self.cdr(written_by, final)
        ends, legs = self.ends, list(self.legs.values())
        first = self.began.get("started_at") or min(_times(legs, "invited_at"), default=None)
        answer = self.answer.get("answered_at") or min(_times(legs, "answered_at"), default=None)
        last = self.end.get("ended_at") or max(_times(legs, "ended_at"), default=None)
        if not self.began and ends.caller_at is not None:
            came_in = self.legs[ends.caller_at]
            row = replace(
                row,
                switch=ends.caller_at[0],
                site=came_in.get("site"),
                caller=came_in.get("caller"),
                caller_name=came_in.get("caller_name"),
                caller_party=came_in.get("party"),
                dialled=came_in.get("dialled"),
                parties=self._parties(came_in.get("party")),
            )
        disposition = row.disposition
        if disposition is None and last is not None:
            disposition = "answered" if answer is not None else "failed"
        return replace(
            row,
            started_at=iso(first),
            answered_at=iso(answer),
            ended_at=iso(last),
            duration=_seconds(first, last),
            billsec=_seconds(answer, last),
            disposition=disposition,
        )

    def talks(self, cdr: Cdr) -> list[TalkRow]:
        """The rows of ``cdr_talks``, of a call with that row."""
        ends = self.ends
        if self.talked:
            caller = Caller(ends.caller_at, cdr.caller_party, cdr.caller)
            return talk_rows(cdr.call_id, self.heard, self.legs, caller, cdr.ended_at, iso)
        if ends.answered_at is None or ends.caller_at is None:
            return []
        return [
            TalkRow(
                cdr.call_id,
                0,
                ends.caller_at[0],
                cdr.caller_party,
                cdr.caller,
                ends.party,
                ends.number,
                cdr.answered_at,
                cdr.ended_at,
                "dialled",
                cdr.caller_party,
            )
        ]


def _parties(caller: object, answered: str | None) -> str | None:
    """All who talked, as JSON; None if nobody did."""
    if answered is None:
        return None
    if not isinstance(caller, str) or caller == answered:
        return _json([answered]).decode()
    return _json([caller, answered]).decode()


def _mapping(entry: Property | None) -> dict[str, Scalar]:
    """A property's value if it is a mapping, as those of the switches are."""
    return entry.value if entry is not None and type(entry.value) is dict else _NOTHING


def _times(legs: Iterable[Leg], key: str) -> list[int]:
    return [at for leg in legs if type(at := leg.get(key)) is int]


def talks_so_far(call: Call) -> list[TalkRow]:
    """Of a live call the rows of ``cdr_talks`` as they would be by now; of what goes on,
    ``ended_at`` is None."""
    view = View(call)
    return view.talks(view.cdr("", False))
