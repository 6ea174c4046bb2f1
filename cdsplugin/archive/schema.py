"""The tables of the CDR database, and the statements that write them.

``docs/records.md`` explains each column to the people who query the file. CallIDs sort by time, so
that new rows are appended to the tables and to the indexes of their primary keys, the only ones.
The tables have rowids, though half as many pages would be touched without: sqlite-utils (which
admins are told to use) cannot transform tables without, nor search their texts.

Every statement is an upsert that merges: whoever writes a call's row, and however often, there is
one, and what is known is not replaced by what is not (NULL).
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from cdsplugin.archive.rows import Cdr, LegRow, LogRow, PropertyRow, TalkRow

migrations = Migrations("cdsplugin")

CDR_COLUMNS = Cdr.__struct_fields__
LEG_COLUMNS = LegRow.__struct_fields__
TALK_COLUMNS = TalkRow.__struct_fields__
PROPERTY_COLUMNS = PropertyRow.__struct_fields__
LOG_COLUMNS = LogRow.__struct_fields__


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


CDRS = """
        CREATE TABLE cdrs (
            call_id TEXT PRIMARY KEY NOT NULL, owner TEXT, written_by TEXT, switch TEXT, site TEXT,
            caller TEXT, caller_name TEXT, dialled TEXT, callee TEXT,
            caller_party TEXT, callee_party TEXT,
            answered_party TEXT, answered_number TEXT, answered_switch TEXT, answered_site TEXT,
            outgoing_trunk TEXT, parties TEXT,
            started_at TEXT, answered_at TEXT, ended_at TEXT, duration REAL, billsec REAL,
            disposition TEXT, sip_status INTEGER, reason TEXT, hangup_by TEXT,
            final INTEGER NOT NULL DEFAULT 0
        )"""
CHILDREN = ("cdr_legs", "cdr_talks", "cdr_properties", "cdr_logs")


@migrations()
def m003_rowids_and_ends(db: Database) -> None:
    """The tables with rowids; who really answered, and the talks."""
    for table in ("cdrs", "cdr_legs", "cdr_properties", "cdr_logs"):
        old = f"{table}_without_rowid"
        db.execute(f"ALTER TABLE {table} RENAME TO {old}")
        if table == "cdrs":
            db.execute(CDRS)
        else:
            found = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", [old]).fetchone()[0]
            made = found.replace(f'"{old}"', table).replace("WITHOUT ROWID", "")
            db.execute(made)
        columns = ", ".join(column.name for column in db.table(old).columns)
        db.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {old}")
        db.execute(f"DROP TABLE {old}")
    db.execute(
        """
        CREATE TABLE cdr_talks (
            call_id TEXT NOT NULL, talk INTEGER NOT NULL, switch TEXT NOT NULL,
            from_party TEXT, from_number TEXT, to_party TEXT, to_number TEXT,
            began_at TEXT, ended_at TEXT, how TEXT NOT NULL, by TEXT,
            PRIMARY KEY (call_id, switch, talk)
        )"""
    )


@migrations()
def m004_once(db: Database) -> None:
    """Which properties were only to be set where there was none."""
    db.execute("ALTER TABLE cdr_properties ADD COLUMN once INTEGER NOT NULL DEFAULT 0")


@migrations()
def m005_talks(db: Database) -> None:
    """Into which call one went on; what brought a leg about, how it came here and where it led."""
    db.execute("ALTER TABLE cdrs ADD COLUMN merged_into TEXT")
    for column in ("caller", "by", "came", "was", "referred_to"):
        db.execute(f"ALTER TABLE cdr_legs ADD COLUMN {column} TEXT")
    for column in ("between_switches", "incoming"):
        db.execute(f"ALTER TABLE cdr_legs ADD COLUMN {column} INTEGER")


def keep_removal(db: Database) -> None:
    """Whoever deletes a record deletes what belongs to it. Made at each start: a table that
    somebody has transformed has lost its trigger."""
    deletes = " ".join(f"DELETE FROM {child} WHERE call_id = old.call_id;" for child in CHILDREN)
    db.execute("DROP TRIGGER IF EXISTS cdrs_removed")
    db.execute(f"CREATE TRIGGER cdrs_removed AFTER DELETE ON cdrs BEGIN {deletes} END")


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


ENDS = ("answered_party", "answered_number", "answered_switch", "answered_site", "outgoing_trunk")
"""Of one row together: who really answered, as far as it is known."""


def _on_the_way(row: str) -> str:
    """Whether a row's true end is only the last switch on the way that was known: a trunk to
    another switch, by which no call leaves."""
    return f"({row}.answered_party LIKE 'trunk:%' AND {row}.outgoing_trunk IS NULL)"


_ENDS_STAY = (
    "excluded.answered_party IS NULL OR cdrs.answered_party IS NOT NULL"
    f" AND {_on_the_way('excluded')} AND NOT {_on_the_way('cdrs')}"
)
"""The call as a whole, but without what a switch behind ours has told meanwhile."""

_ENDS_COME = (
    f"cdrs.answered_party IS NULL OR {_on_the_way('cdrs')}"
    " AND excluded.answered_party IS NOT NULL AND excluded.answered_switch IS NOT cdrs.switch"
)
"""A part of the call that goes on where the row's end is."""


