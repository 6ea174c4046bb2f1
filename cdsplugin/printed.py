"""Calls and records as people read them in a terminal: in 80 columns, times as times (UTC).

Everything printed here is there for programs too, by ``--json``.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdsplugin.data import shown

_WIDE = 150
"""Columns from which a list is a table."""

Row = Mapping[str, Any]


def print_calls(rows: Sequence[Row]) -> None:
    """A list of live calls."""
    if _width() >= _WIDE:
        _table(rows, ("state", "caller", "dialled", "callee", "started_at", "answered_at", "owner"))
        return
    for row in rows:
        _echo(f"{row['call_id']}  {row['state']}, of {row['owner']}")
        _echo(f"{_time(row['started_at'])}  {_who(row)}", "  ")
        if row["answered_at"]:
            _echo(f"{_time(row['answered_at'])}  answered by {row['callee'] or 'somebody'}", "  ")


def print_records(rows: Sequence[Row]) -> None:
    """A list of call detail records."""
    if _width() >= _WIDE:
        _table(rows, ("started_at", "caller", "dialled", "callee", "disposition", "billsec"))
        return
    for row in rows:
        _echo(f"{row['call_id']}  {_time(row['started_at'])}")
        told = str(row["disposition"] or "not over")
        if told == "answered":
            by = f" by {row['callee']}" if row["callee"] else ""
            told = f"answered{by}, {row['billsec']:.1f} s"
        if row.get("merged_into"):
            told += f", went on as {row['merged_into']}"
        _echo(f"{_who(row)}: {told}", "  ")


def print_call(call: Row) -> None:
    """All data of a live call."""
    _echo(f"{call['call_id']} of {call['owner']}, {call['state']}")
    if call["participants"]:
        _echo(f"servers that take part: {', '.join(call['participants'])}")
    for name, found in sorted(call["properties"].items(), key=_first_things_first):
        _pair(name, found["value"])
    for talk in call.get("talks", ()):
        _echo(_talk(talk), "  ")
    for line in call["logs"]:
        print_log(line)


def print_record(found: Row) -> None:
    """All that is known of a call that is over."""
    for name, value in found.items():
        if not isinstance(value, list) and value not in (None, ""):
            _field(name, value, 16, "")
    if found.get("parties"):
        _field("parties", ", ".join(found["parties"]), 16, "")
    for talk in found.get("talks") or ():
        click.echo(f"\ntalk {talk['talk']}")
        _fields(talk, but=("talk",))
    for leg in found["legs"]:
        click.echo()
        _echo(f"leg {leg['switch']}/{leg['leg']}")
        _fields(leg, but=("switch", "leg"))
    if found["properties"]:
        click.echo("\nproperties")
        for row in found["properties"]:
            _pair(row["name"], row["value"])
    if found["logs"]:
        click.echo("\nlog")
        for row in found["logs"]:
            print_log(row)


def print_log(line: Row) -> None:
    """A log line."""
    _echo(f"{_time(line['logged_at'], ms=True)} {line['author']}: {line['text']}", "  ")


def print_property(name: str, found: Row) -> None:
    """A property that was set."""
    _echo(f"{_time(found['set_at'], ms=True)} {found['author']}: {_said(name, found['value'])}")


class Watched:
    """Events as they come; ``one`` call is followed, or all of them."""

    def __init__(self, one: bool) -> None:
        self._one = one
        self._seen: set[str] = set()

    def tell(self, event: Row) -> None:
        """An event of the API's streams."""
        kind = event["event"]
        if "server" in event:
            _echo(f"server {event['server']} is {'back' if kind == 'server_up' else 'silent'}")
            return
        call_id = event["call_id"]
        if kind == "call":
            # The call as it is, not its parts in the order in which they were written.
            print_call({"participants": (), **event})
            self._seen.add(call_id)
            return
        if not self._one and call_id not in self._seen:
            self._seen.add(call_id)
            _echo(call_id)
        prefix = "" if self._one else f"{call_id[-6:]} "
        for name, found in event["properties"].items():
            at = _time(found["set_at"], ms=True)
            _echo(f"{prefix}{at} {found['author']}: {_said(name, found['value'])}")
        for line in event["logs"]:
            at = _time(line["logged_at"], ms=True)
            _echo(f"{prefix}{at} {line['author']}: {line['text']}")
        if kind == "end":
            self._seen.discard(call_id)
            click.echo(f"{prefix}end of call")


def _talk(talk: Row) -> str:
    """Who talks with whom, or did."""
    one = talk["from_number"] or talk["from_party"] or "somebody"
    other = talk["to_number"] or talk["to_party"] or "an application"
    began = f"{_time(talk['began_at'], ms=True)}"
    if talk["ended_at"] is None:
        told = f"{one} talks with {other} since {began}"
    else:
        told = f"{one} talked with {other} from {began} to {_time(talk['ended_at'], ms=True)}"
    return told if talk["how"] == "dialled" else f"{told}, {talk['how']} by {talk['by']}"


def _first_things_first(item: tuple[str, Any]) -> tuple[bool, bool, str]:
    """Who calls whom, who has answered, and then the rest."""
    name = item[0]
    return name != "call", name != "answer", name


def _width() -> int:
    return Console().width


def _table(rows: Sequence[Row], heads: Sequence[str]) -> None:
    heads = (*heads, "call_id")
    table = Table(*heads)
    for row in rows:
        table.add_row(*(Text(shown(_value(name, row[name]))) for name in heads))
    # Not cut to a terminal's width: callIDs are there to be copied.
    Console(width=max(180, _width())).print(table)


def _who(row: Row) -> str:
    return f"{row['caller'] or 'unknown'} calls {row['dialled'] or 'unknown'}"


def _fields(row: Row, but: tuple[str, ...]) -> None:
    for name, value in row.items():
        if value not in (None, "") and name not in but:
            _field(name, value, 13, "  ")


def _field(name: str, value: Any, width: int, indent: str) -> None:
    label = f"{indent}{name:{width}}"
    _echo(f"{label} {_value(name, value)}", "", len(label) + 1)


def _pair(name: str, value: Any) -> None:
    """A property: a mapping in a line for each key."""
    if not isinstance(value, dict):
        _echo(_said(name, value), "  ")
        return
    _echo(name, "  ")
    for key, part in value.items():
        _field(key, part, 13, "    ")


def _said(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name}: " + ", ".join(f"{key} {_value(key, part)}" for key, part in value.items())
    return f"{name} = {_value(name, value)}"


def _value(name: str, value: Any) -> str:
    if name.endswith("_at"):
        return _time(value, ms=True) if value is not None else ""
    if name in ("duration", "billsec") and value is not None:
        return f"{value:.1f} s"
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(value: Any, ms: bool = False) -> str:
    """A time of the API (ISO 8601) or of call data (microseconds since 1970)."""
    try:
        moment = (
            datetime.fromtimestamp(value / 1e6, UTC)
            if isinstance(value, int)
            else datetime.fromisoformat(value)
        )
    except (TypeError, ValueError, OverflowError, OSError):
        return str(value)
    text = f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{text}.{moment.microsecond // 1000:03d}" if ms else f"{text} UTC"


def _echo(text: str, indent: str = "", hanging: int = 4) -> None:
    for line in _wrapped(text, indent, hanging):
        click.echo(line)


def _wrapped(text: str, indent: str, hanging: int) -> Iterator[str]:
    width = max(_width(), 40)
    text = shown(text)
    if len(indent) + len(text) <= width:
        yield indent + text
        return
    yield from textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + " " * hanging,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
