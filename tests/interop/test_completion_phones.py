"""Call completion with real phones of three makes, each in each part: who waits is rung without an
offer, and the two hear each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from office import MAKES, Office, Offices, Talks
from running_switch import require


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offices]:
    require("baresip", "baresip-core")
    require("linphonec", "linphone-cli")
    offices = Offices(tmp_path_factory)
    yield offices
    offices.close()


@pytest.mark.parametrize("way", [1, -1])
def test_rung_when_the_other_is_free(offices: Offices, way: int) -> None:
    def completes(place: Office, make: str) -> None:
        first = MAKES.index(make)
        makes = (MAKES[(first + way * n) % len(MAKES)] for n in range(len(MAKES)))
        who, other, third = place.parts(*makes)
        talks = Talks(place)
        talks.completed(who, other, third)
        place.hear_each_other(who, other)
        talks.hang_up(who, other)

    offices.at_once(completes, MAKES)
