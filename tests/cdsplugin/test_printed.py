"""What ``cds`` prints for people: in 80 columns, times as times, nothing a terminal would obey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from api_sites import Site, sites
from cds_calls import AT, SECOND, answered_call, busy_call
from click.testing import CliRunner
from test_cli_calls import cds

from cdsplugin.printed import Watched, print_records
from softswitch.events import LegAnswered, LegInvited, TalkBegan, TalkEnded

ONE = "01a21a77-bd45-7b2c-93d7-01ee2c0cc531"
LONG = "wants to be called back, and says so at a length for which no line of eighty has room"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_cli_calls.COLUMNS", "80")


@pytest.fixture
async def hq(tmp_path: Path):
    async with sites(tmp_path, "hq") as (site,):
        site.feed(answered_call(ONE)[:7])
        site.feed(busy_call("01a21a77-bd45-7b2c-93d7-01ee2c0cc532"))
        yield site


def fits(text: str) -> list[str]:
    lines = text.splitlines()
    assert not [line for line in lines if len(line) > 80]
    return lines


async def test_live_calls(hq: Site) -> None:
    await cds(hq, "set", ONE, "account=4711")
    assert "called back" in (await cds(hq, "note", ONE, LONG)).output
    assert fits((await cds(hq, "calls")).output) == [
        f"{ONE}  live, of hq",
        "  2027-01-15 08:00:00 UTC  1001 calls 2001",
        "  2027-01-15 08:00:03 UTC  answered by 2001",
        "01a21a77-bd45-7b2c-93d7-01ee2c0cc532  lingering, of hq",
        "  2027-01-15 08:00:00 UTC  1001 calls 2001",
    ]
    lines = fits((await cds(hq, "calls", ONE)).output)
    assert lines[:2] == [f"{ONE} of hq, live", "  call"], "who calls whom comes first"
    assert "    started_at    2027-01-15 08:00:00.000" in lines
    assert "  account = 4711" in lines
    assert "  1001 talks with 2001 since 2027-01-15 08:00:03.000" in lines
    assert not [line for line in lines if "{" in line or "18000000" in line]
    assert LONG in " ".join(" ".join(lines).split())


async def test_a_transferred_call(hq: Site) -> None:
    of: dict[str, Any] = {"call_id": ONE, "switch": "hq", "at": AT + 8 * SECOND}
    hq.feed(
        [
            TalkEnded(**of, talk=1),
            LegInvited(**of, leg=2, party="extension:1003", uri="", address="", sip_call_id="c"),
            LegAnswered(**of, leg=2, status=200, callee="1003", codec="", user_agent=""),
            TalkBegan(**of, talk=2, legs=(0, 2), how="blind-transfer", by="trunk:branch"),
        ]
    )
    text = " ".join(" ".join(fits((await cds(hq, "calls", ONE)).output)).split())
    assert text.endswith(
        "1001 talked with 2001 from 2027-01-15 08:00:03.000 to 2027-01-15 08:00:08.000"
        " 1001 talks with 1003 since 2027-01-15 08:00:08.000, blind-transfer by trunk:branch"
    )
    talks = (await hq.http.get(f"/calls/{ONE}")).json()["talks"]
    assert talks[1] == {
        "talk": 1,
        "switch": "hq",
        "from_party": "extension:1001",
        "from_number": "1001",
        "to_party": "extension:1003",
        "to_number": "1003",
        "began_at": "2027-01-15T08:00:08.000000Z",
        "ended_at": None,
        "how": "blind-transfer",
        "by": "trunk:branch",
    }


async def test_records(hq: Site) -> None:
    await cds(hq, "note", ONE, LONG)
    hq.feed(answered_call(ONE)[7:])
    hq.server.store.end(ONE)
    await hq.recorded(ONE)
    assert fits((await cds(hq, "cdr")).output)[-2:] == [
        f"{ONE}  2027-01-15 08:00:00 UTC",
        "  1001 calls 2001: answered by 2001, 10.0 s",
    ]
    lines = fits((await cds(hq, "cdr", ONE)).output)
    assert "billsec          10.0 s" in lines
    assert "parties          extension:1001, trunk:branch" in lines
    assert "talk 0" in lines
    assert "  began_at      2027-01-15 08:00:03.000" in lines
    assert LONG in " ".join(" ".join(lines).split())


def printed(*events: dict, one: bool = False) -> list[str]:
    @click.command()
    def command() -> None:
        watched = Watched(one)
        for event in events:
            watched.tell(event)

    return fits(CliRunner().invoke(command, env={"COLUMNS": "80"}).output)


def test_following_all_calls_names_each_once() -> None:
    def update(call_id: str, kind: str = "update", **properties: object) -> dict:
        told = {
            name: {"set_at": "2027-01-15T08:00:00.5Z", "author": "hq", "value": value}
            for name, value in properties.items()
        }
        return {"event": kind, "call_id": call_id, "properties": told, "logs": []}

    assert printed(
        update("call-000001", a="b"),
        update("call-000002", answer={"callee": "2001", "answered_at": 1800000003000000}),
        {"event": "server_down", "server": "branch"},
        update("call-000001", "end"),
        update("call-000001", a="c"),
    ) == [
        "call-000001",
        "000001 2027-01-15 08:00:00.500 hq: a = b",
        "call-000002",
        "000002 2027-01-15 08:00:00.500 hq: answer: callee 2001, answered_at 2027-01-15",
        "    08:00:03.000",
        "server branch is silent",
        "000001 end of call",
        "call-000001",
        "000001 2027-01-15 08:00:00.500 hq: a = c",
    ]


def test_nothing_that_others_wrote_moves_a_cursor() -> None:
    row = {
        "call_id": "c1", "started_at": None, "caller": "\x1b[2J", "dialled": "1\r2",
        "callee": "", "disposition": "busy", "billsec": 0.0,
    }  # fmt: skip

    @click.command()
    def command() -> None:
        print_records([row])

    for columns in ("80", "200"):
        output = CliRunner().invoke(command, env={"COLUMNS": columns}).output
        assert "?[2J" in output
        assert "\x1b" not in output
        assert "\r" not in output


def test_a_call_that_went_on_as_an_older_one() -> None:
    row = {
        "call_id": "c2", "started_at": None, "caller": "1002", "dialled": "1003", "callee": "1003",
        "disposition": "answered", "billsec": 3.0, "merged_into": "c1",
    }  # fmt: skip

    @click.command()
    def command() -> None:
        print_records([row])

    output = CliRunner().invoke(command, env={"COLUMNS": "80"}).output
    assert "1002 calls 1003: answered by 1003, 3.0 s, went on as c1" in output
