"""Applications elsewhere that write more than the owner of a call takes of them: they are named,
and the call has one record, with all that switches say."""

from __future__ import annotations

import logging

import msgspec
import pytest
from cds_fakes import START, Listener
from cds_world import World

from cdsplugin.data.entries import Log
from cdsplugin.data.frames import EndOfCall, Frame
from cdsplugin.data.store import StoreLimits


@pytest.mark.parametrize("cut_off", [False, True])
def test_the_record_is_one_and_has_its_end(cut_off: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The owner takes 10 times 100 entries of an application elsewhere, which may write more there.
    It does so until the end, and goes on following the call."""
    caplog.set_level(logging.WARNING)
    world = World("ant", "bee", "cat")
    store = world["bee"].server.store
    store.limits = StoreLimits(30, 60, 5000)
    world.call()
    follower = Listener()
    store.register(follower, "c1", "ant", holds=False)
    if cut_off:
        world.net.part("ant cat", "bee")
    for burst in range(3):
        lines = [f"{burst} {n}" for n in range(600)]
        assert store.write(follower, "c1", "bee/crm", {}, lines)
        world.pass_time(1)
    assert world["bee"].write("c1", "leg/bee/0", {"ended_at": START})
    assert world["ant"].write("c1", "end", {"disposition": "answered", "ended_at": START})
    world.pass_time(1)
    for site in world.sites.values():
        site.leave("c1")
    world.net.heal()
    world.pass_time(100)
    assert world.rows() == {"c1": ["ant"]}
    assert world["ant"].rows.cdrs["c1"].disposition == "answered"
    assert world["ant"].rows.entries["c1"] >= {"leg/bee/0", "from bee"}
    assert caplog.text.count("bee/crm has written as many entries as it may") == 1
    assert [call.call_id for call in follower.over] == ["c1"]
    for site in world.sites.values():
        assert site.server.store.kept == {}


def test_what_an_owner_lacks_for_another_reason_is_recorded_where_it_is() -> None:
    """It is stamped too far in the future, say: of the refused one alone nothing is recorded."""
    world = World("ant", "bee")
    world.call()
    call = world["bee"].server.store.get("c1")
    assert call is not None
    call.data.merge([], [Log(1 << 60, "bee/crm", "ahead"), Log(1 << 60, "bee/wall", "ahead")])
    for refused, rows in ((["bee/wall"], ["bee"]), (["bee/crm", "bee/wall"], [])):
        there = World("ant", "bee")
        there.call()
        held = there["bee"].server.store.get("c1")
        assert held is not None
        held.data.merge([], call.data.log_lines())
        for _ in range(5):
            told = EndOfCall("c1", *_all_but_lines(there), "", refused)
            there["bee"].server.proxy.received("ant", told)
            there.pass_time(0.2)
        assert there.rows().get("c1", []) == rows


def _all_but_lines(world: World) -> tuple[list, list]:
    call = world["ant"].server.store.get("c1")
    assert call is not None
    return call.data.newer({})


def test_a_kept_call_comes_back_with_all_that_was_here() -> None:
    """Its owner has told more of it while it was kept than would be taken at once."""
    world = World("ant", "bee")
    world["bee"].server.store.limits = StoreLimits(30, 60, 1, 100, 1)
    world.call()
    store = world["ant"].server.store
    store.update(None, "c1", [], [Log(START + 2, "cat/crm", "a line")])
    world.pass_time(1)
    world.net.part("ant", "bee")
    store.update(None, "c1", [], [Log(START + 1, "dog/crm", "an older line")])
    assert world["bee"].write("c1", "last")
    world["bee"].leave("c1")
    world.pass_time(70)
    (kept,) = world["bee"].server.store.kept.values()
    world.net.heal()
    world.pass_time(2)
    assert len(kept.data.log_lines()) == 2
    world["bee"].join("c1")
    back = world["bee"].server.store.get("c1")
    assert back is not None
    assert back.data == kept.data


def test_older_servers_name_nobody() -> None:
    class Before(msgspec.Struct, frozen=True, array_like=True, tag="end"):
        call_id: str
        properties: list
        logs: list
        foreign: str = ""

    encode = msgspec.msgpack.encode
    told = EndOfCall("c1", [], [], "", ["bee/crm"])
    assert msgspec.msgpack.decode(encode(told), type=Before) == Before("c1", [], [])
    assert msgspec.msgpack.decode(encode(Before("c1", [], [])), type=Frame) == EndOfCall(
        "c1", [], []
    )
