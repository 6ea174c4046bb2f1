"""After a busy time: the tables are empty, and as small as they were."""

from __future__ import annotations

import sys
from pathlib import Path

from calls.call_world import CONFIG, World
from calls.test_answered import answered


def test_empty_tables_give_back_their_room(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG.replace("max_calls: 5, ", ""), journal=True)
    switch = world.switch
    tables = {
        "calls": switch.calls,
        "legs": switch.legs,
        "numbers": switch.numbers._calls,
        **{n: getattr(switch.transactions, n) for n in ("servers", "clients", "merged")},
    }
    before = {name: sys.getsizeof(table) for name, table in tables.items()}
    lines = [answered(world) for _ in range(60)]
    for a, b in lines:
        a.bye()
        b.reply(200, to="BYE")
    del a, b, lines
    world.end()
    grown = {name: sys.getsizeof(table) for name, table in tables.items()}
    assert all(grown[name] > before[name] for name in tables), "they keep it by themselves"
    switch.tidy()
    after = {name: sys.getsizeof(table) for name, table in tables.items()}
    assert all(after[name] <= max(before[name], 232) for name in tables), (before, after)
