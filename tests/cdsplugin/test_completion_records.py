"""Records of calls that the switch has placed because somebody waited for another to be free."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from api_sites import sites
from calls.call_world import CONFIG, SDP, World
from calls.test_transfer import BOB
from features.test_completion import (
    CODES,
    PAUSE,
    answer,
    asked,
    completed,
    hang_up,
    made,
    rung,
)

from cdsplugin.accounts.rates import Rates
from cdsplugin.accounts.report import cost_report
from cdsplugin.archive.reading import reading_records
from softswitch import events

RATES = Rates.model_validate({"rates": [{"prefix": "", "per_minute": 6}]})


def columns(record: dict[str, Any], names: str) -> tuple[Any, ...]:
    return tuple(record[name] for name in names.split())


async def test_they_talked(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    world.run(3)
    b = answer(a, bob)
    world.run(30)
    hang_up(b, a)
    world.end()
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        record = await hq.recorded(completed(world))
        assert record is not None
        assert columns(record, "caller caller_name caller_party dialled callee callee_party") == (
            "1001", "Alice", "extension:1001", "1002", "1002", "extension:1002",
        )  # fmt: skip
        assert columns(record, "disposition sip_status hangup_by answered_party owner") == (
            "answered", 200, "callee", "extension:1002", "hq",
        )  # fmt: skip
        assert record["billsec"] == pytest.approx(30)
        assert record["duration"] == pytest.approx(33.5, abs=0.1)
        (talk,) = record["talks"]
        assert columns(talk, "from_party to_party how by") == (
            "extension:1001", "extension:1002", "dialled", "extension:1001",
        )  # fmt: skip
        found = {leg["leg"]: leg for leg in record["legs"]}
        assert [(n, leg["direction"], leg["party"]) for n, leg in sorted(found.items())] == [
            (0, "in", "extension:1001"),
            (1, "out", "extension:1001"),
            (2, "out", "extension:1002"),
        ]
        assert found[1]["address"] == "udp:10.9.0.1:5060"
        assert found[1]["reason"] == "Answered As The Caller"
        # The star code says what it was for.
        (code,) = [e.call_id for e in world.of(events.CallStarted) if e.dialled == "*37"]
        record = await hq.recorded(code)
        assert record is not None
        assert record["reason"] == "Will Ring When 1002 Is Free"
        properties = {row["name"]: row["value"] for row in record["properties"]}
        assert properties["complete"] == "1002"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(486, ("busy", 486, "callee")), (603, ("rejected", 603, "callee"))],
)
async def test_he_does_not_take_it(
    tmp_path: Path, status: int, expected: tuple[str, int, str]
) -> None:
    world = made(tmp_path)
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200, SDP)
    bob.line.reply(status)
    a.reply(200, to="BYE")
    for one in list(world.switch.completions.awaited.get("extension:1001", ())):
        world.switch.completions.end(one)
    world.end()
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        record = await hq.recorded(completed(world))
        assert record is not None
        assert columns(record, "disposition sip_status hangup_by") == expected
        assert columns(record, "answered_at answered_party callee talks") == (None, None, None, [])
        assert not record["billsec"]


async def test_she_does_not_answer(tmp_path: Path) -> None:
    world = made(tmp_path)
    alice, _, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    world.run(21)
    a.reply(200, to="CANCEL")
    a.reply(487)
    world.end()
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        record = await hq.recorded(completed(world))
        assert record is not None
        assert columns(record, "disposition sip_status answered_party dialled parties") == (
            "no-answer", 480, None, "1002", None,
        )  # fmt: skip


@pytest.mark.parametrize("when", ["rings", "waits", "talks"])
async def test_the_switch_was_killed(tmp_path: Path, when: str) -> None:
    """One record, whether the server has lost its memory too or not."""
    world = made(tmp_path, journal=True)
    alice, bob, _, c, b = asked(world)
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(180)
    ringing = a
    if when == "waits":
        a.reply(200, SDP)
        ringing = bob.line
        ringing.reply(180)
    if when == "talks":
        b = answer(a, bob)
        world.run(10)
    told = len(world.events)
    call_id = completed(world)
    world.restart(5, CONFIG, CODES)
    if when == "talks":
        world.run(2)
        for line in (a, b):
            line.reply(200, to="OPTIONS")
        world.run(10)
        hang_up(a, b)
    else:
        if when == "waits":
            a.reply(200, to="BYE")
        ringing.reply(200, to="CANCEL")
        ringing.reply(487)
        for one in list(world.switch.completions.awaited.get("extension:1001", ())):
            world.switch.completions.end(one)
    world.rest()
    for name, events_ in (("knows", world.events), ("forgot", world.events[told:])):
        folder = tmp_path / name
        folder.mkdir()
        async with sites(folder, "hq") as (hq,):
            hq.feed(events_)
            record = await hq.recorded(call_id)
            assert record is not None
            seen = columns(record, "disposition sip_status reason caller_party dialled")
            if when == "talks":
                assert seen == ("answered", 200, "", "extension:1001", "1002")
                if name == "forgot":  # else the server's clock would have to go as the world's
                    assert record["billsec"] == pytest.approx(27.25, abs=0.5)
                assert [columns(talk, "to_party how") for talk in record["talks"]] == [
                    ("extension:1002", "dialled")
                ]
            else:
                assert seen == ("failed", 503, "switch restarted", "extension:1001", "1002")
                assert record["talks"] == []
                assert not record["billsec"]


async def test_who_pays(tmp_path: Path) -> None:
    """Bob forwards what he does not answer to a number outside, by which he pays for it."""
    config = CONFIG.replace(
        "{name: Bob,", '{name: Bob, forward: {no_answer: {to: "80441", after: 5}},'
    )
    world = World(tmp_path, config, CODES)
    alice, bob, _, c, b = asked(world)
    pstn = world.agent("10.2.0.1", "pstn")
    hang_up(c, b)
    before = len(alice.lines)
    world.run(PAUSE + 0.5)
    a = rung(alice, before)
    a.reply(200, SDP)
    bob.line.reply(180)
    world.run(6)
    bob.line.reply(200, to="CANCEL")
    bob.line.reply(487)
    pstn.line.reply(200, BOB)
    a.reply(200, SDP)
    world.run(60)
    hang_up(a, pstn.line)
    world.end()
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        record = await hq.recorded(completed(world))
        assert record is not None
        (talk,) = record["talks"]
        assert columns(talk, "from_party to_party how by") == (
            "extension:1001", "trunk:pstn", "forward", "extension:1002",
        )  # fmt: skip
        with reading_records(hq.server.archive.path) as db:
            lines = cost_report([db], ["extension", "outgoing"], RATES).lines
        costs = {line.group: line.cost for line in lines if line.cost}
        assert costs == {("1002", "pstn"): Decimal(6)}
