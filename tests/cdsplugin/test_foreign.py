"""Calls that name an owner which never had them, or a callID that is over: they add nothing to
anybody's record, and are recorded apart by the server to which they came first."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import msgspec
import pytest
from api_sites import Site as Served
from api_sites import sites, until
from cds_calls import AT, SECOND, answered_call
from cds_fakes import START
from cds_world import Site, World

from cdsplugin.archive import reading
from cdsplugin.archive.foreign import (
    Before,
    apart_id,
    before,
    began_with,
    read_before,
    took_part,
)
from cdsplugin.archive.rows import Cdr
from cdsplugin.archive.sqlite import Archive
from cdsplugin.data import CallData, Log, Property
from cdsplugin.data.frames import EndOfCall, Frame, Register, Unregister, Unregistered


def world(*names: str, **options: object) -> World:
    return World(*names, judges=True, **options)


def comes(
    site: Site, call_id: str, caller: str = "555", came_in: str = "n@1", leg: int = 0
) -> None:
    """A neighbour's call comes in."""
    site.join(call_id)
    site.write(
        call_id,
        f"leg/{site.name}/{leg}",
        {
            "direction": "in", "caller": caller, "dialled": "2001", "party": "trunk:neighbour",
            "sip_call_id": came_in, "invited_at": site.server.timers.now_us(),
        },
    )  # fmt: skip


def goes(site: Site, call_id: str, leg: int = 0) -> None:
    """It is over."""
    held = site.server.store.get(call_id).data.value(f"leg/{site.name}/{leg}")
    at = site.server.timers.now_us()
    site.write(call_id, f"leg/{site.name}/{leg}", {**held, "ended_at": at, "status": 200})
    site.leave(call_id)


def a_call(at: Site, call_id: str = "c1") -> None:
    """A call of its own, from beginning to end."""
    at.join(call_id)
    at.write(call_id, "call", {"switch": at.name, "caller": "1001", "started_at": START})
    out = {"direction": "out", "party": "trunk:x", "sip_call_id": "ours@1"}
    at.write(call_id, f"leg/{at.name}/1", out)
    ended_at = at.server.timers.now_us()
    at.write(call_id, "end", {"disposition": "answered", "ended_at": ended_at})
    at.leave(call_id)


def records(world: World, call_id: str | None = None) -> list[tuple[str, Cdr]]:
    """Those of other callIDs, or of that one, and where."""
    return [
        (name, row)
        for name, site in world.sites.items()
        for each, row in site.rows.cdrs.items()
        if (call_id is None and each not in ("c1", "x1")) or each == call_id
    ]


def one_apart(world: World, at: str, caller: str = "555") -> Cdr:
    ((name, row),) = records(world)
    assert (name, row.owner, row.written_by, row.caller, row.final) == (at, at, at, caller, 1)
    assert uuid.UUID(row.call_id).version == 7
    return row


def nothing_is_left(world: World) -> None:
    for site in world.sites.values():
        store, proxy = site.server.store, site.server.proxy
        assert len(store) == len(store.kept) == len(proxy.monitor) == 0
        assert proxy._registrations.joined == {}


# What tells them


def test_what_took_part_in_a_call_that_is_over() -> None:
    over = Before(START, frozenset(("ours@1",)))

    def part(stamp: int, sip_call_id: str) -> CallData:
        leg = {"direction": "in", "sip_call_id": sip_call_id}
        return CallData([Property("leg/bee/0", leg, stamp, "bee")])

    assert took_part(part(START - 1, "other@1"), over), "it began before the end"
    assert took_part(part(START + 31 * SECOND, "other@1"), over), "an INVITE on its way"
    assert not took_part(part(START + 33 * SECOND, "other@1"), over)
    assert took_part(part(START + 3600 * SECOND, "ours@1"), over), "the other end of its leg"
    assert took_part(part(START + 3600 * SECOND, "other@1"), Before(None, frozenset()))
    note = CallData([], [Log(START + 3600 * SECOND, "bee/crm", "late")])
    assert took_part(note, over), "what applications say"
    assert before("2027-01-15T08:00:00.000001Z", ["a", None, ""]) == Before(
        1_800_000_000_000_001, frozenset("a")
    )


