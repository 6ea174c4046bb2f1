"""The times in the records: those of one call are by one clock, its owner's, whoever set which
clock in the meantime."""

from __future__ import annotations

import datetime
import json
from typing import Any

from cdsplugin.archive import iso

from .calls import Truth
from .invariants import Auditor, Violated
from .plan import SECOND, FaultItem, Plan
from .scheduler import START
from .server import Server

_HELD_UP = ("partition", "oneway", "cut", "full", "freeze", "absent")
"""While these last, answers may take so long that they say little of the other's time."""


def times_are_right(
    plan: Plan,
    servers: dict[str, Server],
    truths: dict[str, Truth],
    auditor: Auditor,
) -> None:
    """3: each leg in the owner's archive was invited, rung, answered and over when it was, as far
    as delays let anybody know the owner's time."""
    settings = plan.settings
    faults = [item for item in plan.kept() if isinstance(item, FaultItem)]
    slow = sum(fault.until - fault.at for fault in faults if fault.kind in _HELD_UP)
    within = slow + 4 * (settings.delay_us + settings.jitter_us) + SECOND // 2
    for call_id, truth in truths.items():
        owner = truth.item.owner
        began = truth.times.get((f"leg/{owner}/0", "invited_at"))
        if truth.started is None or began is None or call_id in auditor.anew:
            continue
        if _lost_power(owner, faults, truth):
            continue  # its wall clock is all there was
        conn = servers[owner].disk.archive
        named: list[tuple[str, str, dict[str, Any]]] = []
        for name, value in conn.execute(
            "SELECT name, value FROM cdr_properties WHERE call_id = ? AND name GLOB 'talk/*'",
            (call_id,),
        ):
            talk = json.loads(value)
            said = {key: iso(talk.get(key)) for key in ("began_at", "ended_at")}
            named.append((name.split("/")[1], name, said))
        for switch, leg, *times in conn.execute(
            "SELECT switch, leg, invited_at, ringing_at, answered_at, ended_at FROM cdr_legs"
            " WHERE call_id = ?",
            (call_id,),
        ):
            named.append((switch, f"leg/{switch}/{leg}", dict(zip(_KEYS, times, strict=True))))
        for switch, name, said in named:
            if (call_id, switch) in auditor.unbased or _lost_power(switch, faults, truth):
                continue
            for key, text in said.items():
                true = truth.times.get((name, key))
                if true is None or text is None:
                    continue
                off = _micros(text) - truth.started - (true - began)
                if abs(off) > within:
                    raise Violated(
                        f"3: {call_id}: {name} has {key} {text}, which is off by {off / 1e6:g} s"
                        f" (its owner began it at {_text(truth.started)})"
                    )


_KEYS = ("invited_at", "ringing_at", "answered_at", "ended_at")


def _lost_power(name: str, faults: list[FaultItem], truth: Truth) -> bool:
    """Whether a machine was started anew before all others can have had what it knows."""
    first = min(truth.times.values())
    return any(
        fault.kind == "power" and fault.one == name and first <= fault.until for fault in faults
    )


_EPOCH = datetime.datetime.fromtimestamp(START / 1e6, datetime.UTC)


def _micros(text: str) -> int:
    since = datetime.datetime.fromisoformat(text) - _EPOCH
    return START + since // datetime.timedelta(microseconds=1)


def _text(micros: int) -> str:
    return (_EPOCH + datetime.timedelta(microseconds=micros - START)).isoformat()
