"""Text messages between phones (RFC 3428): who gets them, when, and what their sender hears."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls.call_world import CONFIG, Agent, Line, Message, World
from calls.test_by_chance import BRANCH
from calls.test_outbound_proxy import ROUTE, registered
from calls.transfers import phones

from softswitch.sip.digest import answer

AWAY = 'trunks:\n  sms: {to: "sip:10.4.0.1:5060", keepalive: 0, messages: true}'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, journal=True)


def write(agent: Agent, number: str, text: str = "Hello", extra: str = "") -> Message:
    """With credentials where they are wanted; the answer so far."""
    uri = f"sip:{number}@10.0.0.1"
    lines = extra if "Content-Type" in extra else f"Content-Type: text/plain\r\n{extra}"
    count = len(agent.inbox)
    agent.request("MESSAGE", lines, uri, text)
    first = next(m for m in agent.inbox[count:] if m.status)
    if first.status != 401 or not agent.password:
        return first
    value = answer(first["www-authenticate"], "MESSAGE", uri, agent.name, agent.password, "cn")
    count = len(agent.inbox)
    agent.request("MESSAGE", f"{lines}Authorization: {value}\r\n", uri, text)
    return next((m for m in agent.inbox[count:] if m.status), first)


def got(agent: Agent) -> list[Message]:
    """The messages that came, each once."""
    found = {m.branch: m for m in agent.inbox if m.what == "MESSAGE"}
    return list(found.values())


def take(agent: Agent, message: Message, status: int = 200) -> None:
    line = Line(agent, message["call-id"])
    line.tag = "u1"
    line.reply(status, to=message)


def test_to_a_phone(world: World) -> None:
    alice, bob, _ = phones(world)
    assert write(alice, "1002", "Käse & <b>").status == 202
    (came,) = got(bob)
    assert came.body == "Käse & <b>"
    assert came["content-type"] == "text/plain"
    assert came["from"].startswith('"Alice" <sip:1001@10.0.0.1')
    assert came.uri == "sip:1002@10.9.0.2:5060"
    assert "contact" not in came
    assert came["date"].endswith("GMT")
    assert "authorization" not in came
    take(bob, came)
    world.run(1)
    assert world.switch.tables()["messages"] == 0
    world.end()


def test_one_after_the_other(world: World) -> None:
    alice, bob, _ = phones(world)
    for text in "abc":
        assert write(alice, "1002", text).status == 202
    assert [m.body for m in got(bob)] == ["a"]
    for _ in range(3):
        take(bob, got(bob)[-1])
        world.run(0.1)
    assert [m.body for m in got(bob)] == ["a", "b", "c"]
    world.end()


def test_kept_for_a_phone_that_is_away(world: World) -> None:
    """Also over a restart, for as long as is said."""
    alice = world.phone("1001", "10.9.0.1")
    assert write(alice, "1002", "first").status == 202
    world.run(10)
    assert write(alice, "1002", "second").status == 202
    world.restart(away=5)
    bob = world.phone("1002", "10.9.0.2")
    first = got(bob)[-1]
    assert first.body == "first"
    take(bob, first)
    world.run(0.1)
    second = got(bob)[-1]
    take(bob, second)
    world.run(0.1)
    assert [m.body for m in got(bob)] == ["first", "second"]
    world.end()
    world.restart()
    assert world.switch.tables()["messages"] == 0


def test_the_switch_is_killed_while_it_is_on_its_way(world: World) -> None:
    """It comes again, by the same Call-ID: the phone may know it."""
    alice, bob, _ = phones(world)
    write(alice, "1002")
    first = got(bob)[-1]
    world.restart()
    second = got(bob)[-1]
    assert second.branch != first.branch
    assert second["call-id"] == first["call-id"]
    take(bob, second)
    world.end()


def test_nothing_is_accepted_that_is_not_on_disk(world: World) -> None:
    alice = world.phone("1001", "10.9.0.1")
    uri = "sip:1002@10.0.0.1"
    first = alice.request("MESSAGE", "Content-Type: text/plain\r\n", uri, "Hello")
    value = answer(first["www-authenticate"], "MESSAGE", uri, "1001", "a", "cn")
    world.mute()
    alice.request(
        "MESSAGE", f"Content-Type: text/plain\r\nAuthorization: {value}\r\n", uri, "Hello"
    )
    world.run(0.1)
    assert alice.inbox[-1].status == 401, "no answer yet"
    assert world.rows is not None
    assert any(row.startswith(b"t") for row in world.rows.rows.values())
    world.kill()
    world.start()
    bob = world.phone("1002", "10.9.0.2")
    take(bob, got(bob)[-1])
    world.rest()


def test_it_is_dropped_in_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG + "timers: {message_kept: 1000}\n", journal=True)
    alice = world.phone("1001", "10.9.0.1")
    write(alice, "1002")
    world.run(600)
    world.restart(away=100, config=CONFIG + "timers: {message_kept: 1000}\n")
    world.run(250)
    assert world.switch.tables()["messages"] == 1
    world.run(100)
    assert world.switch.tables()["messages"] == 0
    world.end()


@pytest.mark.parametrize(("status", "again"), [(480, True), (0, True), (415, False), (501, False)])
def test_a_phone_that_does_not_take_it(world: World, status: int, again: bool) -> None:
    """One that is not there for the moment is tried again; one that takes none when it registers
    anew, as that may be another phone."""
    alice, bob, _ = phones(world)
    write(alice, "1002")
    if status:
        take(bob, got(bob)[-1], status)
    world.run(70 if status else 100)
    assert (len(got(bob)) > 1) is again
    if not again:
        bob.register("<sip:1002@10.9.0.2:5070>")
    take(bob, got(bob)[-1])
    world.run(1)
    assert world.switch.tables()["messages"] == 0
    world.end()


def test_all_phones_of_an_extension_get_it(world: World) -> None:
    alice, bob, _ = phones(world)
    other = Agent(world, ("10.9.0.22", 5060), "1002", "b")
    other.register()
    write(alice, "1002")
    assert len(got(bob)) == len(got(other)) == 1
    take(other, got(other)[-1], 415)
    take(bob, got(bob)[-1])
    world.run(200)
    assert len(got(other)) == 1
    world.end()


def test_a_group(world: World) -> None:
    alice, bob, carol = phones(world)
    assert write(carol, "600").status == 202
    for one in (alice, bob):
        (came,) = got(one)
        take(one, came)
    world.end()


def test_what_is_refused(tmp_path: Path) -> None:
    limits = "limits: {max_messages: 2, max_message_body: 100}\n"
    world = World(tmp_path, CONFIG + limits)
    alice = world.phone("1001", "10.9.0.1")
    assert write(alice, "4711").status == 404
    assert write(alice, "666").status == 404
    assert write(alice, "85551234").status == 403, "a carrier that takes none"
    assert write(alice, "1002", "x" * 101).status == 413
    assert write(alice, "1002", extra="Content-Type: nonsense\r\n").status == 400
    assert write(alice, "1002", extra="Require: nonsense\r\n").status == 420
    hops = write(alice, "1002", extra="Max-Forwards: 0\r\n")
    assert hops.status in (400, 483)
    for _ in range(2):
        assert write(alice, "1002").status == 202
    assert write(alice, "1002").status == 480
    nobody = world.agent("10.7.0.1", "1001")
    nobody.password = "wrong"
    assert write(nobody, "1003").status == 401
    assert world.switch.tables()["messages"] == 2
    world.rest(idle=264_000)


def test_that_somebody_types_is_not_kept(world: World) -> None:
    alice = world.phone("1001", "10.9.0.1")
    kind = "Content-Type: application/im-iscomposing+xml\r\n"
    assert write(alice, "1002", "<x/>", kind).status == 202
    assert world.switch.tables()["messages"] == 0
    bob = world.phone("1002", "10.9.0.2")
    assert write(alice, "1002", "<x/>", kind).status == 202
    take(bob, got(bob)[-1], 480)
    world.run(1)
    assert world.switch.tables()["messages"] == 0
    world.end()


def test_over_two_switches(world: World) -> None:
    """The sender hears what the other switch says."""
    alice = world.phone("1001", "10.9.0.1")
    branch = world.add_switch(
        "branch", ("10.0.0.2", 5060), BRANCH, 'routes: [{match: "2XXX", dial: extension}]\n'
    )
    branch.opened()
    phone = Agent(world, ("10.8.0.9", 5060), "2001", "c")
    phone.switch = ("10.0.0.2", 5060)
    phone.register()
    assert write(alice, "2001", "over there").status == 202
    (came,) = got(phone)
    assert came["from"].startswith('"Alice" <sip:1001@')
    take(phone, came)
    assert write(alice, "2999").status == 404
    world.end()


def test_who_asks_not_to_be_shown(world: World) -> None:
    alice, bob, _ = phones(world)
    write(alice, "1002", extra="Privacy: id\r\n")
    came = got(bob)[-1]
    assert "anonymous" in came["from"]
    assert "1001" not in came["from"]
    take(bob, came)
    world.end()


def test_a_trunk_that_takes_messages(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        CONFIG.replace("trunks:", AWAY),
        'routes:\n  - {match: "9.", strip: 1, dial: "trunk:sms"}\n'
        '  - {match: "1XXX", from: any, dial: extension}\n',
    )
    alice = world.phone("1001", "10.9.0.1")
    carrier = world.agent("10.4.0.1", "sms")
    assert write(alice, "95551234").status == 401, "it waits for what the carrier says"
    came = got(carrier)[-1]
    assert came.uri == "sip:5551234@10.4.0.1"
    assert "Alice" not in came["from"]
    take(carrier, came, 488)
    assert alice.inbox[-1].status == 488
    # And back: whoever writes from there is who it says.
    assert write(carrier, "1001").status == 202
    take(alice, got(alice)[-1])
    world.end()


def test_what_a_body_is_goes_with_it(world: World) -> None:
    alice, bob, _ = phones(world)
    lines = "Content-Language: de\r\nContent-Disposition: render\r\nSubject: x\r\n"
    assert write(alice, "1002", extra=lines).status == 202
    (came,) = got(bob)
    assert (came["content-language"], came["content-disposition"]) == ("de", "render")
    assert "subject" not in came
    assert "expires" not in came
    take(bob, came)
    world.end()


def test_a_message_that_is_over_soon(world: World) -> None:
    """Its sender says for how long it is of use; also over a restart."""
    alice = world.phone("1001", "10.9.0.1")
    for seconds in ("60", "20", "0"):
        assert write(alice, "1002", f"for {seconds}", f"Expires: {seconds}\r\n").status == 202
    world.restart(away=30)
    bob = world.phone("1002", "10.9.0.2")
    (came,) = got(bob)
    assert (came.body, came["expires"]) == ("for 60", "60")
    world.run(35)
    assert world.switch.messages.tables()["messages"] == 0


def test_messages_go_by_the_proxies_that_the_carrier_wants(tmp_path: Path) -> None:
    world, carrier = registered(tmp_path, "<sip:edge.example;lr>")
    alice = world.phone("1001", "10.9.0.1")
    assert write(alice, "85550100").status == 200
    message = next(m for m in carrier.passed if m.method == "MESSAGE")
    assert message.headers["route"] == [ROUTE, "<sip:edge.example;lr>"]
    world.switch.drain()
    world.rest()
