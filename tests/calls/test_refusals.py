"""Calls that the switch itself refuses at once: each is counted, and has a record if it is known
who calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from calls.call_world import ANSWER, CONFIG, SDP, SDP_TYPE, Agent, Line, World
from softswitch.calls.refusals import (
    BAD_EXTENSION,
    DRAINING,
    FULL,
    LINE_FULL,
    LINES,
    LOOP,
    MEDIA,
    REASONS,
    TOO_MANY_HOPS,
    UNREADABLE,
)
from softswitch.events import CallEnded, CallStarted, LegEnded
from softswitch.log import Rate
from softswitch.metrics import SwitchMetrics
from softswitch.parties.bans import BanLimits
from softswitch.sip import Outbox, Transport

CARRIED = "0199c0de-0000-7000-8000-000000000001"


def carrier(world: World) -> Agent:
    return world.agent("10.1.0.1", "alice")


def raw(agent: Agent, start: str = "INVITE sip:1001@10.0.0.1 SIP/2.0", **lines: str) -> str:
    """An INVITE as written: `lines` replace those that it has, empty ones are left out. Returns the
    status line of what comes back."""
    serial = next(agent.world.serial)
    head = {
        "Via": f"SIP/2.0/UDP {agent.host_port};branch=z9hG4bKr{serial}",
        "From": f"<sip:{agent.name}@x>;tag=r{serial}",
        "To": "<sip:1001@10.0.0.1>",
        "Call-ID": f"r{serial}",
        "CSeq": "1 INVITE",
        "Contact": f"<sip:{agent.host_port}>",
        "Max-Forwards": "70",
        **lines,
    }
    said = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value)
    world = agent.world
    answers = len(world.wire) + 1
    # What has no Call-ID or CSeq no agent could tell from others.
    agent.receive = lambda message: None  # type: ignore[method-assign]
    agent.send(f"{start}\r\n{said}{SDP_TYPE}", SDP)
    del agent.receive
    back = [message.start for message in world.wire[answers:] if message.target == agent.address]
    return back[-1] if back else ""


def refused(world: World) -> dict[str, int]:
    """The counts that are not zero."""
    return {why: count for why, count in world.switch.refusals.counts.items() if count}


def full(world: World, limits: str) -> World:
    """A world with one answered call, which is all that its limits allow."""
    world = World(world.folder, f"{CONFIG}limits: {{{limits}}}\n")
    pstn = world.agent("10.2.0.1")
    a = carrier(world).call("85550100")
    pstn.line.reply(200, ANSWER)
    a.ack()
    world.events.clear()
    return world


def _draining(world: World) -> World:
    world.switch.drain()
    return world


ASKS: list[tuple[str, str, str, Callable[[World], World], dict[str, str]]] = [
    (
        BAD_EXTENSION,
        "420 Bad Extension",
        "1001",
        lambda w: w,
        {"extra": "Require: precondition\r\n"},
    ),
    (
        MEDIA,
        "415 Unsupported Media Type",
        "1001",
        lambda w: w,
        {"body": "x", "extra": "Content-Type: text/plain\r\n"},
    ),
    (TOO_MANY_HOPS, "483 Too Many Hops", "1001", lambda w: w, {"hops": "0"}),
    (
        UNREADABLE,
        "400 Bad Contact Or Record-Route",
        "1001",
        lambda w: w,
        {"extra": "Contact: <sip:another@10.1.0.1>\r\n"},
    ),
    (DRAINING, "503 Service Unavailable", "1001", _draining, {}),
    (FULL, "503 Service Unavailable", "1001", lambda w: full(w, "max_calls: 1"), {}),
    (FULL, "503 Too Many Dialogs", "1001", lambda w: full(w, "max_dialogs: 2"), {}),
    (FULL, "503 Too Many Transactions", "1001", lambda w: full(w, "max_transactions: 1"), {}),
]


@pytest.mark.parametrize(
    ("why", "status", "number", "make", "more"),
    ASKS,
    ids=[f"{why}: {status}" for why, status, *_ in ASKS],
)
def test_a_trunks_refused_call_has_a_record(
    world: World,
    caplog: pytest.LogCaptureFixture,
    why: str,
    status: str,
    number: str,
    make: Callable[[World], World],
    more: dict[str, str],
) -> None:
    world = make(world)
    calls = set(world.switch.calls)
    a = carrier(world).call(number, **more)
    assert a.last.start == f"SIP/2.0 {status}"
    assert set(world.switch.calls) == calls
    assert refused(world) == {why: 1}
    _recorded(world, a, status)
    assert world.events[0].party == "trunk:caller"
    assert world.events[0].caller == "alice"
    line = f"a call of trunk:caller (udp:10.1.0.1:5060) to '{number}' is refused: {status}"
    assert [r.getMessage() for r in caplog.records if "refused" in r.getMessage()] == [line]
    a.acknowledge(a.last)
    world.run(100)
    assert not len(world.switch.refusals)


def _recorded(world: World, a: Line, status: str) -> None:
    """A call of its own that began and ended at once."""
    assert world.told() == ["CallStarted 0", "LegEnded 0", "CallEnded 0"]
    started, leg, ended = world.events
    assert isinstance(started, CallStarted)
    assert isinstance(leg, LegEnded)
    assert isinstance(ended, CallEnded)
    assert (started.origin, started.owner, started.dialled) == (True, "hq", a.number)
    assert started.sip_call_id == a.call_id
    assert len({event.call_id for event in world.events}) == 1
    code, _, reason = status.partition(" ")
    assert (leg.status, leg.reason, leg.by) == (int(code), reason, "switch")
    assert (ended.sip_status, ended.reason, ended.hangup_by) == (int(code), reason, "switch")
    assert ended.disposition == "failed"


def test_a_phone_that_proved_its_password(world: World) -> None:
    phone = world.phone("1001", "10.9.0.1")
    a = phone.call("1002", extra="Require: foo\r\n", from_="<sip:president@elsewhere>")
    assert a.what == ["420 INVITE"]
    _recorded(world, a, "420 Bad Extension")
    started = world.events[0]
    assert (started.party, started.caller, started.caller_name) == (
        *("extension:1001", "1001", "Alice"),
    )
    assert refused(world) == {BAD_EXTENSION: 1}, "its challenge was no refusal"
    a.acknowledge(a.last)
    world.end()


def test_a_line_that_is_full_has_its_record_too(world: World) -> None:
    pstn = world.agent("10.2.0.1", "p")
    calls = [pstn.call("1999") for _ in range(6)]
    assert refused(world) == {}, "a number that nobody has is a call"
    phone = world.phone("1001", "10.9.0.1")
    calls += [pstn.call("1001") for _ in range(6)]
    assert refused(world) == {LINE_FULL: 1}
    assert world.of(CallEnded)[-1].reason == "Too Many Calls At Once"
    for b in phone.lines:
        b.reply(486)
    for a in calls:
        a.acknowledge(a.last)
    world.end()


@pytest.mark.parametrize(
    ("start", "lines", "status", "dialled"),
    [
        ("INVITE http://x/y SIP/2.0", {}, "416 Unsupported URI Scheme", "http://x/y"),
        ("INVITE sip:1001@[::1 SIP/2.0", {}, "400 Bad Request-URI", "sip:1001@[::1"),
        (f"INVITE sip:{'x' * 999}@[: SIP/2.0", {}, "400 Bad Request-URI", f"sip:{'x' * 124}"),
        ("INVITE sip:1001@10.0.0.1 SIP/3.0", {}, "505 Version Not Supported", "1001"),
        ("", {"CSeq": "x INVITE"}, "400 Bad CSeq", "1001"),
        ("", {"From": "<<<"}, "400", "1001"),
        ("", {"Call-ID": ""}, "400 Missing Call-ID", "1001"),
        ("", {"Max-Forwards": "many"}, "400 Bad Max-Forwards", "1001"),
    ],
)
def test_what_cannot_be_read(
    world: World, start: str, lines: dict[str, str], status: str, dialled: str
) -> None:
    """A trunk's has a record, with as much as could be read; a stranger's is counted."""
    arguments = ([start] if start else [], lines)
    said = raw(carrier(world), *arguments[0], **arguments[1])
    assert said.startswith(f"SIP/2.0 {status}")
    assert world.told() == ["CallStarted 0", "LegEnded 0", "CallEnded 0"]
    assert world.events[0].dialled == dialled
    assert world.ended.reason == said.split(" ", 2)[2]
    assert raw(world.agent("10.66.6.6", "eve"), *arguments[0], **arguments[1]) == said
    assert len(world.events) == 3
    assert refused(world) == {UNREADABLE: 2}
    world.end()


def test_an_invite_without_via_is_counted(world: World) -> None:
    assert raw(carrier(world), Via="") == ""
    assert refused(world) == {UNREADABLE: 1}
    world.end()


def test_no_bytes_of_a_trunk_make_an_error(world: World) -> None:
    """Whatever is wrong with its INVITEs: they are refused, told in order, and nothing stays."""
    dice = random.Random(5)
    agent = carrier(world)
    world.dead.add(agent.address)
    whole = (
        "INVITE sip:1001@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bKz\r\n"
        "From: <sip:a@x>;tag=z\r\nTo: <sip:1001@10.0.0.1>\r\nCall-ID: z\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:{agent.host_port}>\r\nUser-Agent: x\r\nMax-Forwards: 0\r\n\r\n"
    ).encode()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(10, len(data))
            data[at : at + dice.choice((0, 0, 1, 5))] = dice.choice(
                (b"\r\n", b"\n", b"", b"<", b'"', b"\xff", b"\x00", b";", b"9" * 20, b":")
            )
        world.carry(bytes(data), agent.address, ("10.0.0.1", 5060))
        world.run(0.05)
    world.end()
    assert refused(world)[UNREADABLE] > 300
    assert len(world.of(CallStarted)) > 300


def test_strangers_are_counted_and_no_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    eve = world.agent("10.66.6.6", "eve")
    challenged = eve.call("1001", extra="Require: foo\r\n")
    assert challenged.what == ["401 INVITE"], "who it is comes first"
    assert refused(world) == {}
    for _ in range(50):
        raw(eve, Authorization="Digest username=")
        raw(eve, "INVITE http://x SIP/2.0")
    assert refused(world) == {UNREADABLE: 100}
    world.switch.refusals.sum_up()
    assert world.events == []
    assert not [r for r in caplog.records if "refused" in r.getMessage()]
    assert not any(world.switch.tables().values())
    world.end()


@pytest.mark.parametrize(
    ("start", "lines"),
    [
        ("INVITE sip:1001@10.0.0.1 SIP/2.0", {"Authorization": "Digest username="}),
        ("INVITE http://x SIP/2.0", {}),
        ("INVITE sip:1001@10.0.0.1 SIP/2.0", {"CSeq": ""}),
        ("INVITE sip:1001@10.0.0.1 SIP/2.0", {"To": "<sip:1001@10.0.0.1>;tag=gone"}),
        ("OPTIONS sip:10.0.0.1 SIP/2.0", {"CSeq": "1 OPTIONS"}),
        ("BYE sip:10.0.0.1 SIP/2.0", {"CSeq": "1 BYE"}),
        ("FOO sip:10.0.0.1 SIP/2.0", {"CSeq": "1 FOO"}),
    ],
)
def test_whatever_strangers_send_is_counted(
    world: World, start: str, lines: dict[str, str]
) -> None:
    """Each of these answers costs as much as a challenge."""
    eve, bans = world.agent("10.66.6.6", "eve"), world.switch.bans
    bans.limits = BanLimits(rate=1, burst=20)
    for _ in range(20):
        assert raw(eve, start, **lines).startswith("SIP/2.0 ")
    assert raw(eve, start, **lines) == ""
    assert list(bans.banned) == ["10.66.6.6"]
    known = carrier(world)
    for _ in range(30):
        raw(known, start, **lines)
    assert list(bans.banned) == ["10.66.6.6"]


def test_requests_within_calls_are_no_calls(world: World) -> None:
    """A re-INVITE that cannot be served, and one of a dialog that is over."""
    agent = carrier(world)
    for start in ("INVITE http://x SIP/2.0", "INVITE sip:1001@10.0.0.1 SIP/2.0"):
        said = raw(agent, start, To="<sip:1001@10.0.0.1>;tag=gone")
        assert said.split()[1] in ("416", "481")
    assert raw(agent, To="<sip:1001@10.0.0.1>;tag=gone", CSeq="")
    agent.request("OPTIONS", "Require: foo\r\n")
    assert refused(world) == {}
    assert world.events == []


def test_the_same_invite_by_another_path_is_one_call(world: World) -> None:
    """§8.2.2.2: 482, a line and a count; the record is that of the first."""
    phone, agent = world.phone("1001", "10.9.0.1"), carrier(world)
    same = {"From": "<sip:a@x>;tag=s", "Call-ID": "s"}
    raw(agent, **same)
    assert raw(agent, **same) == "SIP/2.0 482 Loop Detected"
    assert refused(world) == {LOOP: 1}
    phone.line.reply(486)
    world.dead.add(agent.address)
    world.end()
    assert len(world.of(CallStarted)) == 1


def test_an_invite_sent_again_has_one_record(world: World) -> None:
    """Nothing but its record's key is kept of one that has no transaction, for 64*T1."""
    agent = carrier(world)
    for _ in range(3):
        raw(
            agent,
            "INVITE http://x SIP/2.0",
            Via="SIP/2.0/UDP x;branch=z9hG4bKs",
            **{"Call-ID": "s"},
        )
        world.run(1)
    assert len(world.of(CallStarted)) == 1
    assert world.switch.tables()["refused"] == 1
    world.run(32)
    assert world.switch.tables()["refused"] == 0
    raw(agent, "INVITE http://x SIP/2.0", **{"Call-ID": "s"})
    assert len(world.of(CallStarted)) == 2
    world.end()


