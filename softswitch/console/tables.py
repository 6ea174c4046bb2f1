"""What a switch tells of itself (`softswitch.control.Status`) as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def overview(told: Mapping[str, Any]) -> RenderableType:
    """All sections that were told."""
    parts: list[RenderableType] = []
    if "switch" in told:
        parts.append(_switch(told["switch"]))
    totals = told.get("totals", {})
    if "calls" in told:
        parts.append(_calls(told["calls"], totals.get("calls", 0)))
    if "registrations" in told:
        parts.append(_registrations(told["registrations"], totals.get("registrations", 0)))
    if "trunks" in told:
        parts.append(_trunks(told["trunks"]))
    if "counters" in told:
        parts.append(_numbers("since the start", told["counters"]))
    if "tables" in told:
        parts.append(_numbers("in its tables", told["tables"]))
    known = ("totals", "switch", "calls", "registrations", "trunks", "counters", "tables")
    for name, value in told.items():
        if name in known:
            continue
        if isinstance(value, list):
            parts.append(_rows(name, value))
        elif isinstance(value, dict):
            parts.append(_numbers(name, value))
    return Group(*parts)


def lasting(seconds: float | None) -> str:
    """A duration as people write it: 7 s, 3:09, 2:00:00, 3 d 04:00."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute}:{second:02}"
    days, hour = divmod(hours, 24)
    return f"{days} d {hour:02}:{minute:02}" if days else f"{hour}:{minute:02}:{second:02}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    # As text: what phones say of themselves is no markup.
    table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))


def _switch(switch: Mapping[str, Any]) -> Text:
    text = Text(f"switch {switch['name']}", style="bold")
    if switch["site"]:
        text.append(f" ({switch['site']})")
    text.append(
        f", {switch['version']}, {switch['compiled']}, process {switch['pid']}, "
        f"up for {lasting(switch['uptime'])}, on {', '.join(switch['listen'])}",
        style="not bold",
    )
    if switch["draining"]:
        text.append("\nit takes no new calls: it is stopping", style="yellow")
    return text


def _calls(rows: list[Any], total: int) -> Table:
    table = _table(_title("calls", rows, total), "callID", "state", "for", "legs", "at", "codec")
    for call in rows:
        legs = call["legs"]
        state = Text(call["state"], style="green" if call["state"] == "answered" else "yellow")
        if call["emergency"]:
            state.append(" emergency", style="red")
        talks = [f"talk {t['talk']}: legs {t['legs'][0]}, {t['legs'][1]}" for t in call["talks"]]
        _add(
            table,
            call["call_id"],
            state,
            lasting(call["answered_for"]),
            "\n".join([*(_leg(leg) for leg in legs), *(talks if len(talks) > 1 else [])]),
            "\n".join(leg["address"] for leg in legs),
            "\n".join(leg["codec"] for leg in legs),
        )
    return table


def _leg(leg: Mapping[str, Any]) -> str:
    way = "from" if leg["direction"] == "in" else "to"
    party, number = leg["party"], leg["number"]
    number = f" ({number})" if number and number != party.partition(":")[2] else ""
    return f"{leg['leg']} {way} {party}{number}, {leg['state']}"


def _registrations(rows: list[Any], total: int) -> Table:
    title = _title("registered", rows, total)
    # A column without a figure is none.
    timed = any(row["round_trip_ms"] is not None for row in rows)
    columns = ("extension", "at", "expires in", *(("round trip",) if timed else ()), "phone", "")
    table = _table(title, *columns)
    for row in rows:
        _add(
            table,
            row["extension"],
            row["address"],
            lasting(row["expires_in"]),
            *((_round_trip(row),) if timed else ()),
            row["user_agent"],
            Text("in a call", style="green") if row["in_use"] else "",
        )
    return table


def _round_trip(row: Mapping[str, Any]) -> Text:
    if row["lost"]:
        return Text("does not answer", style="red")
    return Text("" if row["round_trip_ms"] is None else f"{row['round_trip_ms']:.0f} ms")


def _trunks(rows: list[Any]) -> Table:
    table = _table("trunks", "trunk", "state", "calls", "at", "registration", "why")
    for row in rows:
        state = Text("up", style="green") if row["up"] else Text("down", style="bold red")
        if row["up"] and not row["asked"]:
            state = Text("not asked", style="dim")
        most = "" if row["max_calls"] is None else f" of {row['max_calls']}"
        registration = row.get("registration")
        said = ""
        if registration is not None:
            left = registration["expires_in"]
            said = registration["state"] + ("" if left is None else f", {lasting(left)} left")
        why = [text for text in (row["why"], (registration or {}).get("why")) if text]
        if not row["addresses"]:
            why.append("its name is not resolved")
        at = "\n".join(row["addresses"]) or row["to"]
        _add(table, row["name"], state, f"{row['calls']}{most}", at, said, "; ".join(why))
    return table


def _numbers(title: str, numbers: Mapping[str, Any]) -> Text:
    text = Text(f"{title}: ", style="bold")
    shown = [f"{name} {value}" for name, value in numbers.items() if value]
    text.append(", ".join(shown) or "nothing", style="not bold")
    return text


def _rows(title: str, rows: list[Any]) -> Table:
    """Of a section that this command does not know yet."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    table = _table(title, *columns)
    for row in rows:
        _add(table, *(_cell(row.get(column)) for column in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return "" if value is None else str(value)
    return ", ".join(map(str, value))


def _title(what: str, rows: list[Any], total: int) -> str:
    return f"{what}: {total}" if len(rows) >= total else f"{what}: {len(rows)} of {total}"
