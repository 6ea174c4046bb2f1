"""Reading the CDR database, for the API, the commands and the reports. Read-only, any process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_utils import Database

from cdsplugin.archive.ends import Leg
from cdsplugin.archive.rows import Place

FILTERS = ("caller", "callee", "dialled", "disposition", "switch", "owner", "account")
"""What records can be chosen by; ``account`` is a property, the others are columns."""


class ReadError(Exception):
    """The database cannot be read. The text says which and why."""


@contextmanager
def reading_records(path: Path) -> Iterator[Database]:
    """The database, read-only. Raises ``ReadError``."""
    if not path.is_file():
        raise ReadError(f"there is no database {path}")
    conn: sqlite3.Connection | None = None
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        conn = sqlite3.connect(uri, uri=True, timeout=5.0)
        db = Database(conn, execute_plugins=False)
        if not db["cdrs"].exists():
            raise ReadError(f"{path} holds no call detail records (no table `cdrs`)")
        yield db
    except sqlite3.Error as error:
        raise ReadError(f"cannot read {path}: {error}") from error
    finally:
        if conn is not None:
            conn.close()


def read_records(
    db: Database,
    limit: int,
    before: str | None = None,
    chosen: Mapping[str, str] | None = None,
    since: str | None = None,
    until: str | None = None,
) -> list[dict[str, Any]]:
    """Records, the newest first, from the one before the callID ``before`` on.

    ``since`` and ``until`` (excluded) are ISO 8601 days or times in UTC, of the calls' start.
    """
    terms: list[str] = []
    values: list[object] = []
    if before is not None:
        terms.append("call_id < ?")
        values.append(before)
    for compared, when in ((">=", since), ("<", until)):
        if when is not None:
            terms.append(f"started_at {compared} ?")
            values.append(when.replace(" ", "T"))
    for name, value in (chosen or {}).items():
        if name == "account":
            terms.append(
                "EXISTS (SELECT 1 FROM cdr_properties p"
                " WHERE p.call_id = cdrs.call_id AND p.name = 'account' AND p.value = ?)"
            )
        elif name in FILTERS:
            terms.append(f"{name} = ?")
        else:
            raise ValueError(name)
        values.append(value)
    where = " AND ".join(terms) or None
    return list(db.table("cdrs").rows_where(where, values, order_by="call_id DESC", limit=limit))


def read_record(db: Database, call_id: str) -> dict[str, Any] | None:
    """A record with its ``talks``, ``legs``, ``properties`` and ``logs``; None if there is none."""
    rows = list(db.table("cdrs").rows_where("call_id = ?", [call_id]))
    if not rows:
        return None

    def those(table: str, order: str) -> list[dict[str, Any]]:
        found = list(db.table(table).rows_where("call_id = ?", [call_id], order_by=order))
        for row in found:
            del row["call_id"]
        return found

    properties = those("cdr_properties", "name")
    for row in properties:
        row["value"] = _value(row["value"])
        row.pop("once", None)  # of use to who merges rows; a file may be older than this column
    return {
        **rows[0],
        "parties": _value(rows[0].get("parties")),
        "talks": those("cdr_talks", "began_at, switch, talk"),
        "legs": those("cdr_legs", "switch, leg"),
        "properties": properties,
        "logs": those("cdr_logs", "logged_at, author"),
    }


_LEG = (
    "direction", "party", "callee", "invited_at", "answered_at", "ended_at", "sip_call_id",
    "caller", "by", "between_switches", "incoming", "came", "was",
)  # fmt: skip
_LEGS = f"SELECT switch, leg, {', '.join(_LEG)} FROM cdr_legs WHERE call_id = ?"


def read_legs(db: Database | sqlite3.Connection, call_id: str) -> dict[Place, Leg]:
    """The legs of a call, with what is known of each; times as texts. Raises sqlite3.Error."""
    legs: dict[Place, Leg] = {}
    for switch, number, *values in db.execute(_LEGS, [call_id]):
        told = zip(_LEG, values, strict=True)
        legs[switch, number] = {key: value for key, value in told if value is not None}
    return legs


def _value(value: Any) -> Any:
    """Lists and mappings are kept as JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