def test_what_is_older_than_the_archive_may_have_had_a_record() -> None:
    """In the file that was moved away: the owner takes the part, and nobody records it apart."""
    part = CallData([Property("leg/bee/0", {"direction": "in"}, START, "bee")])
    assert took_part(part, Before(None, frozenset(), False, START + 1))
    assert not took_part(part, Before(None, frozenset(), False, START, START - 1))
    assert not took_part(part, Before(None, frozenset(), False))
    # What is typed late says when it was typed.
    note = CallData([], [Log(START + 3600 * SECOND, "bee/crm", "late")])
    assert took_part(note, Before(None, frozenset(), False, START + 1, START))
    assert not took_part(note, Before(None, frozenset(), False, START, START))
    assert not took_part(note, Before(None, frozenset(), False, START))


def test_since_when_there_is_an_archive(tmp_path: Path) -> None:
    began = time.time_ns() // 1000
    archive = Archive(tmp_path / "hq.db")
    archive.open()
    archive.close()
    found = read_before(archive.path, "c1")
    assert (found.recorded, found.began) == (False, None)
    ours = read_before(archive.path, "0199c0de-0000-7000-8000-000000000000")
    assert ours.began == 0x0199C0DE0000 * 1000
    assert found.since is not None
    assert began <= found.since <= time.time_ns() // 1000


def test_the_callid_of_a_record_apart() -> None:
    """The same whoever makes it, another for the next call that names the same; sorts by time."""
    leg = {"direction": "in", "invited_at": START}
    first = Property("leg/bee/0", leg, START + 5, "bee")
    one = apart_id("x1", first)
    assert one == apart_id("x1", Property("leg/bee/0", {**leg, "status": 200}, START + 9, "bee"))
    later = apart_id("x1", Property("leg/bee/0", {**leg, "invited_at": START + 10**6}, 1, "bee"))
    assert one < later
    assert uuid.UUID(one).version == 7
    assert one != apart_id("x2", first)
    assert uuid.UUID(apart_id("x1", Log(7, "bee", "a note"))).version == 7
    assert began_with(CallData([first]), ("bee", 0)) == first
    assert began_with(CallData(), None) is None


# Across servers


def test_an_owner_that_never_had_the_call_records_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sites = world("ant", "bee")
    comes(sites["bee"], "x1")
    sites.pass_time(300)
    goes(sites["bee"], "x1")
    sites.pass_time(29)
    assert records(sites) == records(sites, "x1") == []
    sites.pass_time(3)
    row = one_apart(sites, "bee")
    assert records(sites, "x1") == []
    assert sites["ant"].rows.entries == {}
    assert sites["bee"].rows.entries == {row.call_id: {"leg/bee/0"}}
    assert f"names ant as its owner, which has no such call: recorded as {row.call_id}" in (
        caplog.text
    )
    nothing_is_left(sites)


def test_a_callid_that_is_over() -> None:
    """Its final row stays as it is."""
    sites = world("ant", "bee")
    a_call(sites["ant"])
    sites.pass_time(100)
    row, entries = sites["ant"].rows.cdrs["c1"], set(sites["ant"].rows.entries["c1"])
    for caller in ("555", "556"):
        comes(sites["bee"], "c1", caller)
        sites.pass_time(5)
        goes(sites["bee"], "c1")
        sites.pass_time(100)
    assert sites["ant"].rows.cdrs["c1"] == row
    assert sites["ant"].rows.entries["c1"] == entries
    assert [(at, r.caller) for at, r in records(sites)] == [("bee", "555"), ("bee", "556")]
    nothing_is_left(sites)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_callid_that_comes_to_its_owner_when_another_has_just_recorded_it(restarts: bool) -> None:
    """Nobody would be told the end of the two together: each is a record."""
    sites = world("ant", "bee", commit=0.0)
    ant = sites["ant"]
    a_call(ant)
    sites.pass_time(100)
    comes(sites["bee"], "c1", "555")
    sites.pass_time(1)
    goes(sites["bee"], "c1")
    sites.pass_time(29)
    for _ in range(40):
        sites.pass_time(0.1)
        if records(sites):
            break
    comes(ant, "c1", "556", leg=4)
    sites.pass_time(1)
    if restarts:
        ant.restart()
        ant.join("c1")
    goes(ant, "c1", leg=4)
    sites.pass_time(100)
    assert [(at, r.caller) for at, r in records(sites)] == [("ant", "556"), ("bee", "555")]
    assert ant.rows.entries["c1"] == {"leg/ant/1"}
    nothing_is_left(sites)


