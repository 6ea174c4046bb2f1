"""The tables of the CDR database, and the statements that write them.

``docs/records.md`` explains each column to the people who query the file. The tables have no rowid:
their rows are kept in the order of ``call_id``, and callIDs sort by time, so that new rows are
appended and no second index has to be kept up to date. That is also why there is no index but the
primary keys.

Every statement is an upsert that merges: whoever writes a call's row, and however often, there is
one, and what is known is not replaced by what is not (NULL).
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from cdsplugin.archive.rows import Cdr, LegRow, LogRow, PropertyRow

migrations = Migrations("cdsplugin")

CDR_COLUMNS = Cdr._fields
LEG_COLUMNS = LegRow._fields
PROPERTY_COLUMNS = PropertyRow._fields
LOG_COLUMNS = LogRow._fields


@migrations()
def m001_tables(db: Database) -> None:
    """The four tables."""
    db.execute(
        """
        CREATE TABLE cdrs (
            call_id TEXT PRIMARY KEY NOT NULL, owner TEXT, written_by TEXT, switch TEXT, site TEXT,
            caller TEXT, caller_name TEXT, dialled TEXT, callee TEXT,
            caller_party TEXT, callee_party TEXT,
            started_at TEXT, answered_at TEXT, ended_at TEXT, duration REAL, billsec REAL,
            disposition TEXT, sip_status INTEGER, reason TEXT, hangup_by TEXT,
            final INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID"""
    )
    db.execute(
        """
        CREATE TABLE cdr_legs (
            call_id TEXT NOT NULL, switch TEXT NOT NULL, leg INTEGER NOT NULL,
            direction TEXT, party TEXT, callee TEXT, uri TEXT, address TEXT, user_agent TEXT,
            codec TEXT, invited_at TEXT, ringing_at TEXT, answered_at TEXT, ended_at TEXT,
            sip_status INTEGER, reason TEXT, ended_by TEXT, sip_call_id TEXT, set_at TEXT NOT NULL,
            PRIMARY KEY (call_id, switch, leg)
        ) WITHOUT ROWID"""
    )
    # ``value`` has no type: numbers stay numbers; lists and mappings are JSON text.
    db.execute(
        """
        CREATE TABLE cdr_properties (
            call_id TEXT NOT NULL, name TEXT NOT NULL, value, set_at TEXT NOT NULL,
            author TEXT NOT NULL, PRIMARY KEY (call_id, name)
        ) WITHOUT ROWID"""
    )
    db.execute(
        """
        CREATE TABLE cdr_logs (
            call_id TEXT NOT NULL, logged_at TEXT NOT NULL, author TEXT NOT NULL, text TEXT NOT
            NULL, PRIMARY KEY (call_id, logged_at, author)
        ) WITHOUT ROWID"""
    )


@migrations()
def m002_removal(db: Database) -> None:
    """Whoever deletes a record deletes what belongs to it."""
    db.execute(
        """
        CREATE TRIGGER cdrs_removed AFTER DELETE ON cdrs BEGIN
            DELETE FROM cdr_legs WHERE call_id = old.call_id;
            DELETE FROM cdr_properties WHERE call_id = old.call_id;
            DELETE FROM cdr_logs WHERE call_id = old.call_id;
        END"""
    )


@migrations()
def m003_once(db: Database) -> None:
    """Which properties were only to be set where there was none."""
    db.execute("ALTER TABLE cdr_properties ADD COLUMN once INTEGER NOT NULL DEFAULT 0")


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


def _upsert_cdr(first: str, second: str) -> str:
    parts = [
        f"{c} = coalesce({first}.{c}, {second}.{c})"
        for c in CDR_COLUMNS
        if c not in ("call_id", "final")
    ]
    parts.append("final = max(cdrs.final, excluded.final)")
    return _insert("cdrs", CDR_COLUMNS) + " ON CONFLICT (call_id) DO UPDATE SET " + ", ".join(parts)


WRITE_CDR = _upsert_cdr("excluded", "cdrs")
"""The record as its originating switch told it: replaces what is there."""

FILL_CDR = _upsert_cdr("cdrs", "excluded")
"""A record pieced together from the legs: only fills in what is not there."""

WRITE_LEG = (
    _insert("cdr_legs", LEG_COLUMNS)
    + " ON CONFLICT (call_id, switch, leg) DO UPDATE SET "
    + ", ".join(f"{c} = excluded.{c}" for c in LEG_COLUMNS[3:])
    + " WHERE excluded.set_at > cdr_legs.set_at"
)

WRITE_PROPERTY = (
    _insert("cdr_properties", PROPERTY_COLUMNS)
    + " ON CONFLICT (call_id, name) DO UPDATE SET"
    + " value = excluded.value, set_at = excluded.set_at, author = excluded.author,"
    + " once = excluded.once WHERE CASE"
    + " WHEN excluded.once AND cdr_properties.once THEN"
    + " (excluded.once, excluded.set_at, excluded.author)"
    + " < (cdr_properties.once, cdr_properties.set_at, cdr_properties.author)"
    + " WHEN excluded.once OR cdr_properties.once THEN NOT excluded.once"
    + " ELSE (excluded.set_at, excluded.author) > (cdr_properties.set_at, cdr_properties.author)"
    + " END"
)
"""Which of two rows stays is what ``data.entries`` says of two entries."""

WRITE_LOG = _insert("cdr_logs", LOG_COLUMNS) + " ON CONFLICT DO NOTHING"

FINISH = "UPDATE cdrs SET final = 1 WHERE call_id IN (?)"

REMOVE = "DELETE FROM cdrs WHERE call_id IN (?)"


JOURNAL_VERSION = 1

JOURNAL = "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, records BLOB NOT NULL)"
"""The only table of the journal's file: one row for each commit (``journal_file``)."""


def for_rows(statement: str, count: int) -> str:
    """One of these statements for ``count`` rows at once: takes their values one after the
    other."""
    if statement in (FINISH, REMOVE):
        return statement.replace("?", ", ".join("?" * count))
    before, _, after = statement.partition(" VALUES (")
    marks, _, rest = after.partition(")")
    return f"{before} VALUES {', '.join([f'({marks})'] * count)}{rest}"
