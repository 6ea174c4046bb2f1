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
from pathlib import Path
from typing import Any

from rich.table import Table

from softswitch.lab.children import LabError
from softswitch.lab.sites import Site

HTTP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class CallView:
    """A call's data as one server tells it: its entries, and who has them.

    ``entries`` has one key per property (its name) and one per log line (its stamp and author);
    the values hold all that the server says of the entry, as text.
    """

    call_id: str
    owner: str
    participants: tuple[str, ...]
    entries: Mapping[str, str]


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
    """The callIDs of the site's live calls."""
    answer = fetch(site, "/calls")
    calls = answer.get("calls", []) if isinstance(answer, dict) else answer or []
    return [call["call_id"] if isinstance(call, dict) else str(call) for call in calls]


def view(site: Site, call_id: str) -> CallView | None:
    """The call as the site's server has it; None if it has it not."""
    answer = fetch(site, f"/calls/{call_id}")
    return None if answer is None else read_view(answer)


def read_view(answer: Mapping[str, Any]) -> CallView:
    """A call from the API's JSON."""
    said = answer.get("properties") or {}
    named = said.items() if isinstance(said, dict) else [(p["name"], p) for p in said]
    entries = {name: _text(value) for name, value in sorted(named)}
    for line in answer.get("logs") or []:
        key = " ".join(str(line[k]) for k in ("at", "stamp", "author") if k in line)
        entries[f"log {key}"] = _text({k: v for k, v in line.items() if k == "text"} or line)
    return CallView(
        call_id=answer["call_id"],
        owner=str(answer.get("owner", "")),
        participants=tuple(
            p["name"] if isinstance(p, dict) else str(p) for p in answer.get("participants") or []
        ),
        entries=entries,
    )


def _text(value: Any) -> str:
    """An entry's content: the value with its stamp and author: equal is the same entry."""
    if isinstance(value, dict) and "value" in value:
        rest = ", ".join(str(value[k]) for k in ("at", "stamp", "author") if k in value)
        return f"{_plain(value['value'])}" + (f"  ({rest})" if rest else "")
    if isinstance(value, dict) and set(value) == {"text"}:
        return str(value["text"])
    return _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


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
    table = Table(title=title, title_justify="left", show_lines=False)
    table.add_column("entry", no_wrap=True)
    for site in sites:
        table.add_column(f"server {site.name}", overflow="fold")
    for name in sorted({name for v in shown for name in v.entries}):
        table.add_row(name, *("" if v is None else v.entries.get(name, "-") for v in views))
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