def test_it_comes_to_the_switch_of_the_owner_itself() -> None:
    sites = world("ant")
    a_call(sites["ant"])
    sites.pass_time(100)
    for call_id in ("c1", "x1"):
        comes(sites["ant"], call_id, call_id, leg=4)
        sites.pass_time(5)
        goes(sites["ant"], call_id, leg=4)
        sites.pass_time(40)
    assert sites["ant"].rows.entries["c1"] == {"leg/ant/1"}
    assert [(at, r.caller, r.owner) for at, r in records(sites)] == [
        ("ant", "c1", "ant"), ("ant", "x1", "ant"),
    ]  # fmt: skip
    assert records(sites, "x1") == []
    nothing_is_left(sites)


def test_one_record_though_it_goes_on_to_others() -> None:
    """bee has the leg by which it came to us; cat has left long before the end."""
    sites = world("ant", "bee", "cat")
    comes(sites["bee"], "x1")
    out = {"direction": "out", "party": "trunk:cat", "sip_call_id": "between@1"}
    sites["bee"].write("x1", "leg/bee/1", out)
    sites.pass_time(1)
    comes(sites["cat"], "x1", came_in="between@1")
    sites.pass_time(5)
    goes(sites["cat"], "x1")
    sites.pass_time(200)
    goes(sites["bee"], "x1")
    sites.pass_time(100)
    row = one_apart(sites, "bee")
    assert sites["bee"].rows.entries[row.call_id] == {"leg/bee/0", "leg/bee/1", "leg/cat/0"}
    assert records(sites, "x1") == []
    nothing_is_left(sites)


def test_the_first_has_left_long_before_the_end() -> None:
    """It keeps its part until the owner has said whose the call is."""
    sites = world("ant", "bee", "cat", commit=0.0)
    comes(sites["bee"], "x1")
    out = {"direction": "out", "party": "trunk:cat", "sip_call_id": "between@1"}
    sites["bee"].write("x1", "leg/bee/1", out)
    sites.pass_time(1)
    comes(sites["cat"], "x1", came_in="between@1")
    sites.pass_time(1)
    goes(sites["bee"], "x1")
    sites.pass_time(200)
    sites["bee"].restart()
    sites.pass_time(100)
    goes(sites["cat"], "x1")
    sites.pass_time(100)
    one_apart(sites, "bee")
    assert records(sites, "x1") == []
    nothing_is_left(sites)


@pytest.mark.parametrize("seconds", [5, 70])
def test_the_owner_is_dead_meanwhile(seconds: int) -> None:
    """The caretaker's record is there until the owner has said that it has no such call."""
    sites = world("ant", "bee", commit=0.0)
    comes(sites["bee"], "x1")
    sites.pass_time(1)
    sites["ant"].kill()
    sites.pass_time(40)
    goes(sites["bee"], "x1")
    sites.pass_time(seconds)
    if seconds > 60:
        ((at, row),) = records(sites, "x1")
        assert (at, row.owner, row.written_by) == ("bee", "ant", "bee")
    sites["ant"].start()
    sites.pass_time(80)
    one_apart(sites, "bee")
    assert records(sites, "x1") == []
    assert sites["ant"].rows.entries == {}
    nothing_is_left(sites)


