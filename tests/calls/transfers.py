"""What phones do about transfers: ask for one, hear what comes of it, leave, park and retrieve."""

from __future__ import annotations

from urllib.parse import quote

from calls.call_world import CONFIG, SDP, Agent, Line, World
from softswitch import events

BOB = SDP.replace("40000", "41000").replace("192.0.2.9", "192.0.2.41")
CAROL = SDP.replace("40000", "42000").replace("192.0.2.9", "192.0.2.42")
INACTIVE = SDP + "a=inactive\r\n"
# Bob and Carol may pick up each other's calls.
GROUPS = CONFIG.replace("{name: Bob,", "{name: Bob, pickup: [desk],").replace(
    "{name: Carol,", "{name: Carol, pickup: desk,"
)


def port(body: str) -> int:
    """Where a description wants its audio."""
    return int(body.partition("m=audio ")[2].split()[0])


def phones(world: World) -> tuple[Agent, Agent, Agent]:
    """Those of Alice, Bob and Carol."""
    return (
        world.phone("1001", "10.9.0.1"),
        world.phone("1002", "10.9.0.2"),
        world.phone("1003", "10.9.0.3"),
    )


def talk(caller: Agent, callee: Agent) -> tuple[Line, Line]:
    """They are in a call."""
    a = caller.call(callee.name)
    b = callee.line
    b.reply(200, BOB)
    a.ack()
    return a, b


def two_calls(world: World, first: bool) -> tuple[Line, Line, Line, Line]:
    """Alice calls Bob, and he calls Carol; or (not `first`) the other way round."""
    alice, bob, carol = phones(world)
    if first:
        a, b1 = talk(alice, bob)
        world.run(2)
    b2 = bob.call("1003")
    carol.line.reply(200, CAROL)
    b2.ack()
    if not first:
        world.run(2)
        a, b1 = talk(alice, bob)
    world.run(3)
    return a, b1, b2, carol.line


def refer(line: Line, to: str, extra: str = "") -> None:
    """Whom it talks with is to talk with somebody else."""
    line.send("REFER", extra=f"{line.contact}Refer-To: <sip:{to}@10.0.0.1>\r\n{extra}")


def dialog(line: Line) -> str:
    """The dialog of this line as the one at its other end sees it: the value of a Replaces."""
    to_tag = line.remote.partition(";tag=")[2]
    from_tag = line.local.partition(";tag=")[2]
    return f"{line.call_id};to-tag={to_tag};from-tag={from_tag}"


def early_dialog(line: Line) -> str:
    """The same of a line that rings, as it sees that dialog itself."""
    return f"{line.call_id};to-tag={line.tag};from-tag={line.last.tag('from')}"


def attended(
    line: Line, other: Line, to: str = "1003", extra: str = "", at: str = "10.0.0.1"
) -> None:
    """Whom it talks with is to talk with whom the other line talks with."""
    replaces = quote(f"{dialog(other)}{extra}", safe="@")
    line.send("REFER", extra=f"{line.contact}Refer-To: <sip:{to}@{at}?Replaces={replaces}>\r\n")


def notes(line: Line) -> list[str]:
    """What the NOTIFYs said."""
    said = []
    for message in line.received:
        if message.what == "NOTIFY":
            assert message["event"].startswith("refer")
            assert message["content-type"].startswith("message/sipfrag")
            said.append(message.body.strip().removeprefix("SIP/2.0 "))
    return said


def heard(line: Line) -> None:
    """Answer the newest NOTIFY."""
    line.reply(200, to="NOTIFY")


def leaves(line: Line) -> None:
    """Who has asked for a transfer hears of it, and hangs up."""
    heard(line)
    line.bye()


def hangs_up(line: Line, other: Line) -> None:
    """It hangs up on the other."""
    line.bye()
    other.reply(200, to="BYE")


def park(line: Line, kept: Line, orbit: str = "701") -> None:
    """Whom it talks with waits there, on hold."""
    refer(line, orbit)
    leaves(line)
    kept.reply(200, INACTIVE)


def retrieve(phone: Agent, kept: Line, orbit: str = "701") -> Line:
    """Who waits there talks with this phone."""
    line = phone.call(orbit, CAROL)
    kept.reply(200, SDP)
    line.ack()
    return line


def talks(world: World) -> list[tuple[tuple[int, ...], str, str]]:
    """Those that were told: legs, how, by whom."""
    return [(e.legs, e.how, e.by) for e in world.of(events.TalkBegan)]
