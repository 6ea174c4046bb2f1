"""Who plays in a transfer: three SIPps, each a party of its own, on one switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.sipp import (
    HOST,
    Callee,
    Sipp,
    SippResult,
    run_sipp,
    sipp_callee,
    start_caller,
)
from softswitch.lab.ports import free_port

PARTS = ("caller", "callee", "target")
PATIENCE = 40.0
"""Seconds within which a cast has played."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A row of ``cdr_talks``, of parties by their parts: ``caller``, ``callee``, ``target``."""

    first: str
    second: str
    how: str
    by: str


@dataclass(frozen=True, slots=True)
class Record:
    """A row of ``cdrs``. ``into``: it became a part of an older one."""

    talks: tuple[Talk, ...]
    hangup_by: str
    caller: str = "caller"
    disposition: str = "answered"
    status: int = 200
    into: bool = False


@dataclass(frozen=True, slots=True)
class Cast:
    """Three parties, each with its scenario and its ``-d`` in milliseconds; what is recorded.

    The caller dials the callee; ``target`` is who is transferred to, consulted, or goes on with a
    parked call.
    """

    name: str
    caller: str
    callee: str
    target: str
    records: tuple[Record, ...]
    calls: int = 3
    holds: tuple[int, int, int] = (100, 100, 100)
    held: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How many milliseconds the talks of each kind last at least, as the scenarios have it."""
    phones: tuple[str, str, str] = ("", "", "")
    """Extensions that they are; trunks of their own if not."""
    play: Callable[[Cast, Stage], tuple[SippResult, ...]] = field(
        default=lambda cast, stage: together(cast, stage), compare=False
    )

    def __str__(self) -> str:
        return self.name

    def party(self, part: str) -> str:
        """As it stands in records."""
        phone = self.phones[PARTS.index(part)]
        return f"extension:{phone}" if phone else f"trunk:{self.name}-{part}"

    @property
    def scenarios(self) -> tuple[str, str, str]:
        """Its three."""
        return self.caller, self.callee, self.target


@dataclass(frozen=True, slots=True)
class Stage:
    """What a cast has of the switch: its address, a port and a number for each part."""

    remote: str
    number: int
    ports: tuple[int, int, int] = field(
        default_factory=lambda: (free_port(), free_port(), free_port())
    )

    @property
    def numbers(self) -> tuple[str, str, str]:
        """Of caller, callee and target."""
        return f"7{self.number:02}", f"2{self.number:02}1", f"2{self.number:02}2"

    def config(self, cast: Cast) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Trunks and routes."""
        trunks, routes = {}, []
        parts = zip(PARTS, cast.phones, strict=True)
        for (part, phone), port, number in zip(parts, self.ports, self.numbers, strict=True):
            if not phone:
                trunks[cast.party(part)[6:]] = {
                    "to": f"sip:{HOST}:{port}",
                    "keepalive": 0,
                    "refer": True,
                }
            if part == "caller":
                continue
            dial = f"extension:{phone}" if phone else cast.party(part)
            routes.append({"match": number, "from": "any", "dial": dial, "timeout": 10})
        return trunks, routes

    def calls(self, cast: Cast, *args: str) -> Sipp:
        """The caller places its calls."""
        return start_caller(
            cast.caller,
            self.remote,
            calls=cast.calls,
            rate=20,
            hold_ms=cast.holds[0],
            number=self.numbers[1],
            caller=self.numbers[0],
            port=self.ports[0],
            timeout=PATIENCE,
            args=(*self.arguments(self.numbers[2]), *args),
        )

    def arguments(self, target: str) -> tuple[str, ...]:
        """What the scenarios know each other by."""
        keys = ["-key", "target", f"{target}@{self.remote}", "-key", "consulted", target]
        for place, digit in enumerate(target, 1):
            keys += ["-key", f"d{place}", digit]
        return (*keys, "-cid_str", "%u-%p-%s", "-max_recv_loops", "1")


