"""Phones are asked whether they are there; who is not is not rung."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from calls.call_world import CONFIG, PLAN, Agent, Line, World
from calls.transfers import phones
from softswitch.configuration import load_config
from softswitch.console.tables import overview
from softswitch.control import Status

ASKED = CONFIG + "timers: {qualify: 30}\n"


def run(world: World, seconds: int, *answering: Agent) -> None:
    """Time passes; these answer what they are asked, 20 ms late."""
    seen = {agent: len(agent.inbox) for agent in answering}
    for _ in range(seconds):
        world.switch.qualifying.ask()
        world.run(0.02)
        for agent in answering:
            for message in agent.inbox[seen[agent] :]:
                if message.method == "OPTIONS" and not message.status:
                    Line(agent, message["call-id"]).reply(200, to=message, tag="u1")
            seen[agent] = len(agent.inbox)
        world.run(0.98)


def asked(agent: Agent) -> int:
    return len({m.branch for m in agent.inbox if m.method == "OPTIONS" and not m.status})


def lost(world: World, number: str) -> bool:
    (binding,) = world.switch.registrar.contacts(number)
    return world.switch.qualifying.is_lost(number, binding)


def test_each_once_in_a_while(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    office = phones(world)
    run(world, 300, *office)
    assert all(8 <= asked(phone) <= 11 for phone in office), [asked(phone) for phone in office]
    known = world.switch.qualifying.of("1001", world.switch.registrar.contacts("1001")[0])
    assert known is not None
    assert known.round_trip == pytest.approx(0.02)
    times = [m.at for phone in office for m in phone.inbox if m.method == "OPTIONS"]
    assert len(set(map(int, times))) == len(times), "never two at once"
    world.end()


def test_nobody_is_asked_unless_that_is_wanted(tmp_path: Path) -> None:
    world = World(tmp_path)
    office = phones(world)
    run(world, 100)
    assert [asked(phone) for phone in office] == [0, 0, 0]


def test_who_does_not_answer_is_not_rung(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(tmp_path, ASKED)
    alice, bob, _ = phones(world)
    run(world, 60, alice, bob)
    world.dead.add(bob.address)
    run(world, 60, alice)
    assert lost(world, "1002")
    assert world.switch.qualifying.lost() == 1
    count = len(world.wire)
    line = alice.call("1002")
    assert line.last.start == "SIP/2.0 480 Unreachable"
    assert not [m for m in world.wire[count:] if m.target == bob.address]
    world.dead.clear()
    run(world, 60, alice, bob)
    assert not lost(world, "1002")
    alice.call("1002")
    bob.line.reply(486)
    said = [r.getMessage() for r in caplog.records if "extension 1002 (udp" in r.getMessage()]
    assert [text.partition(") ")[2] for text in said[-2:]] == [
        "does not answer, and is not rung",
        "answers again, in 20 ms",
    ]
    world.end()


def test_who_registers_again_is_there(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    alice, bob, _ = phones(world)
    run(world, 60, bob)
    world.dead.add(bob.address)
    run(world, 60)
    world.dead.clear()
    bob.register()
    assert not lost(world, "1002")
    alice.call("1002")
    bob.line.reply(486)
    assert alice.line.last.status == 486
    world.end()


def test_who_never_answered_is_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    _, bob, _ = phones(world)
    world.dead.add(bob.address)
    run(world, 120)
    assert not lost(world, "1002")
    world.end()


def test_whatever_is_answered_is_an_answer(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    (_, bob, _) = phones(world)
    run(world, 40)
    options = next(m for m in bob.inbox if m.method == "OPTIONS")
    Line(bob, options["call-id"]).reply(501, to=options, tag="u1")
    known = world.switch.qualifying.of("1002", world.switch.registrar.contacts("1002")[0])
    assert known is not None
    assert known.round_trip is not None
    world.run(40)
    world.end()


def test_what_is_known_is_forgotten_with_the_phone(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    office = phones(world)
    run(world, 60, *office)
    office[0].register(f"{office[0].contact};expires=0")
    run(world, 60, *office[1:])
    assert len(world.switch.qualifying._known) == 2
    (tmp_path / "switch.yaml").write_text(CONFIG)
    (tmp_path / "plan.yaml").write_text(PLAN)
    world.switch.take_up(load_config(tmp_path / "switch.yaml"))
    assert not world.switch.qualifying._known
    world.end()


def test_status_shows_it(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    office = phones(world)

    status = Status(world.switch, None)  # type: ignore[arg-type]

    def shown() -> str:
        told = {"totals": {"registrations": 3}, "registrations": []}
        for piece in status.pieces(["registrations"], 10):
            told["registrations"] += piece.get("registrations", [])  # type: ignore[operator]
        console = Console(file=io.StringIO(), width=140)
        console.print(overview(told))
        return console.file.getvalue()  # type: ignore[attr-defined]

    assert "round trip" not in shown()
    run(world, 60, *office)
    assert shown().count("20 ms") == 3
    world.dead.add(office[1].address)
    run(world, 60, office[0], office[2])
    assert shown().count("does not answer") == 1