def _parties(nearer: str, farther: str) -> str:
    """All who talked: those of one row, with the true end of the other in the place of its own."""
    return (
        f"CASE WHEN {nearer}.answered_party IS NULL OR {nearer}.parties IS NULL"
        f" THEN {farther}.parties ELSE replace({nearer}.parties,"
        f" json_quote({nearer}.answered_party), json_quote({farther}.answered_party)) END"
    )


def _upsert_cdr(first: str, second: str, ends: str, parties: str) -> str:
    """``ends`` is the value of a column of ``ENDS``."""
    parts = [
        f"{c} = coalesce({first}.{c}, {second}.{c})"
        for c in CDR_COLUMNS
        if c not in ("call_id", "final", "parties", *ENDS)
    ]
    parts += [f"{c} = {ends.format(c=c)}" for c in ENDS]
    parts += [f"parties = {parties}", "final = max(cdrs.final, excluded.final)"]
    return _insert("cdrs", CDR_COLUMNS) + " ON CONFLICT (call_id) DO UPDATE SET " + ", ".join(parts)


WRITE_CDR = _upsert_cdr(
    "excluded",
    "cdrs",
    f"CASE WHEN {_ENDS_STAY} THEN cdrs.{{c}} ELSE excluded.{{c}} END",
    f"CASE WHEN {_ENDS_STAY} THEN {_parties('excluded', 'cdrs')} ELSE excluded.parties END",
)
"""The record as its originating switch told it: replaces what is there."""

FILL_CDR = _upsert_cdr(
    "cdrs",
    "excluded",
    f"CASE WHEN {_ENDS_COME} THEN excluded.{{c}} ELSE cdrs.{{c}} END",
    f"CASE WHEN {_ENDS_COME} THEN {_parties('cdrs', 'excluded')} ELSE cdrs.parties END",
)
"""A record pieced together from the legs: only fills in what is not there, and goes on where the
row's true end is a switch that had not told its part."""

JOIN_TALKS = (
    "UPDATE cdr_talks SET (to_party, to_number) = (SELECT answered_party, answered_number"
    " FROM cdrs WHERE cdrs.call_id = cdr_talks.call_id)"
    " WHERE switch = (SELECT switch FROM cdrs WHERE cdrs.call_id = cdr_talks.call_id)"
    " AND call_id IN (?)"
)
"""After ``FILL_CDR``: the talk ends where the row does."""

PART_TALKS = (
    "DELETE FROM cdr_talks WHERE switch <>"
    " (SELECT switch FROM cdrs WHERE cdrs.call_id = cdr_talks.call_id) AND call_id IN (?)"
)
"""After ``FILL_CDR``: what a later switch took for the talk is a part of the first one's."""

