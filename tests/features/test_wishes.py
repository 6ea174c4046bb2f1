"""What phones have set, over what the configuration says; its row in the journal."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from softswitch.calls import Errand
from softswitch.config import Extension, FollowStep, Forwarding
from softswitch.dialplan import Source
from softswitch.features import (
    WISHES,
    Completions,
    CompletionSettings,
    Mailboxes,
    PhoneFeatures,
)
from softswitch.features.wishes import Wishes, decode
from softswitch.sip import Timers


def written(**said: object) -> Forwarding:
    return Forwarding(**said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("forward", "after", "dnd", "expected"),
    [
        ({}, None, None, written(busy="1", no_answer="2", after=9, dnd=True)),
        ({"busy": ""}, None, None, written(no_answer="2", after=9, dnd=True)),
        ({"always": "7"}, None, False, written(always="7", busy="1", no_answer="2", after=9)),
        ({"no_answer": "7"}, None, False, written(busy="1", no_answer="7", after=9)),
        ({"no_answer": "7"}, 3.0, False, written(busy="1", no_answer="7", after=3)),
        ({"no_answer": ""}, None, False, written(busy="1")),
    ],
)
def test_what_is_in_force(
    forward: dict[str, str], after: float | None, dnd: bool | None, expected: Forwarding
) -> None:
    wishes = Wishes("1001")
    wishes.forward, wishes.after, wishes.dnd = forward, after, dnd
    assert wishes.over(written(busy="1", no_answer="2", after=9.0, dnd=True)) == expected


def test_its_row() -> None:
    wishes = Wishes("1001")
    assert not wishes
    wishes.forward, wishes.after, wishes.dnd = {"busy": "1002"}, 4.0, False
    wishes.dialled, wishes.caller = "1003", "+49"
    wishes.follow = (FollowStep(("1001", "+49"), 2.5), FollowStep(("1002",)))
    wishes.agent, wishes.paused = False, True
    row = wishes.written()
    assert WISHES.is_one(row)
    again = decode(row)
    for name in (
        "extension",
        "forward",
        "after",
        "dnd",
        "dialled",
        "caller",
        "follow",
        "agent",
        "paused",
    ):
        assert getattr(again, name) == getattr(wishes, name)
    assert bool(again) is True
    wishes.follow = ()
    assert decode(wishes.written()).follow == ()
    # As it was before there were such lists.
    old = b"w" + msgspec.msgpack.encode(["1001", {}, None, True, "", ""])
    assert (decode(old).follow, decode(old).dnd) == (None, True)
    assert (decode(old).agent, decode(old).paused) == (None, False)
    with pytest.raises(msgspec.DecodeError):
        decode(b"wrong")


class NoPhones:
    """None of them is there."""

    def is_registered(self, extension: str) -> bool:
        return False

    def is_in_use(self, extension: str) -> bool:
        return False

    def place(self, caller: str, callee: str, number: str, errand: Errand) -> None:
        return None


def features_of(
    extensions: dict[str, Extension], route: Callable[[str, Source], None]
) -> PhoneFeatures:
    table: dict[str, Forwarding] = {}
    timers = Timers(lambda: 0.0)
    settings = CompletionSettings()
    completions = Completions(
        extensions, table, lambda: None, route, timers, lambda: 0, NoPhones(), settings
    )
    mailboxes = Mailboxes(extensions, lambda: None)
    return PhoneFeatures(extensions, lambda: None, route, completions, table, mailboxes)


def test_a_changed_configuration() -> None:
    """What it says anew is in force but for what was set; of who is gone nothing is kept."""
    extensions = {
        "1001": Extension("1001", "A", "a"),
        "1002": Extension("1002", "B", "b", forwarding=written(busy="1001")),
    }
    features = features_of(extensions, lambda number, source: None)
    table = features.in_force
    assert table.keys() == {"1002"}
    features.set_dnd("1001", True)
    extensions["1002"] = Extension("1002", "B", "b")
    extensions["1003"] = Extension("1003", "C", "c", forwarding=written(dnd=True))
    features.take_up()
    assert table is features.in_force
    assert table.keys() == {"1001", "1003"}
    del extensions["1001"]
    features.take_up()
    assert table.keys() == {"1003"}
    assert len(features) == 0
    extensions["1001"] = Extension("1001", "A", "a")
    features.take_up()
    assert table.keys() == {"1003"}


def test_it_may_forward_where_it_may_call() -> None:
    asked: list[tuple[str, Source]] = []

    def route(number: str, source: Source) -> None:
        asked.append((number, source))

    features = features_of({"1001": Extension("1001", "A", "a")}, route)
    with pytest.raises(ValueError, match="No Route To 1002"):
        features.set("1001", "forward", "busy", "1002")
    assert asked == [("1002", Source("extension", "1001"))]
    with pytest.raises(ValueError, match="Unknown"):
        features.set_forward("1001", {"sometimes": "1002"})
    with pytest.raises(ValueError, match="Seconds"):
        features.set_forward("1001", {}, 0.0)
    for set_it in (features.clear_forward, features.forwarding):
        with pytest.raises(LookupError, match="no extension `1009`"):
            set_it("1009")
    assert not features.in_force