def together(cast: Cast, stage: Stage) -> tuple[SippResult, ...]:
    """Callee and target wait for what the caller begins."""
    once = ("-m", str(cast.calls), *stage.arguments(stage.numbers[2]))
    _, callee_port, target_port = stage.ports
    with (
        sipp_callee(cast.callee, port=callee_port, hold_ms=cast.holds[1], args=once) as callee,
        sipp_callee(cast.target, port=target_port, hold_ms=cast.holds[2], args=once) as target,
    ):
        caller = stage.calls(cast).wait(PATIENCE)
        _ended(callee, target)
    return caller, callee.counted, target.counted


def coded(cast: Cast, stage: Stage) -> tuple[SippResult, ...]:
    """The callee is a phone, which dials codes within the call."""
    phone = cast.phones[1]
    registered = run_sipp(
        "uac-register",
        stage.remote,
        number=phone,
        port=stage.ports[1],
        args=("-au", phone, "-ap", f"secret-{phone}"),
    )
    assert registered.successful == 1, registered
    return together(cast, stage)


def parked(cast: Cast, stage: Stage) -> tuple[SippResult, ...]:
    """The callee parks the caller and leaves; then the target dials the orbit."""
    once = ("-m", "1", *stage.arguments("51"))
    with sipp_callee(cast.callee, port=stage.ports[1], hold_ms=cast.holds[1], args=once) as callee:
        caller = stage.calls(cast)
        _ended(callee)
        target = run_sipp(
            cast.target,
            stage.remote,
            hold_ms=cast.holds[2],
            number="51",
            caller=stage.numbers[2],
            port=stage.ports[2],
            timeout=PATIENCE,
        )
    return caller.wait(PATIENCE), callee.counted, target


def picked_up(cast: Cast, stage: Stage) -> tuple[SippResult, ...]:
    """The callee's phone rings; the target's, of the same group, takes the call."""
    phone = ("-au", "1002", "-ap", "secret-1002")
    registered = run_sipp(
        "uac-register", stage.remote, number="1002", port=stage.ports[1], args=phone
    )
    assert registered.successful == 1, registered
    with sipp_callee(cast.callee, port=stage.ports[1], args=("-m", "1")) as callee:
        caller = stage.calls(cast)
        while not callee.sipp.placed() and not caller.ended(0.05):
            pass
        target = run_sipp(
            cast.target,
            stage.remote,
            hold_ms=cast.holds[2],
            number="*8",
            caller="1003",
            port=stage.ports[2],
            timeout=PATIENCE,
            args=("-au", "1003", "-ap", "secret-1003", "-auth_uri", f"*8@{stage.remote}"),
        )
        _ended(callee)
    return caller.wait(PATIENCE), callee.counted, target


def _ended(*callees: Callee) -> None:
    """Each has taken its calls, and the last of them is over (or never comes)."""
    for callee in callees:
        callee.sipp.ended(PATIENCE / 2)


DIALLED = Talk("caller", "callee", "dialled", "caller")
CONSULTED = Talk("caller", "target", "dialled", "caller")
BLIND = Talk("caller", "target", "blind-transfer", "callee")
BY_CALLER = Talk("callee", "target", "blind-transfer", "caller")
ATTENDED = Talk("callee", "target", "attended-transfer", "caller")
ASKED = Talk("callee", "target", "dialled", "callee")
CODED = Talk("caller", "target", "attended-transfer", "callee")
RETURNED = Talk("caller", "callee", "returned", "callee")
MERGED = (
    Record((DIALLED, ATTENDED), "callee"),
    Record((CONSULTED,), "switch", into=True),
)
TAKEN = Record((), "switch", "target", into=True)
"""The call of who has dialled the number of a pickup or an orbit."""