def test_one_with_a_transaction_needs_no_memory(world: World) -> None:
    agent = carrier(world)
    a = agent.call("1001", hops="0")
    a.send("INVITE", SDP, a.contact, cseq=a.cseq, branch=a.branch, hops="0")
    assert a.what == ["483 INVITE"] * 2
    assert len(world.of(CallStarted)) == 1
    assert world.switch.tables()["refused"] == 0
    a.acknowledge(a.last)
    world.end()


def test_too_many_for_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`limits.refused_records` a second; the others are counted, and said in one line."""
    world = World(tmp_path, f"{CONFIG}limits: {{refused_records: 3}}\n")
    refusals = world.switch.refusals
    for _ in range(50):
        raw(carrier(world), "INVITE http://x SIP/2.0")
    assert len(world.of(CallStarted)) == 3
    assert refused(world) == {UNREADABLE: 50}
    assert refusals.unrecorded == 47
    assert len(refusals) == 3, "what is kept has the same limit"
    lines = [r.getMessage() for r in caplog.records if "is refused" in r.getMessage()]
    assert len(lines) == LINES
    refusals.sum_up()
    assert caplog.records[-1].getMessage() == (
        f"refused calls of which nothing was said: {50 - LINES}; without a record, being more than "
        "limits.refused_records: 47"
    )
    said = len(caplog.records)
    refusals.sum_up()
    assert len(caplog.records) == said, "once"
    world.run(1)
    for _ in range(50):
        raw(carrier(world), "INVITE http://x SIP/2.0")
    assert len(world.of(CallStarted)) == 6
    world.end()


def test_a_flood_when_there_is_no_room(tmp_path: Path) -> None:
    """503 Too Many Transactions to a trunk, a hundred a second for a minute: what is kept and what
    is told does not grow with them."""
    world = full(World(tmp_path), "max_transactions: 1, refused_records: 2")
    world.switch.transactions.max_transactions = 0
    most = 0
    for _ in range(60):
        for _ in range(100):
            assert raw(carrier(world)) == "SIP/2.0 503 Too Many Transactions"
        most = max(most, len(world.switch.refusals))
        world.run(1)
    assert 100 < len(world.of(CallStarted)) <= 122
    assert most <= 2 * (32 + 1)
    assert world.switch.transactions.refused == refused(world)[FULL] == 6000
    world.run(100)
    assert not len(world.switch.refusals)


def test_a_call_of_another_switch_keeps_its_call_id(world: World) -> None:
    """Its owner's record has this passage; legs are numbered on as they are in any call."""
    branch = world.agent("10.0.0.2", "5")
    header = f"X-CDS-Call-ID: {CARRIED};owner=branch\r\n"
    for _ in range(2):
        a = branch.call("1001", extra=header, hops="0")
        a.acknowledge(a.last)
    first, second = world.of(CallStarted)
    assert (first.call_id, first.owner, first.origin, first.leg) == (CARRIED, "branch", False, 0)
    assert (second.call_id, second.leg) == (CARRIED, 1)
    assert [event.leg for event in world.of(CallEnded)] == [0, 1]
    carrier(world).call("1001", extra=header, hops="0")
    assert world.of(CallStarted)[-1].origin, "believed from our switches only"
    world.end()