def test_who_took_its_word_from_a_caretaker_is_in_the_caretakers_record() -> None:
    sites = world("ant", "bee", "cat")
    comes(sites["cat"], "x1")
    sites.pass_time(1)
    sites["bee"].join("x1")
    sites.pass_time(1)
    sites["ant"].kill()
    sites.pass_time(50)
    goes(sites["cat"], "x1")
    sites.pass_time(100)
    sites["bee"].leave("x1")
    sites.pass_time(100)
    sites["ant"].start()
    sites.pass_time(100)
    assert {row.caller for _, row in records(sites)} == {"555"}
    assert len({row.call_id for _, row in records(sites)}) == 1
    assert records(sites, "x1") == []


def test_the_owner_restarts_while_the_call_lingers() -> None:
    sites = world("ant", "bee", commit=0.0)
    comes(sites["bee"], "x1")
    sites.pass_time(1)
    goes(sites["bee"], "x1")
    sites.pass_time(5)
    sites["ant"].restart()
    sites.pass_time(80)
    one_apart(sites, "bee")
    assert records(sites, "x1") == []
    nothing_is_left(sites)


def test_the_participants_word_comes_before_that_of_the_owners_switch() -> None:
    """As it does when that is elsewhere and its events wait in a spool: the call is the owner's."""
    sites = world("ant", "bee")
    comes(sites["bee"], "c1", came_in="ours@1")
    sites.pass_time(3)
    goes(sites["bee"], "c1")
    sites.pass_time(25)
    a_call(sites["ant"])
    sites.pass_time(100)
    assert records(sites) == []
    assert sites.rows() == {"c1": ["ant"]}
    assert sites["ant"].rows.entries["c1"] == {"leg/ant/1", "leg/bee/0"}
    nothing_is_left(sites)


def test_what_comes_late_to_a_call_that_is_over_is_in_its_record() -> None:
    """bee was cut off from the first moment to long after the end."""
    sites = world("ant", "bee")
    sites.net.part("ant", "bee")
    comes(sites["bee"], "c1", came_in="ours@1")
    sites.pass_time(3)
    a_call(sites["ant"])
    goes(sites["bee"], "c1")
    sites.pass_time(300)
    assert sites.rows() == {"c1": ["ant", "bee"]}
    sites.net.heal()
    sites.pass_time(100)
    assert sites.rows() == {"c1": ["ant"]}
    assert sites["ant"].rows.entries["c1"] == {"leg/ant/1", "leg/bee/0"}
    assert records(sites) == []
    nothing_is_left(sites)


def test_an_owner_that_lost_everything_gets_its_call_from_a_participant() -> None:
    sites = world("ant", "bee")
    sites["ant"].join("c1")
    sites["ant"].write("c1", "call", {"switch": "ant", "caller": "1001", "started_at": START})
    sites.pass_time(1)
    comes(sites["bee"], "c1")
    sites.pass_time(1)
    sites["ant"].kill()
    sites["ant"].start()
    sites.pass_time(5)
    goes(sites["bee"], "c1")
    sites.pass_time(100)
    assert sites.rows() == {"c1": ["ant"]}
    assert records(sites, "c1")[0][1].caller == "1001"


def test_what_an_application_says_of_a_call_that_nobody_had() -> None:
    """It is acknowledged, so it is somewhere."""
    sites = world("ant", "bee")
    crm = sites["bee"].client
    sites["bee"].server.store.register(crm, "x1", "ant", holds=False)
    sites["bee"].server.store.write(crm, "x1", "bee/crm", {"note": 1})
    sites.pass_time(100)
    ((at, row),) = records(sites)
    assert (at, sites["bee"].rows.entries) == ("bee", {row.call_id: {"note"}})
    assert records(sites, "x1") == []


