"""Phones of one extension, and which of them it is that registers from elsewhere: its calls go with
it, and nobody else's."""

from __future__ import annotations

from pathlib import Path

from calls.call_world import ANSWER, Agent, Line, World
from calls.test_qualify import ASKED, asked, run
from softswitch.sip.digest import answer

SAME = "<sip:1001@192.168.1.10:5060>"


def instance(number: int) -> str:
    return f'{SAME};+sip.instance="<urn:uuid:{number}>"'


def two(world: World) -> tuple[Agent, Agent]:
    """At home and at work, each behind a NAT: the same Contact, other instances."""
    home = Agent(world, ("203.0.113.1", 5060), "1001", "a")
    work = Agent(world, ("203.0.113.2", 5060), "1001", "a")
    for number, phone in enumerate((home, work), 1):
        assert phone.register(instance(number)).status == 200
    assert len(world.switch.registrar.contacts("1001")) == 2
    return home, work


def called(world: World, phone: Agent) -> tuple[Line, Line]:
    a = world.agent("10.1.0.1", "alice").call("1001")
    phone.line.contact = f"Contact: {SAME}\r\n"
    phone.line.reply(200, ANSWER)
    a.ack()
    world.run(1)
    return a, phone.line


def test_the_other_phone_registers_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    home, work = two(world)
    a, line = called(world, home)
    assert work.register(instance(2)).status == 200
    a.bye()
    assert line.last.what == "BYE"


def test_the_same_contact_without_an_instance(tmp_path: Path) -> None:
    """The registrar takes them for one; the call stays where it is."""
    world = World(tmp_path)
    home = Agent(world, ("203.0.113.1", 5060), "1001", "a")
    home.register(SAME)
    a, line = called(world, home)
    work = Agent(world, ("203.0.113.2", 5060), "1001", "a")
    assert work.register(SAME).status == 200
    a.bye()
    assert line.last.what == "BYE"


def test_who_only_asks(tmp_path: Path) -> None:
    """A REGISTER without a Contact moves nobody."""
    world = World(tmp_path)
    phone = world.phone("1001", "10.9.0.1")
    (known,) = world.switch.registrar.contacts("1001")
    a, line = called(world, phone)
    other = Agent(world, ("10.9.0.1", 7777), "1001", phone.password)
    other.call_id = known.call_id
    first = other.request("REGISTER", "", "sip:10.0.0.1")
    value = answer(first["www-authenticate"], "REGISTER", "sip:10.0.0.1", "1001", "a", "cn")
    said = other.request("REGISTER", f"Authorization: {value}\r\n", "sip:10.0.0.1")
    assert said.status == 200
    a.bye()
    assert line.last.what == "BYE"


def test_two_ways_to_one_phone(tmp_path: Path) -> None:
    """RFC 5626: a refresh of one says nothing of the other."""
    world = World(tmp_path)
    ways = [Agent(world, (f"203.0.113.{n}", 5060), "1001", "a") for n in (1, 2)]
    for n, way in enumerate(ways, 1):
        way.call_id = "one"
        way.register(f"{instance(1)};reg-id={n}")
        world.run(1)
    a, line = called(world, ways[1])
    ways[0].register(f"{instance(1)};reg-id=1")
    a.bye()
    assert line.last.what == "BYE"


def test_both_are_asked_whether_they_are_there(tmp_path: Path) -> None:
    world = World(tmp_path, ASKED)
    home, work = two(world)
    run(world, 300, home, work)
    assert asked(work) > 5
    assert asked(home) > 5


def test_what_is_sent_again_by_somebody_else(tmp_path: Path) -> None:
    """An old request moves no call."""
    world = World(tmp_path)
    phone = world.phone("1001", "10.9.0.1")
    a, b = called(world, phone)
    b.send("INFO", extra=b.contact)
    a.reply(200, to="INFO")
    other = Agent(world, ("10.66.0.1", 6666), "mallory")
    other.lines.append(b)
    b.agent = other
    b.send("INFO", extra=b.contact, cseq=b.cseq)
    b.agent = phone
    a.bye()
    assert phone.inbox[-1].what == "BYE"
