"""Applications write: properties and log lines, from any server; who may, how much, how often."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from api_sites import Site, sites, stream, until
from cds_calls import answered_call

from cdsplugin.api.access import Access
from cdsplugin.config import Address, ApiSection


@pytest.fixture
async def hq(tmp_path: Path):
    async with sites(tmp_path, "hq") as (site,):
        yield site


@pytest.fixture
async def pair(tmp_path: Path):
    async with sites(tmp_path, "hq", "branch") as both:
        yield both


async def test_properties_and_log_lines(hq: Site) -> None:
    hq.feed(answered_call("c1")[:7])
    answer = await hq.http.patch("/calls/c1", json={"account": "4711", "tags": ["vip", 1, None]})
    assert answer.status_code == 200, answer.text
    told = answer.json()["properties"]
    assert told["account"]["value"] == "4711"
    assert told["account"]["author"] == "hq/crm"
    assert told["tags"]["value"] == ["vip", 1, None]
    answer = await hq.http.post("/calls/c1/log", json={"text": "wants to be called back"})
    assert answer.status_code == 201
    line = answer.json()
    assert (line["author"], line["text"]) == ("hq/crm", "wants to be called back")
    call = (await hq.reader.get("/calls/c1")).json()
    assert call["properties"]["account"] == told["account"]
    assert call["logs"] == [line]
    hq.feed(answered_call("c1")[7:])
    await hq.http.post("/calls/c1/log", json={"text": "a note after the call"})
    record = await hq.recorded("c1")
    assert [(row["author"], row["text"]) for row in record["logs"]] == [
        ("hq/crm", "wants to be called back"),
        ("hq/crm", "a note after the call"),
    ]
    properties = {row["name"]: row for row in record["properties"]}
    assert (properties["account"]["value"], properties["account"]["author"]) == ("4711", "hq/crm")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PATCH", "/calls/c1", {"a": 1}), ("POST", "/calls/c1/log", {"text": "x"})],
)
async def test_who_may_write(hq: Site, method: str, path: str, body: dict) -> None:
    hq.feed(answered_call("c1")[:7])
    refused = await hq.reader.request(method, path, json=body)
    assert (refused.status_code, refused.json()["detail"]) == (
        403, "the token `wall` may only read",
    )  # fmt: skip
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    async with httpx.AsyncClient(base_url=hq.url) as stranger:
        assert (await stranger.request(method, path, json=body)).status_code == 401
    assert len(hq.server.store.get("c1").data) == 6
    gone = await hq.http.request(method, path.replace("c1", "c9"), json=body)
    assert gone.status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 422, "JSON"),
        (b"[1]", 422, ""),
        (b"{}", 422, "at least one"),
        (b'{"call": 1}', 422, "belong to the switches"),
        (b'{"leg/hq/0": 1}', 422, "belong to the switches"),
        (b'{"": 1}', 422, "1 to 128"),
        (b'{"%s": 1}' % (b"n" * 129), 422, "1 to 128"),
        (b'{"a": {"b": {"c": 1}}}', 422, ""),
        (b'{"a": [[1]]}', 422, ""),
        (b'{"a": NaN}', 422, "finite"),
        (b'{"a": 1e999}', 422, "finite"),
        (b'{"a": 9223372036854775808}', 422, "64 bits"),
        (b'{"a": "\\ud800"}', 422, "Unicode"),
        (b'{"\\ud800": 1}', 422, "Unicode"),
        (b'{"a": "%s"}' % (b"x" * 4096), 413, "cds.api.entry_bytes"),
        (b"{%s}" % b",".join(b'"p%d": 1' % n for n in range(51)), 413, "cds.api.entries"),
        (b'{"a": "%s"}' % (b"x" * 70_000), 413, "cds.api.body_bytes"),
        (b"[" * 60_000, 422, ""),
    ],
)
async def test_what_cannot_be_set(hq: Site, body: bytes, status: int, says: str) -> None:
    hq.feed(answered_call("c1")[:7])
    headers = {"Content-Type": "application/json"}
    answer = await hq.http.patch("/calls/c1", content=body, headers=headers)
    if body.startswith(b"[["):
        assert answer.status_code in (400, 422)
        return
    assert answer.status_code == status, answer.text
    assert says in answer.text
    assert len(hq.server.store.get("c1").data) == 6


async def test_bodies_that_do_not_say_how_long_they_are(hq: Site) -> None:
    hq.feed(answered_call("c1")[:7])

    async def long():
        for _ in range(20):
            yield b" " * 10_000

    headers = {"Content-Type": "application/json"}
    answer = await hq.http.patch("/calls/c1", content=long(), headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": "x", "more": 1}, {"text": 1}])
async def test_what_is_no_log_line(hq: Site, body: dict) -> None:
    hq.feed(answered_call("c1")[:7])
    assert (await hq.http.post("/calls/c1/log", json=body)).status_code == 422
    long = await hq.http.post("/calls/c1/log", json={"text": "ü" * 2049})
    assert long.status_code == 413


async def test_a_call_that_is_full(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", limits={"call_entries": 2}) as (hq,):
        hq.feed(answered_call("c1")[:7])
        assert (await hq.http.patch("/calls/c1", json={"a": 1, "b": 2})).status_code == 200
        full = await hq.http.patch("/calls/c1", json={"c": 1})
        assert (full.status_code, "call_entries" in full.text) == (409, True)
        assert (await hq.http.patch("/calls/c1", json={"a": 3})).status_code == 200
        # What the switch has to say of the call's end is in the record all the same.
        hq.feed(answered_call("c1")[7:])
        row = await hq.recorded("c1")
        assert row is not None
        assert (row["disposition"], row["billsec"]) == ("answered", 10.0)


async def test_too_many_requests(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", api={"rate": 0.5, "burst": 3}) as (hq,):
        answers = [(await hq.http.get("/calls")).status_code for _ in range(4)]
        assert answers == [200, 200, 200, 429]
        late = await hq.http.get("/calls")
        assert int(late.headers["retry-after"]) in (1, 2)
        assert (await hq.reader.get("/calls")).status_code == 200, "each token has its own rate"
        assert (await hq.reader.get("/metrics")).text.count("cds_api_limited_total 2.0") == 1


def test_a_rate_by_the_clock() -> None:
    now = 0.0
    section = ApiSection(listen=Address("127.0.0.1", 0), tokens=("x",), rate=2.0, burst=2)
    access = Access(section, lambda: now)
    grant = access.grant("x")
    assert access.grant("y") is None
    assert access.grant("x\udcff") is None
    assert (grant.name, grant.write) == ("token1", True)
    assert [access.wait(grant) for _ in range(3)] == [0, 0, 0.5]
    now = 0.5
    assert [access.wait(grant) for _ in range(2)] == [0, 0.5]
    now = 100.0
    assert [access.wait(grant) for _ in range(3)] == [0, 0, 0.5]


async def test_nothing_is_acknowledged_that_is_not_on_disk(hq: Site) -> None:
    hq.feed(answered_call("c1")[:7])
    await hq.server.stored()
    hq.server.disk.trouble = "no space left"
    refused = await hq.http.post("/calls/c1/log", json={"text": "never"})
    assert (refused.status_code, "no space left" in refused.text) == (503, True)
    assert refused.headers["retry-after"]
    assert hq.server.store.get("c1").data.logs is None, "nothing was changed"
    hq.server.disk.trouble = None

    async def fails(within: float) -> None:
        raise OSError("the disk is gone")

    stored, hq.server.stored = hq.server.stored, fails  # type: ignore[method-assign]
    late = await hq.http.patch("/calls/c1", json={"a": 1})
    assert (late.status_code, "not on disk yet: the disk is gone" in late.text) == (503, True)
    hq.server.stored = stored  # type: ignore[method-assign]
    assert (await hq.http.patch("/calls/c1", json={"a": 1})).status_code == 200


async def test_a_note_typed_at_branch_is_on_the_screen_at_hq(pair: list[Site]) -> None:
    hq, branch = pair
    mine, theirs = answered_call("c1"), answered_call("c1", "branch")
    hq.feed(mine[:6])
    branch.feed(theirs[:6])
    async with stream(hq.reader, "/calls/c1/events") as screen:
        assert (await screen.next())["event"] == "call"
        assert (
            await branch.http.post("/calls/c1/log", json={"text": "typed at branch"})
        ).status_code == 201
        while not (event := await screen.next())["logs"]:
            pass
        assert event["logs"][0]["text"] == "typed at branch"
        assert event["logs"][0]["author"] == "branch/crm"
        hq.feed(mine[6:])
        branch.feed(theirs[6:])
        await until(lambda: branch.server.store.get("c1").settled)
        # After the hangup, while it lingers.
        await branch.http.post("/calls/c1/log", json={"text": "after the call"})
        while not (event := await screen.next()).get("logs"):
            pass
        assert event["logs"][0]["text"] == "after the call"
    await until(lambda: len(hq.server.store.get("c1").data.logs) == 2)
    record = await hq.recorded("c1")
    assert [row["text"] for row in record["logs"]] == ["typed at branch", "after the call"]


async def test_from_any_server_whoever_owns_the_call(pair: list[Site]) -> None:
    hq, branch = pair
    hq.feed(answered_call("c1")[:7])
    # branch never heard of the call.
    unknown = await branch.http.get("/calls/c1")
    assert (unknown.status_code, "?owner=" in unknown.text) == (404, True)
    call = (await branch.http.get("/calls/c1?owner=hq")).json()
    assert call["owner"] == "hq"
    assert call["properties"]["call"]["value"]["caller"] == "1001"
    assert call["registration"] == "registered"
    assert (await hq.http.get("/calls/c1")).json()["participants"] == ["branch"]
    # From now on it is a participant, and told of what changes.
    await hq.http.patch("/calls/c1", json={"account": "4711"})
    await until(lambda: branch.server.store.get("c1").data.value("account") == "4711")
    for where, owner, status in (
        ("none", "hq", 404), ("c1", "nobody", 200), ("none", "nobody", 404), ("x", "branch", 404),
    ):  # fmt: skip
        answer = await branch.http.get(f"/calls/{where}?owner={owner}")
        assert answer.status_code == status, answer.text


async def test_a_note_at_a_server_that_takes_no_part_in_the_call(pair: list[Site]) -> None:
    hq, branch = pair
    hq.feed(answered_call("c1")[:7])
    answer = await branch.http.post("/calls/c1/log?owner=hq", json={"text": "from afar"})
    assert answer.status_code == 201
    assert answer.json()["author"] == "branch/crm"
    await until(lambda: hq.server.store.get("c1").data.logs)
    hq.feed(answered_call("c1")[7:])
    await hq.http.post("/calls/c1/log", json={"text": "and from here"})
    record = await hq.recorded("c1")
    assert [row["author"] for row in record["logs"]] == ["branch/crm", "hq/crm"]


async def test_an_owner_that_is_away(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", "branch", api={"wait": 0.2}) as (hq, branch):
        await hq.stop()
        answer = await branch.http.get("/calls/c1?owner=hq")
        assert (answer.status_code, "cannot be reached" in answer.text) == (503, True)


async def test_interest_ends_by_itself(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq", "branch", api={"interest": 0.05}) as (hq, branch):
        hq.feed(answered_call("c1")[:7])
        await branch.http.get("/calls/c1?owner=hq")
        await until(lambda: not branch.server.store.get("c1").clients)
        await until(lambda: branch.server.store.get("c1").settled)
        # What it has is old now; who asks again gets what is new.
        await hq.http.patch("/calls/c1", json={"account": "4711"})
        call = (await branch.http.get("/calls/c1")).json()
        assert call["properties"]["account"]["value"] == "4711"