def test_what_comes_when_the_first_has_recorded_the_call_already() -> None:
    """It is recorded under the same callID by who brings it: it must not be lost."""
    sites = world("ant", "bee", "cat")
    comes(sites["bee"], "x1")
    sites.pass_time(1)
    sites["cat"].server.store.register(sites["cat"].client, "x1", "ant", holds=False)
    sites.pass_time(1)
    sites.net.part("ant bee", "cat")
    goes(sites["bee"], "x1")
    sites.pass_time(40)
    one_apart(sites, "bee")
    sites["cat"].server.store.write(sites["cat"].client, "x1", "cat/crm", {"note": 1})
    sites.net.heal()
    sites.pass_time(150)
    assert [at for at, _ in records(sites)] == ["bee", "cat"]
    ((call_id, entries),) = sites["cat"].rows.entries.items()
    assert "note" in entries
    assert call_id in sites["bee"].rows.entries
    assert records(sites, "x1") == []


def test_older_servers_are_recorded_for_as_before() -> None:
    """A participant that would not record the call by itself; an owner that disowns nothing."""

    class Before(msgspec.Struct, frozen=True, array_like=True, tag="end"):
        call_id: str
        properties: list
        logs: list

    encode = msgspec.msgpack.encode
    told = EndOfCall("c1", [], [], "bee")
    assert msgspec.msgpack.decode(encode(told), type=Before) == Before("c1", [], [])
    assert msgspec.msgpack.decode(encode(Before("c1", [], [])), type=Frame) == EndOfCall(
        "c1", [], []
    )
    sites = world("ant", "bee")
    ant = sites["ant"].server.proxy
    sites.net.dial("bee", "ant")
    leg = Property("leg/bee/0", {"direction": "in", "caller": "555"}, START, "bee")
    ant.received("bee", Register("x1", "ant", 1, {}, [leg], []))
    ant.received("bee", Unregister("x1", 1))
    answers = [frame for _, to, frame in sites.net.run() if to == "bee"]
    assert Unregistered("x1", 1) in answers
    sites.pass_time(40)
    assert [row.caller for _, row in records(sites, "x1")] == ["555"]


# With real servers and archives


async def nothing_of(site: Served, call_id: str) -> None:
    assert await site.recorded(call_id) is None
    with reading.reading_records(site.server.archive.path) as db:
        for table in ("cdr_legs", "cdr_properties", "cdr_logs", "cdr_talks"):
            assert not list(db.table(table).rows_where("call_id = ?", [call_id])), table


async def others(site: Served, *but: str) -> list[dict]:
    await asyncio.get_running_loop().run_in_executor(None, site.server.archive.flush)
    with reading.reading_records(site.server.archive.path) as db:
        return [row for row in reading.read_records(db, 10) if row["call_id"] not in but]


async def test_on_disk(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", "branch", linger=0.1) as (hq, branch):
        hq.feed(answered_call("c1"))
        await until(lambda: not len(hq.server.store))
        first = await hq.recorded("c1")
        hour = 3600 * SECOND
        branch.feed(answered_call("x1", "branch", "hq", AT + hour))
        await until(lambda: not len(hq.server.store) + len(branch.server.store))
        await nothing_of(hq, "x1")
        await nothing_of(branch, "x1")
        (row,) = await others(branch)
        assert (row["owner"], row["written_by"], row["final"]) == ("branch", "branch", 1)
        assert (row["caller"], row["dialled"], row["disposition"]) == ("1001", "2001", "answered")
        assert await hq.recorded("c1") == first
        assert await others(hq, "c1") == []
        await until(lambda: len(branch.server.journal) == len(hq.server.journal) == 0)


async def test_while_a_switch_elsewhere_may_have_something_to_tell(tmp_path: Path) -> None:
    """Its events may say yet that the call is ours: it is recorded as if it were."""
    async with sites(tmp_path, "hq", "branch", linger=0.1) as (hq, branch):
        hq.server.untold = lambda: True
        branch.feed(answered_call("x1", "branch", "hq"))
        await until(lambda: not len(hq.server.store) + len(branch.server.store))
        assert (await hq.recorded("x1"))["written_by"] == "hq"
        assert await others(branch) == []
