"""The local store as programs in the process have it: what comes first, and what never comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from api_sites import Site, sites, until
from cds_calls import answered_call, started

from cdsplugin.archive.disk import NotStored as Refused
from cdsplugin.config import Address, CdsLimits
from cdsplugin.data import for_a_switch
from cdsplugin.local import (
    Call,
    CallFull,
    LocalStore,
    Log,
    NoSuchCall,
    NotStorable,
    NotStored,
    OwnerAway,
    Property,
    TooLong,
)


@dataclass
class Notes:
    """A client that notes what it is told. Not hashable, and equal to any other of the kind."""

    told: list[tuple[str, str, Any]] = field(default_factory=list)
    then: Callable[[Call], None] = lambda call: None
    switch: str = "a name of its own"

    def updated(self, call: Call, properties: list[Property], logs: list[Log]) -> None:
        for entry in properties:
            self.told.append((call.call_id, entry.name, entry.value))
        for line in logs:
            self.told.append((call.call_id, "log", line.text))
        self.then(call)

    def ended(self, call: Call) -> None:
        self.told.append((call.call_id, "ended", len(call.data)))

    def names(self) -> list[str]:
        return [name for _, name, _ in self.told]


def local(site: Site, program: str = "vip") -> LocalStore:
    return LocalStore(site.server, program, asyncio.get_running_loop().call_soon)


async def told() -> None:
    """A turn of the event loop: clients are told what is to be told."""
    await asyncio.sleep(0)


@pytest.fixture
async def hq(tmp_path: Path):
    async with sites(tmp_path, "hq", linger=0.05) as (site,):
        yield site


@pytest.fixture
async def pair(tmp_path: Path):
    async with sites(tmp_path, "hq", "branch", linger=0.05) as both:
        yield both


async def test_a_client_of_one_call(hq: Site) -> None:
    """All entries first, then what changes, at the end all again, once."""
    store, client = local(hq), Notes()
    events = answered_call("c1")
    hq.feed(events[:2])
    hq.feed([started("other")])
    assert [call.call_id for call in store.calls()] == ["c1", "other"]
    call = store.register(client, "c1")
    assert call is store.get("c1") is store.register(client, "c1")
    assert set(call.data.properties) == {"call", "leg/hq/0", "route/hq", "account"}
    assert call.data.value("call")["caller"] == "1001"
    await told()
    assert client.told == [], "what was returned does not come again"
    hq.feed(events[2:7])
    await told()
    assert set(client.names()) == {"leg/hq/1", "answer", "leg/hq/0"}
    other = Notes()
    store.register(other, "c1")
    store.unregister(other, "c1")
    hq.feed(events[7:])
    store.unregister(Notes(), "c1")  # somebody else
    await until(lambda: store.get("c1") is None)
    await told()
    assert client.told[-1][:2] == ("c1", "ended"), "it is held by nobody who is registered here"
    assert client.names().count("ended") == 1
    assert other.told == [], "who has left is told nothing"


async def test_the_end_comes_once_and_with_everything(hq: Site) -> None:
    store, of_one, of_both = local(hq), Notes(), Notes()
    hq.feed(answered_call("c1")[:7])
    store.register(of_one, "c1")
    store.register(of_both, "c1")
    store.register_all(of_both)
    hq.feed(answered_call("c1")[7:])
    await told()
    assert of_one.told == of_both.told, "nothing comes twice"
    size = len(store.get("c1").data)
    hq.server.store.end("c1")
    await told()
    for client in (of_one, of_both):
        assert client.names().count("ended") == 1
        assert client.told[-1] == ("c1", "ended", size)
    (kept,) = store._registrants.values()
    assert (kept.client, kept.calls) == (of_both, {}), "nothing is kept of what is over"
    hq.feed([started("c2")])
    await told()
    assert of_both.told[-1][0] == "c2"
    assert of_one.told[-1][0] == "c1"


async def test_a_client_of_all_calls(hq: Site) -> None:
    store, client = local(hq), Notes()
    hq.feed(answered_call("c1")[:7])
    first = store.register_all(client)
    assert [(call.call_id, len(call.data)) for call in first] == [("c1", 6)]
    assert store.register_all(client) == first
    hq.feed([started("c2")])
    await told()
    # A call that begins comes with its first entries.
    assert {told[:2] for told in client.told} == {("c2", "leg/hq/0"), ("c2", "call")}
    # No call is held by it.
    hq.feed(answered_call("c1")[7:])
    await until(lambda: ("c1", "ended", 7) in client.told)
    store.unregister_all(client)
    hq.feed(answered_call("c2")[1:])
    await told()
    assert client.told[-1] == ("c1", "ended", 7)
    assert not store._registrants


async def test_what_is_written(hq: Site) -> None:
    store, mine, all_mine, other = local(hq), Notes(), Notes(), Notes()
    hq.feed(answered_call("c1")[:7])
    store.register(mine, "c1")
    store.register(all_mine, "c1")
    store.register_all(all_mine)
    theirs = local(hq, "crm")
    theirs.register(other, "c1")
    tags = ["a"]
    store.update(mine, "c1", {"vip": True, "tags": tags}, ["a good customer"])
    store.update(all_mine, "c1", {"note": {"by": "hand"}})
    tags.append("b")
    store.update(None, "c1", lines=["said by nobody"])
    store.update(mine, "c1")
    await told()
    first = [("c1", "vip", True), ("c1", "tags", ["a"]), ("c1", "log", "a good customer")]
    second = [("c1", "note", {"by": "hand"})]
    last = [("c1", "log", "said by nobody")]
    assert mine.told == [*second, *last], "never what it wrote itself"
    assert all_mine.told == [*first, *last]
    assert other.told == [*first, *second, *last]
    data = store.get("c1").data
    assert data.properties["vip"].author == store.author == "hq/vip"
    assert data.log_lines()[0].author == "hq/vip"
    await store.stored()
    assert hq.server.disk.committed == hq.server.disk.appended
    hq.feed(answered_call("c1")[7:])
    for client, at in ((mine, store), (all_mine, store), (other, theirs)):
        at.unregister(client, "c1")
    await until(lambda: store.get("c1") is None)
    record = await hq.recorded("c1")
    assert ("vip", "hq/vip") in [(p["name"], p["author"]) for p in record["properties"]]
    assert [line["text"] for line in record["logs"]] == ["a good customer", "said by nobody"]


async def test_what_is_not_written(tmp_path: Path) -> None:
    limits = CdsLimits(call_entries=2, entry_bytes=100)
    async with sites(tmp_path, "hq", limits=limits) as (hq,):
        store = local(hq)
        hq.feed(answered_call("c1")[:7])
        for properties, lines, error, says in (
            ({"ok": 1, "call": 2}, [], NotStorable, "belong to the switches"),
            ({"leg/hq/1": 2}, [], NotStorable, "belong to the switches"),
            ({"Call": 2}, [], NotStorable, "belong to the switches"),
            ({"vip ": 2}, [], NotStorable, "no blanks at its ends"),
            ({"v\x1bip": 2}, [], NotStorable, "`v.ip`: a name has no control characters"),
            ({"ok": (1, 2)}, [], NotStorable, "found `tuple`, expected text, a number"),
            ({"ok": {"a": [1]}}, [], NotStorable, "flat list or mapping"),
            ({"ok": "x" * 100}, [], TooLong, "cds.limits.entry_bytes"),
            ({"ok": 1}, ["x" * 101], TooLong, "cds.limits.entry_bytes"),
            ({"ok": 1}, "a text", NotStorable, "expected a list of log lines"),
            ({"ok": 1}, ["one", "two"], CallFull, "2 entries to `c1` .cds.limits.call_entries."),
        ):
            with pytest.raises(error, match=says):
                store.update(None, "c1", properties, lines)  # type: ignore[arg-type]
            assert len(store.get("c1").data) == 6, "all or nothing"
        store.update(None, "c1", {"ok": 1}, ["one"])
        store.update(None, "c1", {"ok": 2})
        with pytest.raises(CallFull):
            store.update(None, "c1", lines=["two"])
        with pytest.raises(NoSuchCall, match="no live call `c9` here"):
            store.update(None, "c9", {"ok": 1})


async def test_what_cannot_be_registered_for(hq: Site) -> None:
    store = local(hq)
    for call_id, owner, says in (
        ("c9", "", "if another server owns it, say which"),
        ("c9", "hq", "no live call `c9` here"),
        ("c9", "nowhere", "`nowhere` is not known here .cds.peers."),
        ("", "hq", "1 to 128 characters"),
        ("c" * 129, "hq", "1 to 128 characters"),
    ):
        with pytest.raises(NoSuchCall, match=says):
            store.register(Notes(), call_id, owner)
    store.unregister(Notes(), "c9")
    store.unregister_all(Notes())
    assert store.participants("c9") == []
    with pytest.raises(NoSuchCall):
        await store.registered("c9")
    assert not store._registrants
    assert not list(hq.server.store)
    for name in ("my plugin", "a/b", "x" * 126):
        with pytest.raises(ValueError, match=r"expected letters|longer than 128"):
            local(hq, name)


async def test_what_a_client_raises_concerns_nobody_else(
    hq: Site, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def updated(self, *changed: Any) -> None:
            raise RuntimeError("of its own")

        def ended(self, call: Call) -> None:
            raise RuntimeError("of its own")

    store, broken, client = local(hq), Broken(), Notes()
    store.register_all(broken)
    store.register_all(client)
    hq.feed(answered_call("c1"))
    await until(lambda: "ended" in client.names())
    assert "plugin vip failed to take an update of call c1" in caplog.text
    assert "plugin vip failed to take the end of call c1" in caplog.text


async def test_who_answers_within_what_it_is_told(hq: Site) -> None:
    """Everybody hears of what was said before he hears of the answer."""
    store, theirs = local(hq), local(hq, "crm")
    answering, listening = Notes(), Notes()

    def answer(call: Call) -> None:
        if call.data.value("asked") and not call.data.value("answered"):
            store.update(answering, call.call_id, {"asked": False, "answered": True})

    answering.then = answer
    hq.feed([started("c1")])
    store.register_all(answering)
    for at in (store, theirs):
        at.register_all(listening)
    theirs.update(None, "c1", {"asked": True})
    for _ in range(3):
        await told()
    assert answering.told == [("c1", "asked", True)]
    asked, then, answered = (
        ("c1", "asked", True),
        ("c1", "asked", False),
        ("c1", "answered", True),
    )
    assert [one for one in listening.told if one == asked] == [asked] * 2
    assert listening.told.index(then) > listening.told.index(asked)
    assert listening.told[-1] == answered


async def test_two_that_answer_each_other_for_ever_stop_nobody(hq: Site) -> None:
    store = local(hq)
    one, other = Notes(), Notes()
    one.then = lambda call: store.update(one, "c1", {"ball": 1})
    other.then = lambda call: store.update(other, "c1", {"ball": 2})
    hq.feed([started("c1")])
    store.register(one, "c1")
    store.register(other, "c1")
    store.update(None, "c1", {"ball": 0})
    for _ in range(100):
        await told()
    assert len(one.told) > 10
    store.unregister(one, "c1")
    store.unregister(other, "c1")
    await told()
    count = len(one.told)
    await told()
    assert len(one.told) == count


async def test_who_leaves_is_not_told_what_was_waiting(hq: Site) -> None:
    store, client = local(hq), Notes()
    hq.feed([started("c1")])
    store.register(client, "c1")
    store.update(None, "c1", {"note": 1})
    store.unregister(client, "c1")
    await told()
    assert client.told == []
    assert not store._registrants, "nothing is kept of it"


async def test_what_was_waiting_is_told_before_a_call_is_said_to_be_whole(hq: Site) -> None:
    store, client = local(hq), Notes()
    hq.feed([started("c1")])
    store.register(client, "c1")
    store.update(None, "c1", {"note": 1})
    assert await store.registered("c1") is store.get("c1")
    assert client.told == [("c1", "note", 1)]


async def test_a_program_is_not_taken_for_a_switch(hq: Site) -> None:
    store, client = local(hq), Notes()
    assert for_a_switch(client), "as its attribute would say"
    hq.feed([started("c1")])
    call = store.register(client, "c1")
    assert [for_a_switch(one) for one in call.clients] == [True, False]


async def test_a_call_of_another_server(pair: list[Site]) -> None:
    """What its owner has comes as the first update; and what is written here gets there."""
    hq, branch = pair
    store, client = local(branch), Notes()
    hq.feed(answered_call("c1")[:7])
    call = store.register(client, "c1", "hq")
    assert (call.owner, len(call.data)) == ("hq", 0)
    assert await store.registered("c1") is call
    assert len(call.data) == 6
    assert set(client.names()) == set(call.data.properties)
    assert len(client.told) == 6, "each once, and before it is said to be whole"
    assert store.participants("c1") == ["hq"]
    assert local(hq).participants("c1") == ["branch"]
    store.update(client, "c1", {"vip": True})
    there = hq.server.store.get("c1")
    await until(lambda: there.data.value("vip"))
    assert there.data.properties["vip"].author == "branch/vip"
    hq.feed(answered_call("c1")[7:])
    await until(lambda: "end" in client.names())
    assert "vip" not in client.names()
    assert len(client.told) < 6 + 10
    await until(lambda: "ended" in client.names())
    assert hq.server.store.get("c1") is branch.server.store.get("c1") is None, "it held nothing"
    record = await hq.recorded("c1")
    assert ("vip", "branch/vip") in [(p["name"], p["author"]) for p in record["properties"]]
    assert record["final"] == 1


async def test_its_end_is_told_by_its_owner(pair: list[Site]) -> None:
    hq, branch = pair
    store, client = local(branch), Notes()
    hq.feed(answered_call("c1"))
    store.register(client, "c1", "hq")
    await store.registered("c1")
    await hq.stop()
    await until(lambda: "ended" in client.names())
    assert client.told[-1] == ("c1", "ended", 7)
    assert client.names().count("ended") == 1


async def test_applications_wait_for_the_owner_though_a_program_is_there(
    pair: list[Site],
) -> None:
    """A program's registration is no sign that anything of the call is here."""
    hq, branch = pair
    hq.feed(answered_call("c1")[:7])
    local(branch).register(Notes(), "c1", "hq")
    call = await branch.api._application._interest.call("c1", None)
    assert len(call.data) == 6


