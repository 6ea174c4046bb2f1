"""What a phone with an errand does, without a network: which calls are its own, when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from softswitch.phone import errand as errands
from softswitch.phone.errand import Errand, Run
from softswitch.phone.settings import PhoneError, PhoneEvent
from softswitch.phone.verdicts import Status, Tone


class Phone:
    """A softphone without a network: what is to be done later is done when it is ``due``."""

    def __init__(self, settings: Any, event: Callable[[PhoneEvent], None]) -> None:
        self.event = event
        self.calls: list[int] = []
        self.did: list[str] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.room = 4

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.later.append((seconds, what)) if seconds else what()

    def due(self) -> None:
        """The next thing that was to be done later."""
        self.later.sort(key=lambda pair: pair[0])
        self.later.pop(0)[1]()

    def call(self, target: str) -> int:
        if len(self.calls) >= self.room:
            raise PhoneError(f"{self.room} calls are up already")
        number = len(self.did) + 1
        self.calls.append(number)
        self.did.append(f"call {target}")
        self.event(PhoneEvent("calling", number, {"to": target}))
        return number

    def __getattr__(self, verb: str) -> Callable[..., None]:
        return lambda *arguments: self.did.append(" ".join(map(str, (verb, *arguments))))


Start = Callable[[Errand], tuple[Run, Phone, list[PhoneEvent]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(errands, "Softphone", Phone)

    def started(errand: Errand) -> tuple[Run, Phone, list[PhoneEvent]]:
        said: list[PhoneEvent] = []
        run = Run(None, errand, said.append)  # type: ignore[arg-type]
        phone: Any = run.phone
        run.event(PhoneEvent("registered", None, {}))
        return run, phone, said

    return started


def ended(run: Run, number: int, status: int = 200, reason: str = "OK") -> None:
    phone: Any = run.phone
    if number in phone.calls:
        phone.calls.remove(number)
    facts = {"status": status, "reason": reason, "answered": status == 200}
    run.event(PhoneEvent("ended", number, facts))


def heard(hz: float) -> dict[str, object]:
    return {"hz": hz, "level_db": -8.0, "silent": False}


CALL = Errand("600", None, None, registers=True, stays=False)
TONE = replace(CALL, expected=(Status(), Tone(660)), judged=True)


@pytest.mark.parametrize("answered", [True, False])
def test_another_call_that_ends_does_not_end_the_errand(start: Start, answered: bool) -> None:
    run, _, _ = start(CALL)
    # It is in the group that it calls, or somebody calls it just now.
    run.event(PhoneEvent("incoming", 2, {}))
    ended(run, 2, 487)
    assert not run.done
    if answered:
        run.event(PhoneEvent("answered", 1, {"status": 200}))
    ended(run, 1, 200 if answered else 486)
    assert run.done
    assert run.status == (0 if answered else 1)


@pytest.mark.parametrize("refused", [False, True])
def test_the_status_covers_all_calls(start: Start, refused: bool) -> None:
    run, phone, _ = start(replace(CALL, calls=3))
    assert phone.calls == [1, 2, 3]
    for number in (1, 2, 3):
        if refused and number == 2:
            ended(run, number, 486, "Busy Here")
        else:
            run.event(PhoneEvent("answered", number, {"status": 200}))
    for number in list(phone.calls):
        assert not run.done
        ended(run, number)
    assert (run.done, run.status) == (True, 1 if refused else 0)


def test_a_call_that_cannot_be_placed_is_missed(start: Start) -> None:
    run, phone, said = start(replace(TONE, calls=5))
    assert phone.did == ["call 600"] * 4
    unmet = [(e.facts["name"], e.facts["found"]) for e in said if e.kind == "verdict"]
    assert unmet == [("answered", "4 calls are up already"), ("audio", "no answer")]
    for number in (1, 2, 3, 4):
        run.event(PhoneEvent("answered", number, {"status": 200}))
        run.event(PhoneEvent("heard", number, heard(660)))
        ended(run, number)
    assert (run.done, run.status, len(run.verdicts)) == (True, 1, 5)


def test_hung_up_as_soon_as_all_is_met(start: Start) -> None:
    run, phone, said = start(TONE)
    run.event(PhoneEvent("answered", 1, {"status": 200}))
    assert phone.did == ["call 600"]
    run.event(PhoneEvent("heard", 1, heard(660)))
    assert phone.did == ["call 600", "hangup 1"]
    ended(run, 1)
    assert (run.done, run.status) == (True, 0)
    assert [e.facts["met"] for e in said if e.kind == "verdict"] == [True, True]


def test_hung_up_when_time_is_up(start: Start) -> None:
    run, phone, said = start(TONE)
    run.event(PhoneEvent("answered", 1, {"status": 200}))
    run.event(PhoneEvent("heard", 1, heard(440)))
    phone.due()
    assert phone.did == ["call 600", "hangup 1"]
    ended(run, 1)
    assert run.status == 1
    assert said[-2].facts["found"] == "a tone of 440 Hz at -8 dB"


def test_with_a_duration_the_call_goes_on(start: Start) -> None:
    run, phone, _ = start(replace(TONE, duration=5.0))
    run.event(PhoneEvent("answered", 1, {"status": 200}))
    run.event(PhoneEvent("heard", 1, heard(660)))
    assert phone.did == ["call 600"]
    phone.due()
    assert phone.did == ["call 600", "hangup 1"]


def test_digits_are_sent_before_it_is_hung_up(start: Start) -> None:
    run, phone, _ = start(replace(TONE, dtmf="12"))
    run.event(PhoneEvent("answered", 1, {"status": 200}))
    run.event(PhoneEvent("heard", 1, heard(660)))
    phone.due()
    assert phone.did == ["call 600", "dtmf 12 1"]
    phone.due()
    assert phone.did == ["call 600", "dtmf 12 1", "hangup 1"]


def test_so_many_calls_that_come_in(start: Start) -> None:
    run, _, _ = start(replace(CALL, call=None, calls=2))
    for number in (1, 2, 3):
        run.event(PhoneEvent("incoming", number, {}))
        run.event(PhoneEvent("answered", number, {"status": 200}))
    ended(run, 3)
    ended(run, 1)
    assert not run.done
    ended(run, 2)
    assert (run.done, run.status) == (True, 0)
    run, _, _ = start(replace(CALL, call=None, calls=None))
    run.event(PhoneEvent("incoming", 1, {}))
    ended(run, 1)
    assert not run.done


def test_calls_that_never_come_or_are_never_answered(start: Start) -> None:
    run, _, said = start(replace(TONE, call=None, calls=2, wait=3.0))
    run.event(PhoneEvent("incoming", 1, {}))
    run._too_late()
    assert not run.done
    ended(run, 1, 480)
    assert (run.done, run.status) == (True, 1)
    found = [e.facts["found"] for e in said if e.kind == "verdict"]
    assert found == ["no answer within 3 s", "no answer", "no call within 3 s", "no answer"]


def test_a_registration_that_fails_is_what_is_found(start: Start) -> None:
    run, phone, said = start(replace(TONE, call=None, judged=True))
    run.event(PhoneEvent("registration_failed", None, {"status": 403, "reason": "Forbidden"}))
    assert (run.done, run.status) == (True, 1)
    assert said[-2].facts["found"] == "registration failed: 403 Forbidden"
    assert phone.calls == []


@pytest.mark.parametrize("comes", ["asked", "refused", "hung up before"])
def test_a_transfer_counts_when_it_was_asked_for(start: Start, comes: str) -> None:
    run, phone, _ = start(replace(CALL, transfer="601", duration=2.0))
    run.event(PhoneEvent("answered", 1, {"status": 200}))
    if comes != "hung up before":
        phone.due()
        assert phone.did == ["call 600", "transfer 601 1"]
        status = 200 if comes == "asked" else 404
        facts = {"status": status, "reason": "so", "final": True}
        run.event(PhoneEvent("transfer", 1, facts))
        assert ("hangup 1" in phone.did) == (comes == "refused")  # else the phone does it itself
    ended(run, 1)
    assert (run.done, run.status) == (True, 0 if comes == "asked" else 1)


@pytest.mark.parametrize("answered", [True, False])
def test_an_attended_transfer_consults_first(start: Start, answered: bool) -> None:
    run, phone, _ = start(replace(CALL, attended="601"))
    run.event(PhoneEvent("answered", 1, {"status": 200}))
    phone.due() if phone.later else None
    assert phone.did == ["call 600", "hold 1", "call 601"]
    if answered:
        run.event(PhoneEvent("answered", 3, {"status": 200}))
        assert phone.did[-1] == "attended 1 3"
    else:
        ended(run, 3, 486)
        assert phone.did[-1] == "hangup 1"
    ended(run, 1)
    assert (run.done, run.status) == (True, 0 if answered else 1)


def test_whoever_is_not_done_when_it_is_told_to_stop_has_failed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, said = start(replace(TONE, call=None))
    run.done = True  # as a signal does
    assert run.loop(None) == 1
    assert said[-1].facts["found"] == "no answer"
    assert said[-2].facts["found"] == "stopped before"
