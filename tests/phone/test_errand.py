"""What a phone that places one call does of other calls meanwhile: its own is what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from softswitch.phone import headless
from softswitch.phone.headless import Errand, _Run
from softswitch.phone.settings import PhoneEvent


class Phone:
    """A softphone without a network."""

    def __init__(self, settings: Any, event: Callable[[PhoneEvent], None]) -> None:
        self.event = event
        self.calls: dict[int, object] = {}

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        what()

    def call(self, target: str) -> int:
        self.event(PhoneEvent("calling", 1, {"to": target}))
        return 1


@pytest.mark.parametrize("answered", [True, False])
def test_another_call_that_ends_does_not_end_the_errand(
    monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    monkeypatch.setattr(headless, "Softphone", Phone)
    errand = Errand("600", None, None, registers=True, stays=False)
    run = _Run(None, errand, lambda event: None)  # type: ignore[arg-type]
    run.event(PhoneEvent("registered", None, {}))
    # It is in the group that it calls, or somebody calls it just now.
    run.event(PhoneEvent("incoming", 2, {}))
    run.event(PhoneEvent("ended", 2, {"answered": False}))
    assert not run.done
    run.event(PhoneEvent("ended", 1, {"answered": answered}))
    assert run.done
    assert run.status == (0 if answered else 1)
