"""Hold and transfer with real phones of three makes, each of them in each part.

After each transfer the two that stay hear each other, and not who has left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations, product

import pytest
from handsets import Handset
from office import MAKES, Office, office
from running_switch import require

BY = ("caller", "callee")


class Offices:
    """One that is open is used again, unless a test has failed in it."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._stack = ExitStack()
        self._open: Office | None = None

    def open(self) -> Office:
        if self._open is None:
            self._open = self._stack.enter_context(office(self._folders.mktemp("office")))
        return self._open

    def close(self) -> None:
        self._open = None
        self._stack.close()


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offices]:
    require("baresip", "baresip-core")
    require("linphonec", "linphone-cli")
    offices = Offices(tmp_path_factory)
    yield offices
    offices.close()


@pytest.fixture
def place(offices: Offices) -> Iterator[Office]:
    """The office, with nobody in a call, before and after."""
    place = offices.open()
    try:
        yield place
        place.idle(*place.phones.values())
    except BaseException:
        offices.close()
        raise


def parts(place: Office, *makes: str) -> list[Handset]:
    """The phones of these makes; then the others."""
    return [place.phones[make] for make in (*makes, *(m for m in MAKES if m not in makes))]


def connect(place: Office, who: Handset, other: Handset, by: str) -> None:
    """They talk, and `who` is the caller or the callee."""
    place.connect(*((who, other) if by == "caller" else (other, who)))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("make", MAKES)
def test_hold_and_resume(place: Office, make: str, by: str) -> None:
    # Not baresip: what that hears on hold cannot be said.
    who, other, _ = parts(place, make, "linphone" if make == "pjsua2" else "pjsua2")
    connect(place, who, other, by)
    who.hold()
    place.hears_nobody(who)
    if make != "linphone":  # which plays its file to whom it holds
        place.hears_nobody(other)
    who.resume()
    place.hear_each_other(who, other)
    place.hang_up(who, other)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize(("make", "kept_make"), list(permutations(MAKES, 2)))
def test_blind(place: Office, make: str, kept_make: str, by: str) -> None:
    who, kept, to = parts(place, make, kept_make)
    connect(place, who, kept, by)
    who.transfer(to.number)
    place.hear_each_other(kept, to)
    place.idle(who)
    place.hear_each_other(kept, to)
    place.hang_up(kept if by == "caller" else to, who)
    place.idle(kept, to)


@pytest.mark.parametrize("make", MAKES)
def test_blind_of_one_on_hold(place: Office, make: str) -> None:
    who, kept, to = parts(place, make)
    place.connect(kept, who)
    who.hold()
    place.hears_nobody(who)
    who.transfer(to.number)
    place.hear_each_other(kept, to)
    place.idle(who)
    place.hear_each_other(kept, to)
    place.hang_up(to, kept)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("make", MAKES)
def test_blind_to_a_busy_one(place: Office, make: str, by: str) -> None:
    """Who transferred has its call back."""
    who, kept, _ = parts(place, make)
    connect(place, who, kept, by)
    who.transfer(place.engaged.number)
    if make == "baresip":  # 1.0 hangs up, whatever it is told
        place.idle(who, kept)
        return
    place.until_engaged()
    place.hear_each_other(who, kept)
    who.hold()
    place.hears_nobody(who)
    who.resume()
    place.hear_each_other(who, kept)
    place.hang_up(kept, who)


@pytest.mark.parametrize("make", MAKES)
def test_blind_while_the_other_holds(place: Office, make: str) -> None:
    """Who holds is back when it likes, and then talks with somebody else."""
    kept, who, to = parts(place, make)
    place.connect(kept, who)
    kept.hold()
    place.hears_nobody(kept)
    who.transfer(to.number)
    place.idle(who)
    place.until(lambda: to.calls() == [True], f"answer of {to.number}")
    kept.resume()
    place.hear_each_other(kept, to)
    place.hang_up(kept, to)


# baresip 1.0 knows no attended transfer.
@pytest.mark.parametrize("asked", [1, 2])
@pytest.mark.parametrize(("first", "second"), list(product(BY, BY)))
@pytest.mark.parametrize("make", ["pjsua2", "linphone"])
def test_attended(place: Office, make: str, first: str, second: str, asked: int) -> None:
    """Whoever called whom, and in whichever of the two calls it is asked for."""
    who, *others = parts(place, make)
    kept, target = others if asked == 1 else reversed(others)
    connect(place, who, kept, first)
    who.hold()
    place.hears_nobody(who)
    connect(place, who, target, second)
    who.attended(asked, 3 - asked)
    place.hear_each_other(kept, target)
    place.idle(who)
    place.hear_each_other(kept, target)
    place.hang_up(kept if first == second else target, who)
    place.idle(kept, target)


def test_several_in_a_row(place: Office) -> None:
    ours, baresip, linphone = parts(place)
    place.connect(ours, baresip)
    for who, kept, to in (
        (baresip, ours, linphone),
        (ours, linphone, baresip),
        (linphone, baresip, ours),
        (ours, baresip, linphone),
        (baresip, linphone, ours),
    ):
        who.transfer(to.number)
        place.hear_each_other(kept, to)
        place.idle(who)
    linphone.hold()
    place.connect(linphone, baresip)
    linphone.attended(1, 2)
    place.hear_each_other(ours, baresip)
    place.idle(linphone)
    baresip.transfer(linphone.number)
    place.hear_each_other(ours, linphone)
    place.idle(baresip)
    place.hang_up(linphone, ours)
