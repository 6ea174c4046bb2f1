"""What the lab reads: a server's API over real HTTP, and records from real SQLite files."""

from __future__ import annotations

import io
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from softswitch.lab.children import LabError
from softswitch.lab.ports import free_port
from softswitch.lab.sites import Site
from softswitch.lab.watch import (
    Entry,
    differences,
    fetch,
    live_calls,
    read_view,
    rows,
    side_by_side,
    view,
)

CALL = {
    "call_id": "0199c0de",
    "owner": "hq",
    "participants": ["branch"],
    "properties": {
        "caller": {"value": "1001", "set_at": "2026-11-23T01:02:03.000005Z", "author": "hq"}
    },
    "logs": [{"logged_at": "2026-11-23T01:02:04Z", "author": "branch", "text": "rang"}],
}


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.headers["Authorization"] != "Bearer right":
            self.send_error(401)
        elif self.path == "/calls":
            states = (("0199c0de", "live"), ("0199c0dd", "lingering"))
            self.answer({"calls": [{"call_id": i, "state": state} for i, state in states]})
        elif self.path == "/calls/0199c0de":
            self.answer(CALL)
        else:
            self.send_error(404)

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def site(api: str, token: str = "right") -> Site:
    return Site("hq", Path("x"), (), "127.0.0.1:5060", api, token, Path("hq.db"), {})


@pytest.fixture
def api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_calls_and_their_data(api: str) -> None:
    assert live_calls(site(api)) == ["0199c0de"]
    seen = view(site(api), "0199c0de")
    assert seen is not None
    assert (seen.owner, seen.participants) == ("hq", ("branch",))
    assert seen.entries == {
        "caller": Entry("1001", "2026-11-23T01:02:03.000005Z", "hq"),
        "log 2026-11-23T01:02:04Z branch": Entry("rang", "2026-11-23T01:02:04Z", "branch"),
    }
    assert view(site(api), "other") is None


def test_refused_and_unreachable_are_one_line(api: str) -> None:
    with pytest.raises(LabError, match="hq: GET /calls: 401 Unauthorized"):
        fetch(site(api, "wrong"), "/calls")
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(LabError, match="Connection refused"):
        fetch(site(nobody), "/calls")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("properties", {}, "caller: 1001  (hq, 01:02:03.000005Z) / missing"),
        (
            "properties",
            {"caller": {"value": "1001", "set_at": "2026-11-23T01:02:03.000006Z", "author": "hq"}},
            "(hq, 01:02:03.000006Z)",
        ),
        ("logs", [], "branch: rang  (branch, 01:02:04Z) / missing"),
        (
            "logs",
            [{"logged_at": "2026-11-23T01:02:04Z", "author": "branch", "text": "fell"}],
            "/ fell",
        ),
        ("owner", "branch", "owner: hq / branch"),
    ],
)
def test_every_difference_is_seen(key: str, value: object, said: str) -> None:
    one = read_view(CALL)
    assert differences(one, one) == []
    assert any(said in line for line in differences(one, read_view({**CALL, key: value})))


def test_both_servers_side_by_side() -> None:
    table = side_by_side([site("a"), site("b")], [read_view(CALL), None])
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    text = console.export_text()
    assert "call 0199c0de, owned by hq" in text
    assert "caller" in text
    assert "1001" in text


def test_records_of_a_database_being_written(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    assert rows(path) == []
    with sqlite3.connect(path) as connection:
        connection.execute("pragma journal_mode=wal")
        assert rows(path) == []
        connection.execute("create table cdrs (call_id text primary key, disposition text)")
        connection.execute("insert into cdrs values ('a', 'answered')")
        connection.commit()
        assert rows(path) == [{"call_id": "a", "disposition": "answered"}]
    connection.close()


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hq.db"
    path.write_text("this is no database, however long one looks at it" * 100)
    with pytest.raises(LabError, match=r"hq\.db: file is not a database"):
        rows(path)
