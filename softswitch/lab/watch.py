"""What the lab looks at: the live call data of both servers, and the records in their databases.

The data comes from each server's API over HTTP, the records from the SQLite files, as any other
application would get them.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from softswitch.lab.children import LabError
from softswitch.lab.sites import Site

HTTP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A property or a log line. ``at`` is when it was made: ISO 8601, UTC, the owner's time."""

    text: str
    at: str | None
    author: str

    def __str__(self) -> str:
        return f"{self.text}  ({self.author}, {(self.at or '').partition('T')[2]})"


@dataclass(frozen=True, slots=True)
class CallView:
    """A call's data as one server tells it: its entries, and who takes part.

    ``entries`` has one key per property (its name) and one per log line (its time and author).
    """

    call_id: str
    owner: str
    participants: tuple[str, ...]
    entries: Mapping[str, Entry]


def fetch(site: Site, path: str) -> Any:
    """The JSON under ``path`` of the site's API; None for 404. LabError if there is no answer."""
    request = urllib.request.Request(
        f"http://{site.api}{path}", headers={"Authorization": f"Bearer {site.token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise LabError(f"{site.name}: GET {path}: {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise LabError(f"{site.name}: GET http://{site.api}{path}: {reason}") from None


def live_calls(site: Site) -> list[str]:
    """The callIDs of the calls that are up at the site, without those that linger."""
    answer = fetch(site, "/calls") or {"calls": []}
    return [call["call_id"] for call in answer["calls"] if call["state"] == "live"]


def view(site: Site, call_id: str) -> CallView | None:
    """The call as the site's server has it; None if it has it not."""
    answer = fetch(site, f"/calls/{call_id}")
    return None if answer is None else read_view(answer)


def read_view(answer: Mapping[str, Any]) -> CallView:
    """A call from the API's JSON."""
    entries = {
        name: Entry(_plain(said["value"]), said["set_at"], said["author"])
        for name, said in sorted(answer["properties"].items())
    }
    for line in answer["logs"]:
        at, author = line["logged_at"], line["author"]
        entries[f"log {at} {author}"] = Entry(line["text"], at, author)
    return CallView(answer["call_id"], answer["owner"], tuple(answer["participants"]), entries)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _shown(name: str, entry: Entry | None) -> str:
    """An entry for people: what it says, one line for each part; times as times."""
    if entry is None:
        return "-"
    try:
        value = json.loads(entry.text)
    except ValueError:
        return entry.text
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_shown_scalar(key, part)}" for key, part in value.items())
    return _shown_scalar(name, value) if isinstance(value, int | float) else entry.text


def _shown_scalar(name: str, value: Any) -> str:
    if name.endswith("_at") and isinstance(value, int):  # microseconds since 1970
        moment = datetime.fromtimestamp(value / 1e6, UTC)
        return f"{moment:%H:%M:%S.%f}"[:-3] + " UTC"
    return str(value)


def differences(one: CallView, other: CallView) -> list[str]:
    """In words, every entry that is not the same in both; empty when they are equal."""
    found = []
    for name in sorted(one.entries.keys() | other.entries.keys()):
        here, there = one.entries.get(name), other.entries.get(name)
        if here != there:
            found.append(f"{name}: {here or 'missing'} / {there or 'missing'}")
    if one.owner != other.owner:
        found.append(f"owner: {one.owner} / {other.owner}")
    return found


def side_by_side(sites: Sequence[Site], views: Sequence[CallView | None]) -> Table:
    """One row an entry, one column a server."""
    shown = [v for v in views if v is not None]
    title = f"call {shown[0].call_id}, owned by {shown[0].owner}" if shown else "no call"
    table = Table(title=title, title_justify="left")
    table.add_column("entry", no_wrap=True)
    for site in sites:
        table.add_column(f"server {site.name}", overflow="fold")
    for name in sorted({name for v in shown for name in v.entries}):
        table.add_row(
            name, *("" if v is None else _shown(name, v.entries.get(name)) for v in views)
        )
    return table


def rows(database: Path) -> list[dict[str, Any]]:
    """All of a database's call detail records; none if it has no such table or is not there."""
    if not database.exists():
        return []
    connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        connection.row_factory = sqlite3.Row
        exists = connection.execute("select 1 from sqlite_master where name = 'cdrs'").fetchone()
        return [dict(row) for row in connection.execute("select * from cdrs")] if exists else []
    except sqlite3.Error as error:
        raise LabError(f"{database}: {error}") from None
    finally:
        connection.close()


def record_table(database: Path, row: Mapping[str, Any]) -> Table:
    """A record, one row a column."""
    table = Table(title=f"the record in {database}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in row.items():
        if value not in (None, ""):
            table.add_row(name, str(value))
    return table