def test_nothing_is_kept_for_the_drain_to_wait_for(world: World) -> None:
    idle: list[bool] = []
    world.switch.on_idle = lambda: idle.append(True)
    pstn = world.agent("10.2.0.1")
    a = carrier(world).call("85550100")
    world.switch.drain()
    b = carrier(world).call("85550100")
    assert b.last.what == "503 INVITE"
    assert not idle
    pstn.line.reply(486)
    assert idle
    for line in (a, b):
        line.acknowledge(line.last)
    world.end()


def test_metrics(world: World) -> None:
    carrier(world).call("1001", hops="0")
    outbox = Outbox(lambda what: None, lambda seconds, what: None, lambda: 0.0)
    transport = Transport(None, lambda message, flow: None, None, outbox)  # type: ignore[arg-type]
    found: dict[str, Metric] = {m.name: m for m in SwitchMetrics(world.switch, transport).collect()}
    samples = found["softswitch_refused"].samples
    assert {s.labels["reason"]: s.value for s in samples} == {
        **dict.fromkeys(REASONS, 0),
        TOO_MANY_HOPS: 1,
    }
    assert {s.name for s in samples} == {"softswitch_refused_total"}
    assert found["softswitch_refused_unrecorded"].samples[0].value == 0
    assert found["softswitch_calls"].samples[0].value == 0


def test_a_rate() -> None:
    now = 100.0
    rate = Rate(lambda: now, 2)
    taken = []
    for step in (0, 0, 0, 0.5, 0, 0.5, 60, 0, 0):
        now += step
        taken.append(rate.take())
    assert taken == [True, True, False, True, False, True, True, True, False]
