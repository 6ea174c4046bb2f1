"""Presence (RFC 3856, 3903), mailboxes (RFC 3842) and registrations (RFC 3680)."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls.call_world import CONFIG, Agent, Message, World
from calls.transfers import phones, talk
from notifier.watchers import Watch

from softswitch.notifier.pidf import read_presence
from softswitch.notifier.xml import BadXml
from softswitch.sip.digest import answer

AWAY = """<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:1002@10.0.0.1">
<tuple id="a"><status><basic>open</basic></status></tuple>
<dm:person id="p"><rpid:activities><rpid:away/></rpid:activities>
<dm:note>Back &lt;soon&gt;</dm:note></dm:person></presence>"""
KIND = "Content-Type: application/pidf+xml\r\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def publish(
    agent: Agent, body: str = AWAY, extra: str = KIND, about: str = "", event: str = "presence"
) -> Message:
    """With credentials; the answer."""
    uri = f"sip:{about or agent.name}@10.0.0.1"
    lines = f"Event: {event}\r\n{extra}"
    first = agent.request("PUBLISH", lines, uri, body)
    assert first.status == 401
    value = answer(first["www-authenticate"], "PUBLISH", uri, agent.name, agent.password, "cn")
    return agent.request("PUBLISH", f"{lines}Authorization: {value}\r\n", uri, body)


def match(tag: str, more: str = "") -> str:
    return f"SIP-If-Match: {tag}\r\n{more}"


def test_what_the_switch_knows_itself(world: World) -> None:
    alice, bob, carol = phones(world)
    watch = Watch(carol, "1002", package="presence")
    assert watch.note["content-type"] == "application/pidf+xml"
    now = read_presence(watch.note.body.encode())
    assert (now.open, now.activities) == (True, ())
    a, b = talk(alice, bob)
    world.run(0.3)
    assert read_presence(watch.note.body.encode()).activities == ("on-the-phone",)
    a.bye()
    b.reply(200, to="BYE")
    world.run(0.3)
    assert read_presence(watch.note.body.encode()).activities == ()
    world.switch.phone_features.set_dnd("1002", True)
    world.run(0.3)
    assert read_presence(watch.note.body.encode()).activities == ("busy",)
    world.switch.phone_features.set_dnd("1002", None)
    bob.register("<sip:1002@10.9.0.2:5060>;expires=0")
    world.run(0.3)
    assert not read_presence(watch.note.body.encode()).open
    bob.register()
    world.run(0.3)
    assert read_presence(watch.note.body.encode()).open
    watch.ask(0)
    world.end()


def test_published(world: World) -> None:
    _alice, bob, carol = phones(world)
    watch = Watch(carol, "1002", package="presence", expires=7200)
    done = publish(bob, extra=f"{KIND}Expires: 600\r\n")
    assert (done.status, done["expires"]) == (200, "600")
    world.run(0.3)
    now = read_presence(watch.note.body.encode())
    assert (now.open, now.activities, now.notes) == (True, ("away",), ("Back <soon>",))
    count = len(watch.notes)
    # Refreshed (no body), then changed, then taken back; each has another entity-tag.
    world.run(500)
    again = publish(bob, "", match(done["sip-etag"], "Expires: 600\r\n"))
    assert again.status == 200
    assert again["sip-etag"] != done["sip-etag"]
    assert publish(bob, "", match(done["sip-etag"])).status == 412
    world.run(500)
    assert len(watch.notes) == count
    changed = publish(
        bob, AWAY.replace("rpid:away", "rpid:meeting"), match(again["sip-etag"], KIND)
    )
    assert changed.status == 200
    world.run(0.3)
    assert read_presence(watch.note.body.encode()).activities == ("meeting",)
    assert publish(bob, "", match(changed["sip-etag"], "Expires: 0\r\n")).status == 200
    world.run(0.3)
    assert read_presence(watch.note.body.encode()).activities == ()
    # What nobody refreshes ends by itself.
    publish(bob, extra=f"{KIND}Expires: 60\r\n")
    world.run(59)
    assert read_presence(watch.note.body.encode()).activities == ("away",)
    world.run(2)
    assert read_presence(watch.note.body.encode()).activities == ()
    watch.ask(0)
    world.end()


def test_what_is_refused(world: World) -> None:
    _, bob, _carol = phones(world)
    assert publish(bob, about="1001").status == 403
    assert publish(bob, event="dialog").status == 489
    assert publish(bob, "").status == 400
    assert publish(bob, extra="Content-Type: text/plain\r\n").status == 415
    assert publish(bob, extra=f"{KIND}Expires: 5\r\n")["min-expires"] == "60"
    assert publish(bob, "x" * 9000).status == 413
    for bad in ("<a", "<other/>", "<!DOCTYPE p [<!ENTITY a 'b'>]>" + AWAY, ""):
        assert publish(bob, bad).status == 400
    for _ in range(5):
        assert publish(bob).status == 200
    assert publish(bob).status == 403
    assert world.switch.tables()["publications"] == 5
    pstn = world.agent("10.2.0.1", "pstn")
    lines = f"Event: presence\r\n{KIND}"
    assert pstn.request("PUBLISH", lines, "sip:1002@10.0.0.1", AWAY).status == 403
    world.end(idle=4000)


@pytest.mark.parametrize("bad", [b"<!DOCTYPE a><a/>", b"\xff\xfe<\0a\0/\0>\0", b"", b"<a>", b"\0"])
def test_bad_xml(bad: bytes) -> None:
    with pytest.raises(BadXml):
        read_presence(bad)


def test_mailbox(tmp_path: Path) -> None:
    world = World(tmp_path, journal=True)
    _, bob, carol = phones(world)
    watch = Watch(bob, "1002", package="message-summary")
    assert watch.note["content-type"] == "application/simple-message-summary"
    assert watch.note.body == (
        "Messages-Waiting: no\r\nMessage-Account: sip:1002@10.0.0.1\r\nVoice-Message: 0/0 (0/0)\r\n"
    )
    world.switch.phone_features.set_mailbox("1002", 2, 5)
    world.run(0.3)
    assert "Messages-Waiting: yes" in watch.note.body
    assert "Voice-Message: 2/5 (0/0)" in watch.note.body
    assert Watch(carol, "1002", package="message-summary").final.status == 403
    world.restart()
    assert world.switch.phone_features.mailbox("1002") == (2, 5)
    world.run(0.3)
    assert "2/5" in watch.note.body
    world.switch.phone_features.set_mailbox("1002", 0, 0)
    world.run(0.3)
    assert "Messages-Waiting: no" in watch.note.body
    with pytest.raises(LookupError):
        world.switch.phone_features.set_mailbox("4711", 1, 0)
    with pytest.raises(ValueError, match="Not A Number"):
        world.switch.phone_features.set_mailbox("1002", -1, 0)
    watch.ask(0)
    world.end()


def test_a_mailbox_of_an_extension_that_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path, journal=True)
    world.switch.phone_features.set_mailbox("1003", 1, 0)
    world.restart(config=CONFIG.replace('"1003": {name: Carol, password: c}', ""))
    assert world.switch.tables()["mailboxes"] == 0
    world.end()


def test_registrations(world: World) -> None:
    _, bob, carol = phones(world)
    watch = Watch(bob, "1002", package="reg")
    assert watch.note["content-type"] == "application/reginfo+xml"
    assert "<uri>sip:1002@10.9.0.2:5060</uri>" in watch.note.body
    assert 'aor="sip:1002@10.0.0.1"' in watch.note.body
    other = Agent(world, ("10.9.0.22", 5060), "1002", "b")
    other.register()
    world.run(0.3)
    assert watch.note.body.count("<contact ") == 2
    other.register("<sip:1002@10.9.0.22:5060>;expires=0")
    world.run(0.3)
    assert watch.note.body.count("<contact ") == 1
    assert Watch(carol, "1002", package="reg").final.status == 403
    watch.ask(0)
    world.end()
