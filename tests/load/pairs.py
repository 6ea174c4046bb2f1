"""Which caller scenario goes with which callee scenario, and running many pairs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.sipp import SCENARIOS, SippResult, Transport, run_sipp, sipp_callee


@dataclass(frozen=True, slots=True)
class Pair:
    """A caller against a callee: `calls` calls, with each side's own `-d` in milliseconds."""

    caller: str
    callee: str
    calls: int = 3
    hold_ms: int = 0
    ring_ms: int = 0
    caller_args: tuple[str, ...] = ()
    callee_args: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.caller}-{self.callee}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both sides counted."""

    caller: SippResult
    callee: SippResult

    def check(self, calls: int) -> None:
        """Every call passed, on both sides."""
        assert (self.caller.successful, self.caller.failed) == (calls, 0), self.caller
        assert (self.callee.successful, self.callee.failed) == (calls, 0), self.callee


PHONE = ("-au", "1001", "-ap", "alice-secret")
REGISTRAR = ("-s", "1001", "-key", "password", "alice-secret")

THROUGH_ANYTHING = (
    Pair("uac-answered", "uas-answered", calls=20, hold_ms=50, ring_ms=50),
    Pair("uac-answered", "uas-bye-answer-late"),
    Pair("uac-callee-hangs-up", "uas-hangs-up", ring_ms=100),
    Pair("uac-busy", "uas-busy"),
    Pair("uac-rejected", "uas-rejected"),
    Pair("uac-rejected", "uas-forbidden"),
    Pair("uac-failed", "uas-not-found"),
    Pair("uac-failed", "uas-unavailable"),
    Pair("uac-cancel", "uas-cancelled", hold_ms=200),
    Pair("uac-early-media", "uas-early-media", ring_ms=100),
    Pair("uac-reinvite", "uas-reinvited", hold_ms=100),
    Pair("uac-reinvited", "uas-reinvite", hold_ms=100, ring_ms=100),
    Pair("uac-update", "uas-updated", hold_ms=100),
    Pair("uac-info", "uas-info", hold_ms=100),
    Pair("uac-late-offer", "uas-late-offer"),
    Pair("uac-prack", "uas-prack", ring_ms=100),
    Pair("uac-prack-required", "uas-prack", ring_ms=100),
    Pair("uac-early-update", "uas-early-update", ring_ms=100),
    Pair("uac-ack-late", "uas-answered"),
    Pair("uac-csv", "uas-answered", caller_args=("-inf", str(SCENARIOS / "calls.csv"))),
)

# These need the other side as it is: a switch in between answers otherwise.
FACE_TO_FACE = (
    Pair("uac-cancel", "uas-no-answer", hold_ms=200),
    Pair("uac-ack-never", "uas-ack-never"),
    Pair("uac-redirected", "uas-redirect", callee_args=("-key", "target", "2002@127.0.0.1:5091")),
    Pair(
        "uac-register",
        "uas-registrar",
        caller_args=("-s", "1001", *PHONE),
        callee_args=REGISTRAR,
    ),
    Pair(
        "uac-register-csv",
        "uas-registrar",
        calls=1,
        caller_args=("-inf", str(SCENARIOS / "phones.csv")),
        callee_args=REGISTRAR,
    ),
    Pair("uac-auth", "uas-auth", caller_args=("-set", "caller", "1001", *PHONE)),
    Pair(
        "uac-register-call",
        "uas-register-call",
        caller_args=("-set", "caller", "1001", *PHONE),
        callee_args=REGISTRAR,
    ),
)

# Over TCP the CANCEL may reach SIPp's callee in one piece with the INVITE, which it cannot take.
UDP_ONLY = (Pair("uac-cancel-early", "uas-cancelled"),)


def face_to_face(pair: Pair, transport: Transport) -> Outcome:
    """Run the pair directly against each other."""
    # SIPp's callee serves any number of connections with t1; tn is for callers.
    with sipp_callee(
        pair.callee,
        hold_ms=pair.ring_ms,
        transport="t1" if transport[0] == "t" else "u1",
        args=pair.callee_args,
    ) as callee:
        caller = run_sipp(
            pair.caller,
            callee.address,
            calls=pair.calls,
            rate=20,
            hold_ms=pair.hold_ms,
            transport=transport,
            args=pair.caller_args,
        )
    return Outcome(caller, callee.counted)


def run_all(
    pairs: Sequence[Pair], run: Callable[[Pair], Outcome], at_once: int = 8
) -> dict[Pair, Outcome | BaseException]:
    """All pairs, several at once: most of their time is waiting for SIP timers."""
    with ThreadPoolExecutor(at_once) as pool:
        futures = {pair: pool.submit(run, pair) for pair in pairs}
        return {pair: future.exception() or future.result() for pair, future in futures.items()}


def outcome(results: dict[Pair, Outcome | BaseException], pair: Pair) -> Outcome:
    """The pair's outcome; raises what running it raised."""
    result = results[pair]
    if isinstance(result, BaseException):
        raise result
    return result
