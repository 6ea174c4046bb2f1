"""Names of trunks: looked up side by side, and a DNS that does not answer holds up nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from softswitch import names
from softswitch.config import Trunk
from softswitch.config.addresses import parse_trunk_uri
from softswitch.names import Found, Names
from softswitch.parties import Trunks
from softswitch.sip import Located


def trunk(name: str, host: str) -> Trunk:
    return Trunk(name, parse_trunk_uri(f"sip:{host}"))


def at(host: str, ttl: float = 0.0) -> Located:
    return Located("udp", ((host, 5060),), ttl)


class Switch:
    """As much of a switch as has trunks."""

    def __init__(self, *trunks: Trunk) -> None:
        self.config = SimpleNamespace(timers=SimpleNamespace(dns_least=0.0, dns_longest=3600.0))
        self.trunk_entries = {one.name: one for one in trunks}
        self.trunks = Trunks(trunks)


class Dns:
    """Answers by name; those that are not known hang until `close`."""

    def __init__(self) -> None:
        self.known: dict[str, Found] = {}
        self.asked: list[str] = []
        self._hang = threading.Event()

    def __call__(self, one: Trunk) -> Found:
        self.asked.append(one.to.host)
        if one.to.host not in self.known:
            self._hang.wait(10)
            return OSError("no answer")
        return self.known[one.to.host]

    def close(self) -> None:
        self._hang.set()


def run(what: Callable[[Callable[[Switch], Names], Dns], Any]) -> None:
    dns = Dns()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def make(switch: Switch) -> Names:
            return Names(loop, switch, dns)  # type: ignore[arg-type]

        await asyncio.wait_for(what(make, dns), 10)

    try:
        uvloop.run(main())
    finally:
        dns.close()


def test_one_that_hangs_keeps_no_other_waiting() -> None:
    async def test(make: Callable[[Switch], Names], dns: Dns) -> None:
        hang = [trunk(f"dead{n}", f"dead{n}.example.com") for n in range(20)]
        switch = Switch(*hang, trunk("a", "a.example.com"), trunk("b", "192.0.2.1"))
        dns.known["a.example.com"] = at("192.0.2.9")
        began = time.monotonic()
        await make(switch).begin()
        assert time.monotonic() - began < 20 * names.AT_START
        assert switch.trunks.addresses("a") == (("192.0.2.9", 5060),)
        assert switch.trunks.addresses("dead3") == ()
        assert "192.0.2.1" not in dns.asked

    run(test)


def test_a_start_waits_for_no_more_than_all_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "AT_START", 60.0)

    async def test(make: Callable[[Switch], Names], dns: Dns) -> None:
        switch = Switch(trunk("a", "a.example.com"), trunk("b", "b.example.com"))
        dns.known = {"a.example.com": [("192.0.2.9", 5060)], "b.example.com": OSError("unknown")}
        await make(switch).begin()

    run(test)


def test_it_is_said_once_that_a_name_is_not_found_and_that_it_is_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(names, "AGAIN_AFTER", 0.0)
    caplog.set_level(logging.INFO)

    async def test(make: Callable[[Switch], Names], dns: Dns) -> None:
        switch = Switch(trunk("a", "a.example.com"))
        looking = make(switch)
        dns.known["a.example.com"] = OSError("a.example.com: no such name")
        for _ in range(3):
            await looking.begin()
        dns.known["a.example.com"] = at("192.0.2.9")
        await looking.begin()
        dns.known["a.example.com"] = OSError("no such name")
        await looking.begin()
        # It was there a moment ago.
        assert switch.trunks.addresses("a") == (("192.0.2.9", 5060),)

    run(test)
    assert [record.getMessage() for record in caplog.records] == [
        "trunk a: a.example.com: no such name",
        "trunk a: a.example.com is found again",
        "trunk a: a.example.com: no such name; it stays where it was",
    ]


def test_the_answer_for_a_trunk_that_has_moved_is_no_matter() -> None:
    async def test(make: Callable[[Switch], Names], dns: Dns) -> None:
        switch = Switch(trunk("a", "old.example.com"))
        looking = make(switch)
        looking.look_up()
        looking.look_up()
        moved = trunk("a", "new.example.com")
        switch.trunk_entries = {"a": moved}
        switch.trunks.take_up([moved])
        dns.known["new.example.com"] = at("192.0.2.7")
        await looking.begin()
        dns.close()
        await asyncio.sleep(0.05)
        assert switch.trunks.addresses("a") == (("192.0.2.7", 5060),)
        assert dns.asked == ["old.example.com", "new.example.com"]

    run(test)


def test_what_the_system_says() -> None:
    found = names.look_up(trunk("a", "localhost"))
    assert isinstance(found, Located)
    assert ("127.0.0.1", 5060) in found.addresses
    assert isinstance(names.look_up(trunk("a", "x" * 64 + ".example")), Exception)
