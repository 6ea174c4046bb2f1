"""The API over real HTTP."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import httpx
import pytest
from cds_calls import answered_call, busy_call

from cdsplugin.api import Api
from cdsplugin.config import Address, ApiSection, CdsSection
from cdsplugin.server import CallDataServer
from cdsplugin.tms.tms import Tms


class Site:
    def __init__(self, folder: Path) -> None:
        api = ApiSection(
            listen=Address("127.0.0.1", 0), tokens=("secret-one", "secret-two"), page=50
        )
        self.server = CallDataServer(
            "hq", CdsSection(database=folder / "hq.db", commit_interval=0.002, api=api)
        )

    async def start(self) -> None:
        await self.server.start()
        assert self.server.section.api is not None
        self.api = Api(self.server, self.server.section.api)
        self.port = await self.api.start()
        self.tms = Tms(self.server.store, self.server.clock)
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": "Bearer secret-two"},
        )

    def feed(self, events: list) -> None:
        for event in events:
            self.tms.event(event)

    async def committed(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.server.archive.flush)


@pytest.fixture
async def site(tmp_path: Path):
    site = Site(tmp_path)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    await site.start()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    yield site
    await site.http.aclose()
    await site.api.stop()
    await site.server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", site.port)


@pytest.mark.parametrize("path", ["/calls", "/calls/c1", "/cdrs", "/cdrs/c1", "/metrics"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic secret-one"},
        {"Authorization": "secret-one"},
    ],
)
async def test_without_a_token_nothing_is_told(site: Site, path: str, headers: dict) -> None:
    async with httpx.AsyncClient(base_url=site.http.base_url) as stranger:
        answer = await stranger.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_health_is_open(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.http.base_url) as stranger:
        answer = await stranger.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"server": "hq", "status": "ok", "database": "ok", "servers_down": 0}
    site.server.archive.trouble = "database is locked"
    answer = await site.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "trouble")


async def test_live_calls(site: Site) -> None:
    site.feed(answered_call("c1")[:7])
    site.feed(busy_call("c2"))
    (first, second) = (await site.http.get("/calls")).json()["calls"]
    assert first == {
        "call_id": "c1",
        "owner": "hq",
        "state": "live",
        "caller": "1001",
        "dialled": "2001",
        "callee": "2001",
        "started_at": "2027-01-15T08:00:00.000000Z",
        "answered_at": "2027-01-15T08:00:03.000000Z",
        "entries": 6,
    }
    assert (second["call_id"], second["state"], second["callee"]) == ("c2", "lingering", None)


async def test_pages_of_live_calls(site: Site) -> None:
    for n in range(5):
        site.feed(answered_call(f"c{n}")[:1])
    seen, after = [], ""
    for count in (2, 2, 1):
        page = (await site.http.get("/calls", params={"limit": 2, "after": after})).json()
        assert page["count"] == 5
        assert len(page["calls"]) == count
        seen += [call["call_id"] for call in page["calls"]]
        after = page["next"]
    assert after is None
    assert seen == [f"c{n}" for n in range(5)]
    assert len((await site.http.get("/calls?limit=51")).json()["calls"]) == 5
    for query, count in (
        ("caller=1001", 5), ("caller=1002", 0), ("dialled=2001&owner=hq", 5), ("callee=2001", 0),
        ("state=live&switch=hq", 5), ("state=lingering", 0), ("owner=branch", 0),
    ):  # fmt: skip
        assert len((await site.http.get(f"/calls?{query}")).json()["calls"]) == count, query
    assert (await site.http.get("/calls?state=dead")).status_code == 422
    assert (await site.http.get("/calls?limit=0")).status_code == 422


async def test_one_live_call(site: Site) -> None:
    site.feed(answered_call("c1")[:7])
    site.server.store.write(None, "c1", "crm", {"tags": ["a", 1]}, ["a note"])
    call = (await site.http.get("/calls/c1")).json()
    assert (call["owner"], call["state"], call["participants"]) == ("hq", "live", [])
    assert call["registration"] == ""
    assert call["properties"]["call"]["value"]["caller"] == "1001"
    assert call["properties"]["call"]["author"] == "hq"
    assert call["properties"]["tags"]["value"] == ["a", 1]
    assert [(line["author"], line["text"]) for line in call["logs"]] == [("crm", "a note")]
    assert call["logs"][0]["logged_at"].endswith("Z")
    assert (await site.http.get("/calls/none")).status_code == 404


async def test_records(site: Site) -> None:
    for n in range(3):
        site.feed(answered_call(f"c{n}"))
    site.feed(busy_call("c3"))
    await site.committed()
    page = (await site.http.get("/cdrs?limit=3")).json()
    assert [row["call_id"] for row in page["cdrs"]] == ["c3", "c2", "c1"]
    rest = (await site.http.get("/cdrs", params={"limit": 3, "before": page["next"]})).json()
    assert [row["call_id"] for row in rest["cdrs"]] == ["c0"]
    assert rest["next"] is None
    busy = (await site.http.get("/cdrs?disposition=busy")).json()["cdrs"]
    assert [row["call_id"] for row in busy] == ["c3"]
    outbound = (await site.http.get("/cdrs?account=outbound&caller=1001")).json()["cdrs"]
    assert len(outbound) == 3
    day = "2027-01-15"
    for query, count in (
        (f"since={day}", 4), (f"until={day}", 0), (f"since={day}T08:00:00.5Z", 0),
        (f"since={day} 08:00:00&until=2027-01-16", 4),
    ):  # fmt: skip
        assert len((await site.http.get(f"/cdrs?{query}")).json()["cdrs"]) == count, query
    assert (await site.http.get("/cdrs?since=yesterday")).status_code == 422
    one = (await site.http.get("/cdrs/c0")).json()
    assert (one["disposition"], len(one["legs"])) == ("answered", 2)
    assert (await site.http.get("/cdrs/none")).status_code == 404


async def test_an_archive_that_cannot_be_read(site: Site) -> None:
    site.server.archive.path.unlink()
    assert (await site.http.get("/cdrs")).status_code == 503


async def test_metrics(site: Site) -> None:
    site.feed(answered_call("c1"))
    await site.committed()
    text = (await site.http.get("/metrics")).text
    assert "cds_calls 1.0" in text
    assert "cds_records_total 1.0" in text
    assert "cds_archive_rows_total 6.0" in text
    assert "python_info" in text, "what others registered with the library, a switch for one"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_pages_for_people_need_no_internet(site: Site, page: str) -> None:
    text = (await site.http.get(page)).text
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert len(links) >= 2
    for link in links:
        assert not link.startswith(("http:", "https:", "//")), link
        found = await site.http.get(link)
        assert (found.status_code, len(found.content) > 1000) == (200, True), link


async def test_the_openapi_page(site: Site) -> None:
    paths = (await site.http.get("/openapi.json")).json()["paths"]
    assert set(paths) == {
        "/calls",
        "/calls/{call_id}",
        "/calls/{call_id}/events",
        "/calls/{call_id}/log",
        "/calls/{call_id}/recording",
        "/calls/{call_id}/trace",
        "/cdrs",
        "/cdrs/{call_id}",
        "/events",
        "/extensions/{number}/agent",
        "/extensions/{number}/dnd",
        "/extensions/{number}/follow",
        "/extensions/{number}/forward",
        "/extensions/{number}/mailbox",
        "/health",
        "/metrics",
        "/switch/status",
    }
