"""Hold and transfer with real phones of three makes, each of them in each part.

After each transfer the two that stay hear each other, and not who has left; and the record has the
talks that the phones saw. Each test does the same in two offices at once, in two ways.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import permutations, product

import pytest
from handsets import Handset
from office import MAKES, Office, Offices, Talks
from running_switch import require

BY = ("caller", "callee")


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offices]:
    require("baresip", "baresip-core")
    require("linphonec", "linphone-cli")
    offices = Offices(tmp_path_factory)
    yield offices
    offices.close()


def connect(talks: Talks, who: Handset, other: Handset, by: str) -> None:
    """They talk, and `who` is the caller or the callee."""
    talks.connect(*((who, other) if by == "caller" else (other, who)))


@pytest.mark.parametrize("make", MAKES)
def test_hold_and_resume(offices: Offices, make: str) -> None:
    def hold(place: Office, by: str) -> None:
        # Not baresip: what that hears on hold cannot be said.
        who, other, _ = place.parts(make, "linphone" if make == "pjsua2" else "pjsua2")
        talks = Talks(place)
        connect(talks, who, other, by)
        who.hold()
        place.hears_nobody(who)
        if make != "linphone":  # which plays its file to whom it holds
            place.hears_nobody(other)
        who.resume()
        place.hear_each_other(who, other)
        talks.hang_up(who, other)

    offices.at_once(hold, BY)


@pytest.mark.parametrize(("make", "kept_make"), list(permutations(MAKES, 2)))
def test_blind(offices: Offices, make: str, kept_make: str) -> None:
    def blind(place: Office, by: str) -> None:
        who, kept, to = place.parts(make, kept_make)
        talks = Talks(place)
        connect(talks, who, kept, by)
        talks.transfer(who, kept, to)
        place.hear_each_other(kept, to)
        place.idle(who)
        place.hear_each_other(kept, to)
        talks.hang_up(*((kept, to) if by == "caller" else (to, kept)))

    offices.at_once(blind, BY)


@pytest.mark.parametrize("make", MAKES)
def test_blind_of_one_on_hold(offices: Offices, make: str) -> None:
    def blind(place: Office, by: str) -> None:
        who, kept, to = place.parts(make)
        talks = Talks(place)
        connect(talks, who, kept, by)
        who.hold()
        place.hears_nobody(who)
        talks.transfer(who, kept, to)
        place.hear_each_other(kept, to)
        place.idle(who)
        place.hear_each_other(kept, to)
        talks.hang_up(to, kept)

    offices.at_once(blind, BY)


@pytest.mark.parametrize("make", MAKES)
def test_blind_to_a_busy_one(offices: Offices, make: str) -> None:
    """Who transferred has its call back."""

    def blind(place: Office, by: str) -> None:
        who, kept, _ = place.parts(make)
        talks = Talks(place)
        connect(talks, who, kept, by)
        before = time.time()
        talks.transfer_to_engaged(who, kept)
        if make == "baresip":  # 1.0 hangs up, whatever it is told
            talks.over(who, kept, before)
            return
        place.hear_each_other(who, kept)
        who.hold()
        place.hears_nobody(who)
        who.resume()
        place.hear_each_other(who, kept)
        talks.hang_up(kept, who)

    offices.at_once(blind, BY)


@pytest.mark.parametrize("make", MAKES)
def test_blind_while_the_other_holds(offices: Offices, make: str) -> None:
    """Who holds is back when it likes, also at once, and then talks with somebody else."""

    def blind(place: Office, by: str) -> None:
        kept, who, to = place.parts(make)
        talks = Talks(place)
        connect(talks, who, kept, by)
        kept.hold()
        place.hears_nobody(kept)
        talks.transfer(who, kept, to)
        kept.resume()
        place.hear_each_other(kept, to)
        place.idle(who)
        talks.hang_up(kept, to)

    offices.at_once(blind, BY)


# baresip 1.0 knows no attended transfer.
@pytest.mark.parametrize(("first", "second"), list(product(BY, BY)))
@pytest.mark.parametrize("make", ["pjsua2", "linphone"])
def test_attended(offices: Offices, make: str, first: str, second: str) -> None:
    """Whoever called whom, and in whichever of the two calls it is asked for."""

    def attended(place: Office, asked: int) -> None:
        who, kept, target = place.parts(make)
        talks = Talks(place)
        connect(talks, who, kept, first)
        who.hold()
        place.hears_nobody(who)
        connect(talks, who, target, second)
        if asked == 2:
            kept, target = target, kept
        talks.attended(who, kept, target, asked)
        place.hear_each_other(kept, target)
        talks.hang_up(*((kept, target) if first == second else (target, kept)))

    offices.at_once(attended, [1, 2])


def test_several_in_a_row(offices: Offices) -> None:
    def row(place: Office, last: str) -> None:
        ours, baresip, linphone = place.parts()
        talks = Talks(place)
        talks.connect(ours, baresip)
        for who, kept, to in (
            (baresip, ours, linphone),
            (ours, linphone, baresip),
            (linphone, baresip, ours),
            (ours, baresip, linphone),
            (baresip, linphone, ours),
        ):
            talks.transfer(who, kept, to)
            place.hear_each_other(kept, to)
            place.idle(who)
        who, other = (linphone, ours) if last == "linphone" else (ours, linphone)
        who.hold()
        talks.connect(who, baresip)
        talks.attended(who, other, baresip, 1)
        place.hear_each_other(other, baresip)
        talks.transfer(baresip, other, who)
        place.hear_each_other(other, who)
        place.idle(baresip)
        talks.hang_up(who, other)

    offices.at_once(row, ["linphone", "pjsua2"])