async def test_an_owner_that_knows_nothing_or_does_not_answer(
    pair: list[Site], tmp_path: Path
) -> None:
    _, branch = pair
    store = local(branch)
    store.register(client := Notes(), "c9", "hq")
    with pytest.raises(NoSuchCall, match="`hq` has no live call `c9`"):
        await store.registered("c9")
    store.unregister(client, "c9")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        peers = {"gone": Address("127.0.0.1", nobody.getsockname()[1])}
        site = Site(tmp_path, "annex", peers)
        await site.start()
        store = local(site)
        store.register(client, "c1", "gone")
        with pytest.raises(OwnerAway, match="`gone` does not answer"):
            await store.registered("c1", within=0.05)
        # What is written meanwhile is kept for it.
        store.update(client, "c1", {"note": 1})
        with pytest.raises(OwnerAway):
            await store.registered("c1", within=0.05)
        assert store.get("c1").data.value("note") == 1
        await site.stop()


async def test_what_the_disk_refuses(hq: Site) -> None:
    store = local(hq)
    hq.feed([started("c1")])

    async def refuses(within: float) -> None:
        raise Refused("disk full")

    hq.server.stored = refuses  # type: ignore[method-assign]
    store.update(None, "c1", {"note": 1})
    with pytest.raises(NotStored, match="disk full"):
        await store.stored()


async def test_what_waits_at_the_stop_is_told(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq") as (hq,):
        store, client = local(hq), Notes()
        store.register_all(client)
        hq.feed(answered_call("c1")[:7])
        await hq.stop()
        assert client.names()[-1] == "ended", "before the server's stop is over"
