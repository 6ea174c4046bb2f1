"""Trunks of a configuration that was read again: what is known of them stays."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from softswitch.config import Trunk
from softswitch.config.addresses import parse_trunk_source, parse_trunk_uri
from softswitch.parties.trunks import Trunks


def trunk(name: str, to: str = "sip:192.0.2.1", *sources: str, **more: Any) -> Trunk:
    found = tuple(parse_trunk_source(one) for one in sources)
    return Trunk(name, parse_trunk_uri(to), from_=found, **more)


def test_calls_and_whether_it_is_up_stay() -> None:
    trunks = Trunks([trunk("a", max_calls=2), trunk("b", "sip:192.0.2.2")])
    assert trunks.acquire("a")
    for _ in range(3):
        trunks.answered("b", None)
    trunks.take_up([trunk("b", "sip:192.0.2.2", max_calls=7), trunk("a", max_calls=1)])
    assert not trunks.acquire("a")
    assert not trunks.is_up("b")
    trunks.release("a")
    assert trunks.acquire("a")


def test_one_that_moved_is_looked_for_anew() -> None:
    trunks = Trunks([trunk("a"), trunk("named", "sip:sbc.example.com")])
    trunks.set_addresses("named", [("192.0.2.9", 5060)])
    for _ in range(3):
        trunks.answered("a", None)
    trunks.take_up([trunk("a", "sip:192.0.2.7"), trunk("named", "sip:sbc.example.com")])
    assert trunks.is_up("a")
    assert trunks.addresses("named") == (("192.0.2.9", 5060),)
    assert trunks.by_source("udp", "192.0.2.1", 5060) is None
    found = trunks.by_source("udp", "192.0.2.7", 5060)
    assert found is not None
    assert found.name == "a"
    trunks.take_up([trunk("named", "sip:other.example.com")])
    assert trunks.addresses("named") == ()
    assert trunks.by_source("udp", "192.0.2.9", 5060) is None


def test_networks_are_those_of_now() -> None:
    trunks = Trunks([trunk("a", "sip:192.0.2.1", "198.51.100.0/24")])
    assert trunks.by_source("udp", "198.51.100.3", 1) is not None
    trunks.take_up([trunk("a", "sip:192.0.2.1", "203.0.113.0/24")])
    assert trunks.by_source("udp", "198.51.100.3", 1) is None, "not remembered either"
    assert trunks.by_source("udp", "203.0.113.3", 1) is not None


def test_calls_of_a_trunk_that_is_no_more_end(caplog: pytest.LogCaptureFixture) -> None:
    trunks = Trunks([trunk("a")])
    assert trunks.acquire("a")
    trunks.take_up([])
    assert trunks.calls("a") == 1
    assert trunks.due(0.0) == []
    trunks.release("a")
    assert trunks.calls("a") == 0
    # A call of before a restart, of a trunk that the configuration does not have any more.
    assert trunks.acquire("gone")
    trunks.release("gone")
    assert trunks.calls("gone") == 0
    assert not trunks.answered("gone", 200), "an OPTIONS that was under way"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
