"""Sites whose switches tell of transfers: each says what happens, at the time that it is."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

from cds_fakes import START, FakeNet

from cdsplugin.archive.record import Recorder
from cdsplugin.archive.sqlite import Archive
from cdsplugin.data.call import Call
from cdsplugin.tms.tms import Tms
from softswitch.events import (
    CallEnded,
    CallMerged,
    CallStarted,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMoved,
    LegReferred,
    TalkBegan,
    TalkEnded,
)


class Says:
    """A switch, and the server beside it."""

    def __init__(self, sites: Sites, name: str) -> None:
        self.name = name
        others = [other for other in sites.names if other != name]
        self.server = sites.net.server(name, *others)
        self.archive = Archive(sites.folder / f"{name}.db")
        self.archive.open()
        self.recorder = Recorder(name, self.archive)
        self.server.store.watch(self.recorder)
        self.soon: list[Any] = []
        self.tms = Tms(self.server.store, self.server.clock, self.soon.append)
        self.told: list[Event] = []

    def turn(self) -> None:
        """What was told in this turn is written."""
        soon, self.soon[:] = list(self.soon), []
        for what in soon:
            what()

    def tell(self, kind: type, call: str, **values: Any) -> None:
        at = self.server.timers.now_us()
        event = kind(call_id=call, at=at, switch=self.name, **values)
        self.told.append(event)
        self.tms.event(event)

    def comes(
        self, call: str, party: str, number: str = "", leg: int = 0, owner: str = "", **more: Any
    ) -> None:
        values = {
            "caller": number or party.partition(":")[2], "caller_name": "", "dialled": "",
            "address": "", "user_agent": "", "sip_call_id": f"{call} {self.name} {leg}",
            "origin": not owner, **more,
        }  # fmt: skip
        self.tell(CallStarted, call, site=self.name, owner=owner or self.name, party=party,
                  leg=leg, **values)  # fmt: skip

    def rings(self, call: str, leg: int, party: str, **more: Any) -> None:
        values = {"sip_call_id": f"{call} {self.name} {leg}", "uri": "", "address": "", **more}
        self.tell(LegInvited, call, leg=leg, party=party, **values)

    def answers(self, call: str, leg: int, number: str) -> None:
        self.tell(LegAnswered, call, leg=leg, status=200, callee=number, codec="", user_agent="")

    def talk(
        self, call: str, talk: int, legs: tuple[int, ...], how: str = "dialled", by: str = "",
        incoming: int = 0,
    ) -> None:  # fmt: skip
        self.tell(TalkBegan, call, talk=talk, legs=legs, how=how, by=by, incoming=incoming)

    def quiet(self, call: str, talk: int) -> None:
        self.tell(TalkEnded, call, talk=talk)

    def refers(self, call: str, leg: int, to: str, how: str, status: int = 0) -> None:
        self.tell(LegReferred, call, leg=leg, to=to, how=how, status=status)

    def moves(self, call: str, leg: int, was: tuple[str, int], direction: str, party: str,
              number: str, **more: Any) -> None:  # fmt: skip
        values = {"address": "", "sip_call_id": f"{was[0]} {self.name} {was[1]}", **more}
        self.tell(LegMoved, call, leg=leg, was_call=was[0], was_leg=was[1], direction=direction,
                  party=party, number=number, **values)  # fmt: skip

    def merges(self, call: str, into: str, owner: str, leg: int = 0) -> None:
        self.tell(CallMerged, call, into=into, owner=owner, leg=leg)

    def leaves(self, call: str, *legs: int, status: int = 200) -> None:
        for leg in legs:
            self.tell(LegEnded, call, leg=leg, status=status, reason="", by="remote")

    def over(self, call: str, leg: int = 0, disposition: str = "answered") -> None:
        self.tell(CallEnded, call, leg=leg, disposition=disposition, sip_status=200, reason="",
                  hangup_by="caller")  # fmt: skip

    def call(self, call: str) -> Call:
        held = self.server.store.get(call)
        assert held is not None
        return held

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        assert self.archive.flush()
        with sqlite3.connect(self.archive.path) as conn:
            return conn.execute(statement, values).fetchall()

    def talks(self, call: str) -> list[tuple[Any, ...]]:
        """From whom, to whom, from when to when (seconds since the start), how, by whom, where."""
        rows = self.query(
            "SELECT from_party, to_party, began_at, ended_at, how, by, switch FROM cdr_talks"
            " WHERE call_id = ? ORDER BY talk", call,
        )  # fmt: skip
        return [(a, b, _seconds(t), _seconds(u), *rest) for a, b, t, u, *rest in rows]

    def numbers(self, call: str) -> list[tuple[Any, ...]]:
        return self.query(
            "SELECT talk, from_number, to_number FROM cdr_talks WHERE call_id = ? ORDER BY talk",
            call,
        )

    def row(self, call: str, *columns: str) -> tuple[Any, ...]:
        (row,) = self.query(f"SELECT {', '.join(columns)} FROM cdrs WHERE call_id = ?", call)
        return row


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    return round(datetime.fromisoformat(text).timestamp() - START / 1e6, 1)


class Sites:
    """Several of them. ``at`` lets the time pass until so many seconds after the start."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.net = FakeNet()
        self.names = names
        self.folder = folder
        self.says = {name: Says(self, name) for name in names}
        self.now = 0.0

    def __getitem__(self, name: str) -> Says:
        return self.says[name]

    def at(self, seconds: float) -> None:
        for each in self.says.values():
            each.turn()
        self.net.run()
        self.net.advance(seconds - self.now, step=0.5)
        self.now = seconds

    def close(self, linger: float = 100.0) -> None:
        self.at(self.now + linger)
        for each in self.says.values():
            assert each.archive.close()


A, B, C, D = (f"extension:{n}" for n in (1001, 1002, 1003, 1004))


def blind(sites: Sites, call: str = "c1", to: str = C, by: str = B, number: str = "1003") -> None:
    """At hq, 1001 calls 1002, who sends the caller on to ``to``: 10 s, and 20 s."""
    hq = sites["hq"]
    hq.comes(call, A)
    hq.rings(call, 1, B)
    sites.at(sites.now + 1)
    hq.answers(call, 1, "1002")
    hq.talk(call, 1, (0, 1), by=A)
    sites.at(sites.now + 10)
    hq.refers(call, 1, number, "blind-transfer")
    hq.quiet(call, 1)
    hq.rings(call, 2, to, by=by)
    sites.at(sites.now + 2)
    hq.answers(call, 2, number)
    hq.talk(call, 2, (0, 2), "blind-transfer", by)
    hq.refers(call, 1, number, "blind-transfer", 200)
    hq.leaves(call, 1)
    sites.at(sites.now + 20)
    hq.leaves(call, 0)
    hq.quiet(call, 2)
    hq.leaves(call, 2)
    hq.over(call)