CASTS = (
    Cast(
        "blind",
        "uac-transferred",
        "uas-blind-transfer",
        "uas-answered",
        (Record((DIALLED, BLIND), "caller"),),
        holds=(400, 200, 50),
        held={"dialled": 200, "blind-transfer": 400},
    ),
    Cast(
        "blind-by-caller",
        "uac-blind-transfer",
        "uas-transferred",
        "uas-hangs-up",
        (Record((DIALLED, BY_CALLER), "callee"),),
        holds=(200, 0, 400),
        held={"dialled": 200, "blind-transfer": 400},
    ),
    Cast(
        "attended",
        "uac-attended-transfer",
        "uas-transferred-late",
        "uas-transferred",
        MERGED,
        holds=(200, 400, 0),
        held={"dialled": 200, "attended-transfer": 400},
    ),
    Cast(
        "pickup",
        "uac-callee-hangs-up",
        "uas-cancelled",
        "uac-pickup",
        (Record((Talk("caller", "target", "pickup", "target"),), "callee"), TAKEN),
        calls=1,
        holds=(0, 0, 300),
        held={"pickup": 300},
        phones=("", "1002", "1003"),
        play=picked_up,
    ),
    Cast(
        "park",
        "uac-parked",
        "uas-blind-transfer",
        "uac-answered",
        (Record((DIALLED, Talk("caller", "target", "park", "target")), "callee"), TAKEN),
        calls=1,
        holds=(0, 200, 300),
        held={"dialled": 200, "park": 300},
        play=parked,
    ),
    # --- phones without a transfer key
    Cast(
        "code-transfer",
        "uac-transferred",
        "uas-code-transfer",
        "uas-answered",
        (Record((DIALLED, BLIND), "caller"),),
        holds=(400, 200, 50),
        held={"dialled": 200, "blind-transfer": 400},
        phones=("", "1004", ""),
        play=coded,
    ),
    Cast(
        "code-consult",
        "uac-held",
        "uas-code-consult",
        "uas-transferred",
        (Record((DIALLED, ASKED, CODED), "caller"),),
        holds=(300, 200, 50),
        held={"attended-transfer": 300},
        phones=("", "1005", ""),
        play=coded,
    ),
    Cast(
        "code-back",
        "uac-held",
        "uas-code-back",
        "uas-answered",
        (Record((DIALLED, ASKED, RETURNED), "caller"),),
        holds=(300, 200, 50),
        held={"returned": 300},
        phones=("", "1006", ""),
        play=coded,
    ),
    Cast(
        "code-busy",
        "uac-held",
        "uas-code-busy",
        "uas-busy",
        (Record((DIALLED, RETURNED), "caller"),),
        holds=(300, 200, 50),
        held={"returned": 300},
        phones=("", "1007", ""),
        play=coded,
    ),
    # --- phones that make it hard
    Cast(
        "no-offer-unasked",
        "uac-attended-transfer",
        "uas-transferred-no-offer",
        "uas-transferred",
        MERGED,
        holds=(200, 400, 0),
        held={"dialled": 200, "attended-transfer": 400},
    ),
    Cast(
        "no-offer-at-all",
        "uac-attended-transfer-fails",
        "uas-transferred-no-sdp",
        "uas-answered",
        (Record((DIALLED,), "caller"), Record((CONSULTED,), "caller")),
    ),
    Cast(
        "offers-cross",
        "uac-transferred-glare",
        "uas-blind-transfer",
        "uas-answered",
        (Record((DIALLED, BLIND), "caller"),),
        holds=(300, 200, 50),
        held={"dialled": 200, "blind-transfer": 300},
    ),
    Cast(
        "offer-refused",
        "uac-transferred-refuses",
        "uas-blind-transfer",
        "uas-answered",
        (Record((DIALLED, BLIND), "switch"),),
    ),
    Cast(
        "leaves-at-once",
        "uac-transferred",
        "uas-refer-bye",
        "uas-answered",
        (Record((DIALLED, BLIND), "caller"),),
        holds=(300, 200, 50),
        held={"dialled": 200, "blind-transfer": 300},
    ),
    Cast(
        "notify-refused",
        "uac-notify-refused",
        "uas-transferred",
        "uas-hangs-up",
        (Record((DIALLED, BY_CALLER), "callee"),),
        holds=(200, 0, 2500),
        held={"dialled": 200, "blind-transfer": 2500},
    ),
    Cast(
        "notify-unanswered",
        "uac-notify-unanswered",
        "uas-transferred",
        "uas-hangs-up",
        (Record((DIALLED, BY_CALLER), "callee"),),
        holds=(200, 0, 2500),
        held={"dialled": 200, "blind-transfer": 2500},
    ),
    Cast(
        "replaces-gone",
        "uac-replaces-gone",
        "uas-answered",
        "uas-hangs-up",
        (
            Record((DIALLED,), "caller"),
            Record((CONSULTED,), "callee"),
            Record((), "switch", disposition="failed", status=481),
        ),
        holds=(300, 0, 200),
        held={"dialled": 200},
    ),
)
