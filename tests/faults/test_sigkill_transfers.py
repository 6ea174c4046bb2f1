"""SIGKILL while calls are transferred, parked and merged, with real processes: they go on, or come
back, and each has one right record at its owner.

Alice and Carol are at ``hq``, Bob is at ``branch``. What the records say is compared with what the
phones saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from calls.call_world import Line
from calls.transfers import attended, refer

from bench.faults import launched, wait_while
from bench.sites import HOST, Site, Timing, server
from softswitch.lab.ports import free_port
from tests.faults.phones import Phone, Phones, audio, came, hears, offer, port

TIMING = Timing(alive_interval=0.2, dead_after=1.0, reregister_within=30.0, linger=1.0)
PARTIES = {"alice": "hq", "carol": "hq", "bob": "branch"}
NUMBERS = {"alice": "1001", "carol": "1003", "bob": "2002"}
TALK = 0.3
"""Seconds that those talk who are brought together with others."""
SLACK = 0.2
"""Seconds between what a phone saw and what is recorded."""


@dataclass
class Two:
    """Both sites, and the phones."""

    hq: Site
    branch: Site
    phones: Phones
    of: dict[str, Phone]

    @property
    def sites(self) -> tuple[Site, Site]:
        return self.hq, self.branch

    def talk(self, caller: str, callee: str) -> tuple[Line, Line, float]:
        """They are in a call; since when."""
        known = len(self.of[callee].lines)
        a = self.of[caller].dials(NUMBERS[callee])
        b = self.of[callee].next_line(known)
        began = answer(b)
        self.phones.until(lambda: came(a, "200 INVITE"), "an answer")
        return a, b, began

    def rung(self, name: str, known: int) -> Line:
        return self.of[name].next_line(known)

    def heard(self, line: Line, text: str) -> float:
        """When a NOTIFY said this."""
        return self.phones.until(lambda: came(line, "NOTIFY", text), text).at

    def gets(self, line: Line, what: str) -> float:
        """When a message of that kind came."""
        return self.phones.until(lambda: came(line, what), what).at

    def hold_it(self, since: float) -> None:
        """Both servers have the talk of an attended transfer that was made then."""

        def has(site: Site) -> bool:
            calls = [site.get(f"/calls/{one['call_id']}") for one in site.get("/calls")["calls"]]
            return any(
                talk["how"] == "attended-transfer"
                and datetime.fromisoformat(talk["began_at"]).timestamp() > since - SLACK
                for call in calls
                for talk in call["talks"]
            )

        self.phones.until(lambda: all(has(site) for site in self.sites), "one call at both")

    def killed(self, site: Site) -> None:
        """SIGKILL, and start it again."""
        site.kill()
        launched(site)


@dataclass
class Seen:
    """A call as the phones saw it: the line that began it, and who talked with whom, when."""

    first: Line
    talks: list[tuple[str, str, str, str, float, float]] = field(default_factory=list)
    into: Line | None = None


def answer(line: Line) -> float:
    """It is picked up; when."""
    line.reply(200, audio(line))
    return time.time()


def transferred(line: Line, to: str) -> float:
    refer(line, to)
    return time.time()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with ExitStack() as stack:
        phones = stack.enter_context(Phones())
        of = {name: phones.phone(name) for name in PARTIES}
        ports = [free_port() for _ in range(6)]
        sip = {"hq": ports[0], "branch": ports[1]}
        link = {"hq": ports[2], "branch": ports[3]}
        api = {"hq": ports[4], "branch": ports[5]}
        made = []
        for name, other in (("hq", "branch"), ("branch", "hq")):
            trunks: dict[str, Any] = {
                other: {"to": f"sip:{HOST}:{sip[other]}", "switch": True, "keepalive": 0}
            }
            routes: list[dict[str, Any]] = []
            for party, where in PARTIES.items():
                dial = f"trunk:{party if where == name else other}"
                routes.append({"match": NUMBERS[party], "from": "any", "dial": dial})
                if where == name:
                    of[party].switch = (HOST, sip[name])
                    trunks[party] = {
                        "to": f"sip:{of[party].host_port}",
                        "refer": True,
                        "keepalive": 0,
                    }
            orbit = {"do": "park"} if name == "branch" else {"dial": "trunk:branch"}
            routes.append({"match": "5X", "from": "any", **orbit})
            (tmp_path / f"{name}.yaml").write_text(json.dumps({"routes": routes}))
            peers = {other: f"tcp:{HOST}:{link[other]}"}
            config = {
                "switch": {"name": name, "site": name, "listen": [f"udp:{HOST}:{sip[name]}"]},
                "timers": {"drain_timeout": 0},
                "trunks": trunks,
                "dialplan": f"{name}.yaml",
                "cds": server(f"tcp:{HOST}:{link[name]}", peers, f"{name}.db", api[name], TIMING),
            }
            site = Site(name, tmp_path, config)
            stack.callback(site.stop)
            made.append(site)
        launched(*made)
        yield Two(made[0], made[1], phones, of)


def talks(site: Site, call_id: str) -> list[tuple[Any, ...]]:
    found = site.query(
        "SELECT from_party, to_party, how, by, began_at, ended_at FROM cdr_talks"
        f" WHERE call_id = '{call_id}' ORDER BY talk"
    )
    return [
        (*one[:4], *(datetime.fromisoformat(at).timestamp() for at in one[4:])) for one in found
    ]


def call_of(sites: tuple[Site, ...], line: Line) -> tuple[Site, str]:
    """Which call the line began, and who owns it."""
    for site in sites:
        found = site.query(
            "SELECT c.call_id FROM cdrs c JOIN cdr_legs l USING (call_id) WHERE l.sip_call_id ="
            f" '{line.call_id}' AND l.leg = 0 AND l.switch = c.switch"
        )
        if found:
            assert len(found) == 1
            return site, found[0][0]
    raise AssertionError(f"{line.call_id} has no record")


def recorded(two: Two, calls: list[Seen], settled: bool = True) -> None:
    """There is one final row of each call, and it says what the phones saw; if all of it has not
    `settled` before a switch was killed, its last talk counts from when that switch knew of it."""

    def final() -> int:
        return sum(site.query("SELECT count(*) FROM cdrs WHERE final")[0][0] for site in two.sites)

    wait_while(lambda: final() < len(calls), 15)
    rows = [site.query("SELECT call_id, final, written_by FROM cdrs") for site in two.sites]
    found = [row[0] for rows_of in rows for row in rows_of]
    assert len(found) == len(set(found)) == len(calls), rows
    assert all(row[1] for rows_of in rows for row in rows_of), rows
    for call in calls:
        owner, call_id = call_of(two.sites, call.first)
        row = owner.query(
            f"SELECT owner, disposition, merged_into, parties FROM cdrs WHERE call_id = '{call_id}'"
        )[0]
        assert row[:2] == (owner.name, "answered")
        into = call_of(two.sites, call.into)[1] if call.into is not None else None
        assert row[2] == into
        said = talks(owner, call_id)
        assert [one[:4] for one in said] == [
            (f"trunk:{first}", f"trunk:{second}", how, f"trunk:{by}")
            for first, second, how, by, _, _ in call.talks
        ], call_id
        for number, (one, seen) in enumerate(zip(said, call.talks, strict=True)):
            if number and not settled:
                assert seen[4] - SLACK <= one[4] <= seen[5], (one, seen)
                assert one[5] == pytest.approx(seen[5], abs=SLACK), (one, seen)
                continue
            assert one[4:] == pytest.approx(seen[4:], abs=SLACK), (one, seen)


def agree(two: Two, lines: list[Line]) -> None:
    """Both servers have the same data of all that is up."""

    def data(site: Site) -> dict[str, Any]:
        calls = site.get("/calls?state=live&limit=1000")["calls"]
        return {
            call["call_id"]: site.get(f"/calls/{call['call_id']}")["properties"] for call in calls
        }

    def differ() -> bool:
        one, other = (data(site) for site in two.sites)
        return len(one) < len(lines) or one != other

    assert wait_while(differ, 10), [data(site) for site in two.sites]


def joined(two: Two, first: Line, second: Line) -> None:
    """Each sends to where the other is."""
    ports = port(audio(second)), port(audio(first))
    try:
        two.phones.until(lambda: (hears(first), hears(second)) == ports)
    except AssertionError:
        seen = [
            (line.agent.name, one.at, one.what, one["cseq"], one.body[-150:])
            for line in (first, second)
            for one in line.received
        ]
        raise AssertionError(f"not {ports} between them: {seen}") from None


def talk_on(two: Two, first: Line, second: Line) -> None:
    """Each sends to where the other is, and a new port comes through."""
    joined(two, first, second)
    for body in (offer(port(audio(first)) + 4711), audio(first)):
        known = first.count("200 INVITE")
        first.invite(body)
        two.phones.until(lambda: first.count("200 INVITE") > known, "an answer")  # noqa: B023
        assert hears(second) == port(body)


def hang_up(two: Two, first: Line, second: Line) -> float:
    """A BYE goes through; when."""
    first.bye()
    ended = time.time()
    two.gets(second, "BYE")
    return ended


def blind(two: Two) -> tuple[Seen, Line, Line, float]:
    """Alice has called Bob, who has sent her on to Carol, and has gone."""
    a, b, began = two.talk("alice", "bob")
    known = len(two.of["carol"].lines)
    left = transferred(b, "1003")
    c = two.rung("carol", known)
    since = answer(c)
    two.heard(b, "200 OK")
    b.bye()
    seen = Seen(a, [("alice", "bob", "dialled", "alice", began, left)])
    joined(two, a, c)
    return seen, a, c, since


def merged(two: Two, first: bool, settled: bool = True) -> tuple[list[Seen], Line, Line, float]:
    """Bob has brought Alice, who has called him, together with Carol, whom he has called: later
    (`first`: her call is the older one), or before. Not `settled`: it has just been told so."""
    if first:
        a, b, began = two.talk("alice", "bob")
    b2, c, consulted = two.talk("bob", "carol")
    if not first:
        a, b, began = two.talk("alice", "bob")
    two.phones.pause(TALK)
    attended(b, b2)
    since = two.heard(b, "200 OK")
    hers = Seen(a, [("alice", "bob", "dialled", "alice", began, since)])
    his = Seen(b2, [("bob", "carol", "dialled", "bob", consulted, since)])
    (his if first else hers).into = a if first else b2
    if settled:
        two.gets(b2, "BYE")
        b.bye()
        joined(two, a, c)
        two.hold_it(since)
    return [hers, his] if first else [his, hers], a, c, since


def rings(two: Two) -> tuple[Seen, Line, Line, Line]:
    """Alice has called Bob, who sends her on to Carol: whose phone rings."""
    a, b, began = two.talk("alice", "bob")
    known = len(two.of["carol"].lines)
    left = transferred(b, "1003")
    c = two.rung("carol", known)
    two.heard(b, "180")
    return Seen(a, [("alice", "bob", "dialled", "alice", began, left)]), a, b, c


def test_they_go_on(two: Two) -> None:
    """Each site is killed, ``hq`` first."""
    one, a1, c1, since1 = blind(two)
    parked, b2, began = two.talk("alice", "bob")
    left = transferred(b2, "51")
    two.heard(b2, "200 OK")
    b2.bye()
    two.gets(parked, "ACK")
    three, a3, c3, since3 = merged(two, first=True)
    four, a4, c4, since4 = merged(two, first=False)
    five, a5, b5, c5 = rings(two)

    two.killed(two.hq)
    two.gets(c5, "CANCEL")
    back5 = two.heard(b5, "SIP/2.0 5")
    six, a6, b6, c6 = rings(two)
    two.killed(two.branch)
    back6 = two.gets(c6, "CANCEL")

    agree(two, [a1, parked, a3, a4, a5, a6])
    up = [(a1, c1), (a3, c3), (c4, a4), (a5, b5), (b6, a6)]
    for first, second in up:
        talk_on(two, first, second)
    c2 = two.of["carol"].dials("51")
    two.gets(c2, "200 INVITE")
    since2 = came(c2, "200 INVITE").at  # type: ignore[union-attr]
    joined(two, parked, c2)
    ended = [hang_up(two, first, second) for first, second in up]
    ended2 = hang_up(two, parked, c2)

    one.talks.append(("alice", "carol", "blind-transfer", "bob", since1, ended[0]))
    two_ = Seen(parked, [("alice", "bob", "dialled", "alice", began, left)])
    two_.talks.append(("alice", "carol", "park", "carol", since2, ended2))
    three[0].talks.append(("alice", "carol", "attended-transfer", "bob", since3, ended[1]))
    four[0].talks.append(("alice", "carol", "attended-transfer", "bob", since4, ended[2]))
    five.talks.append(("alice", "bob", "returned", "bob", back5, ended[3]))
    six.talks.append(("alice", "bob", "returned", "bob", back6, ended[4]))
    recorded(two, [one, two_, Seen(c2, [], into=parked), *three, *four, five, six])


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_the_owner_is_killed_as_two_become_one(two: Two, first: bool, settled: bool) -> None:
    """Of the older call: that is hq if Alice called first, else branch. If the other switch has not
    heard of it by then, it hears of it afterwards."""
    calls, a, c, since = merged(two, first, settled)
    two.killed(two.hq if first else two.branch)
    two.phones.until(lambda: [site.live() for site in two.sites] == [1, 1], "one call")
    talk_on(two, a, c)
    ended = hang_up(two, a, c)
    calls[0].talks.append(("alice", "carol", "attended-transfer", "bob", since, ended))
    recorded(two, calls, settled)
