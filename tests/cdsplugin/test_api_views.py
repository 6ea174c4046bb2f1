"""What a switch tells of itself, and a call's messages, over the API of its process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api_sites import sites

from cdsplugin.api.views import _form
from softswitch.lab.ports import free_port
from tests.console.running_site import Site
from tests.switch_process import PATIENCE, answered

TOKEN = "0123456789abcdef-reader"


class Served(Site):
    """A switch with an API."""

    def __init__(self, folder: Path) -> None:
        self.api_port = free_port()
        super().__init__(folder)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.api_port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )

    def more(self) -> str:
        return (
            "cds:\n  listen: tcp:127.0.0.1:0\n  database: hq.db\n  linger: 0.1\n"
            f'  api: {{listen: "127.0.0.1:{self.api_port}", '
            f"tokens: [{{token: {TOKEN}, role: read, name: eye}}]}}\n"
        )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.http.close()
    served.close()


def test_how_it_is_and_what_was_said(served: Served) -> None:
    port = served.switch.port
    sip, tag = answered(port, served.caller, served.callee)
    told = served.http.get("/switch/status").json()
    assert told["switch"]["name"] == "hq"
    (call,) = told["calls"]
    call_id = call["call_id"]
    only = served.http.get("/switch/status", params={"section": ["counters"], "rows": 0}).json()
    assert set(only) == {"totals", "counters"}
    assert served.http.get("/switch/status", params={"section": "x"}).status_code == 404
    assert httpx.get(f"{served.http.base_url}/switch/status").status_code == 401

    served.caller.request("BYE", port, tag, sip)
    served.callee.reply(served.callee.get("BYE"), 200)
    served.caller.get("SIP/2.0 200")
    deadline = time.monotonic() + PATIENCE
    while served.http.get("/switch/status").json()["calls"]:
        assert time.monotonic() < deadline
    url = f"/calls/{call_id}/trace"
    story = served.http.get(url).json()
    assert story["call_id"] == call_id
    assert set(story["parties"].values()) == {"trunk:caller", "trunk:callee"}
    assert story["messages"][0]["data"].startswith("INVITE sip:1@127.0.0.1")
    assert story["messages"][0]["summary"] == "INVITE SDP"
    by_sip = served.http.get(f"/calls/{sip}/trace").json()
    assert by_sip["messages"] == story["messages"]
    text = served.http.get(url, headers={"Accept": "text/plain"}, params={"bodies": True})
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith(f"call {call_id} at hq: ")
    assert "m=audio 40000" in text.text
    picture = served.http.get(url, headers={"Accept": "text/html;q=0.1, image/svg+xml"})
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.text.startswith("<svg ")
    capture = served.http.get(url, params={"format": "pcap"})
    assert capture.content[:4] == b"\xa1\xb2\xc3\xd4"
    assert "call.pcap" in capture.headers["content-disposition"]
    assert served.http.get(url, headers={"Accept": "text/html"}).status_code == 406
    nothing = served.http.get("/calls/nobody@nowhere/trace")
    assert (nothing.status_code, nothing.json()["detail"]) == (
        404,
        "no message of nobody@nowhere is kept",
    )
    spec = served.http.get("/openapi.json").json()["paths"]
    assert "image/svg+xml" in spec["/calls/{call_id}/trace"]["get"]["responses"]["200"]["content"]


async def test_a_server_without_a_switch(tmp_path: Path) -> None:
    async with sites(tmp_path, "hq") as (hq,):
        for path in ("/switch/status", "/calls/x/trace"):
            answer = await hq.reader.get(path)
            assert answer.status_code == 503
            assert answer.json()["detail"] == "there is no switch in this process"


@pytest.mark.parametrize(
    ("accept", "form"),
    [("", "json"), ("*/*", "json"), ("image/*", "svg"), ("TEXT/PLAIN; q=1", "text")],
)
def test_what_is_taken(accept: str, form: str) -> None:
    assert _form(accept) == form
