"""What applications know, in the data of calls: by what the switch itself tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_sites import sites
from calls.call_world import World
from calls.players import Player
from calls.test_played import PLAYS, hangs_up, in_application
from calls.transfers import GROUPS
from cds_fakes import FakeNet
from test_talks import Turns

from softswitch import events

MENU = {"name": "menu", "menu": "main", "digits": "91", "choice": "1", "choices": "main:1"}


def in_menu(world: World) -> None:
    """A caller presses keys, and hears at last that nobody is there."""
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    in_application(player, alice, "*50")
    player.key("9")
    player.key("1")
    world.run(1)


async def test_the_call_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, GROUPS, PLAYS)
    player = Player(world)
    alice = world.phone("1001", "10.9.0.1")
    a, m = in_application(player, alice, "*50")
    player.key("9")
    player.key("1")
    hangs_up(player, a, m)
    player.end()
    async with sites(tmp_path, "hq") as (hq,):
        hq.feed(world.events)
        record = await hq.recorded(world.ended.call_id)
        assert record is not None
        properties = {row["name"]: row["value"] for row in record["properties"]}
        assert properties["application/hq/1"] == MENU


@pytest.mark.parametrize("known", ["module", "store", "a part", "nothing"])
def test_told_again_after_a_restart(tmp_path: Path, known: str) -> None:
    """It is written once more only if it is not what is there."""
    world = World(tmp_path, GROUPS, PLAYS, journal=True)
    in_menu(world)
    world.kill()
    world.dead |= {("127.0.0.1", 7000), ("10.9.0.1", 5060)}
    before = [e for e in world.events if not isinstance(e, events.SwitchStarted)]
    call_id = world.of(events.CallStarted)[0].call_id
    world.events.clear()
    world.start(GROUPS, PLAYS)
    (restored,) = world.of(events.CallRestored)
    hq = Turns(FakeNet().server("hq"))
    if known == "a part":
        told = [e for e in before if isinstance(e, events.ApplicationTold)]
        before = before[: before.index(told[1])]
    if known != "nothing":
        hq.turn(*before)
    if known == "store":
        hq = Turns(hq.server)
    name = "application/hq/1"
    was = hq.server.store.get(call_id)
    held = was.data.properties[name] if was is not None else None
    hq.turn(restored)
    found = hq.server.store.get(call_id)
    assert found is not None
    now = found.data.properties[name]
    assert now.value == MENU
    assert (now == held) is (known in ("module", "store"))
    hq.turn(*[e for e in world.events if e is not restored])
    assert hq.server.values(call_id)[name] == MENU
    assert hq.server.values(call_id)["leg/hq/1"]["reason"] == "Media Worker Lost"