WRITE_TALK = (
    _insert("cdr_talks", TALK_COLUMNS)
    + " ON CONFLICT (call_id, switch, talk) DO UPDATE SET "
    + ", ".join(f"{c} = coalesce(excluded.{c}, cdr_talks.{c})" for c in TALK_COLUMNS[3:])
    + " WHERE NOT EXISTS (SELECT 1 FROM cdr_properties p"
    + " WHERE p.call_id = excluded.call_id AND (p.name GLOB 'talk/*' OR p.name GLOB 'merged/*'))"
)
"""Who knows of one talk alone does not replace those of a call that had more (``COMPOSE``)."""

COMPOSE = "compose the talks of (call_id)"
"""No statement: ``composing`` does it. Under this name it waits like the rows of those."""

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


def _lacks(entry: str, table: str) -> str:
    """Whether something of a record was not handed over."""
    return (
        f"EXISTS (SELECT 1 FROM {table} WHERE {table}.call_id = handed.call_id"
        f" AND {entry} NOT IN (SELECT value FROM json_each(handed.entries)))"
    )


REMOVE = (
    "WITH handed (call_id, entries) AS ( VALUES (?, ?)) DELETE FROM cdrs WHERE call_id IN"
    " (SELECT call_id FROM handed WHERE entries IS NULL OR NOT ("
    + " OR ".join(
        (
            _lacks("'leg/' || switch || '/' || leg", "cdr_legs"),
            _lacks("name", "cdr_properties"),
            _lacks("author || ' ' || text", "cdr_logs"),
        )
    )
    + "))"
)


_NARROW, _WITH_ENDS = 21, 27
_SHORT_LEG = 19


def widened(statement: str, row: tuple[object, ...]) -> tuple[object, ...]:
    """A row that an earlier version has put aside, with the columns that there are now."""
    if statement in (WRITE_CDR, FILL_CDR) and len(row) == _NARROW:
        # Of before m003, which put the true ends behind ``callee_party``.
        at = CDR_COLUMNS.index("answered_party")
        row = row[:at] + (None,) * (_WITH_ENDS - _NARROW) + row[at:]
    if statement in (WRITE_CDR, FILL_CDR) and len(row) == _WITH_ENDS:
        return (*row, None)  # of before m005
    if statement == WRITE_LEG and len(row) == _SHORT_LEG:
        return row + (None,) * (len(LEG_COLUMNS) - _SHORT_LEG)
    if statement == REMOVE and len(row) == 1:
        return (*row, None)
    if statement == WRITE_PROPERTY and len(row) == len(PROPERTY_COLUMNS) - 1:
        return (*row, 0)  # of before m004
    return row


def _of_live(table: str, columns: tuple[str, ...]) -> str:
    live = "SELECT call_id FROM cdrs WHERE NOT final"
    return f"SELECT {', '.join(columns)} FROM {table} WHERE call_id IN ({live})"


LIVE = {
    "cdrs": _of_live("cdrs", CDR_COLUMNS),
    "talks": _of_live("cdr_talks", TALK_COLUMNS),
    "legs": _of_live("cdr_legs", LEG_COLUMNS),
    "properties": _of_live("cdr_properties", PROPERTY_COLUMNS),
    "logs": _of_live("cdr_logs", LOG_COLUMNS),
}
"""All rows of the calls whose record is not final yet."""


JOURNAL_VERSION = 1

JOURNAL = "CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, records BLOB NOT NULL)"
"""The only table of the journal's file: one row for each commit (``journal_file``)."""


def for_rows(statement: str, count: int) -> str:
    """One of these statements for ``count`` rows at once: takes their values one after the
    other."""
    if statement in (FINISH, JOIN_TALKS, PART_TALKS):
        return statement.replace("?", ", ".join("?" * count))
    before, _, after = statement.partition(" VALUES (")
    marks, _, rest = after.partition(")")
    return f"{before} VALUES {', '.join([f'({marks})'] * count)}{rest}"
