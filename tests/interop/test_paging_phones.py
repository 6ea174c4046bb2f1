"""Real phones of three makes page each other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from office import MAKES, Office, office
from running_switch import require

ROUTES = """
  - {match: "750", play: {page: ["1001", "1002", "1003", "1004"]}}
  - {match: "751", play: {page: {extensions: ["1001", "1002", "1003"], talk_back: true}}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    require("baresip", "baresip-core")
    require("linphonec", "linphone-cli")
    with office(tmp_path_factory.mktemp("pages") / "office", ROUTES) as place:
        yield place


def pages(place: Office) -> list[tuple[str, int]]:
    """Records: who paged, and how many talks with phones there were."""
    with sqlite3.connect(f"file:{place.database}?mode=ro", uri=True) as database:
        rows = database.execute(
            "select caller, (select count(*) from cdr_talks where cdr_talks.call_id = cdrs.call_id"
            " and how = 'page') from cdrs where final order by call_id"
        ).fetchall()
    database.close()
    return rows


# Not linphone, whose Speex, which a media worker takes, leaves no pure tone.
@pytest.mark.parametrize("make", MAKES[:2])
def test_it_is_heard_by_the_others(place: Office, make: str) -> None:
    """Which do not hear each other; one that is busy is without it."""
    before = len(pages(place))
    pager, one, other = place.parts(make)
    pager.call("750")
    place.until_engaged()
    place.hears(one, pager)
    place.hears(other, pager)
    assert [pager.calls(), one.calls(), other.calls()] == [[True]] * 3
    pager.hang_up()
    place.idle(pager, one, other)
    place.until(lambda: len(pages(place)) > before, "record")
    assert pages(place)[before:] == [(pager.number, 2)]


def test_who_is_heard_goes_alone(place: Office) -> None:
    """And with the last who hears it, it is over."""
    before = len(pages(place))
    pager, one, other = place.parts("pjsua2")
    pager.call("751")
    place.until(lambda: [one.calls(), other.calls()] == [[True]] * 2, "two who listen")
    one.hang_up()
    place.idle(one)
    place.hear_each_other(pager, other)
    other.hang_up()
    place.idle(pager, other)
    place.until(lambda: len(pages(place)) > before, "record")
    assert pages(place)[before:] == [(pager.number, 2)]
