"""``cds calls``, ``watch``, ``note``, ``set``: the API of a server, on the command line.

The standard library's HTTP: a command that speaks to one server needs no more.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cdsplugin.data import shown

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Server:
    """The API to ask: its address, a token, and how long to wait (seconds)."""

    url: str
    token: str
    timeout: float = 20.0

    def open(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        """Ask. Raises ClickException with one clear line."""
        if not self.token:
            raise click.ClickException(
                "no token: give --token, or set CDS_TOKEN (one of `cds.api.tokens`)"
            )
        if not self.url.startswith(("http://", "https://")):
            raise click.ClickException(f"--url {self.url}: expected http://HOST:PORT")
        request = Request(
            self.url.rstrip("/") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            answer: http.client.HTTPResponse = urlopen(request, timeout=self.timeout)
        except HTTPError as error:
            raise click.ClickException(_why(error)) from None
        except (URLError, OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error
            why = getattr(why, "strerror", None) or why
            raise click.ClickException(f"{self.url} does not answer: {why}") from None
        return answer

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask for JSON."""
        with self.open(method, path, body) as answer:
            return json.loads(answer.read())

    def follow(self, path: str) -> Iterator[dict[str, Any]]:
        """The events of a server-sent event stream, as they come."""
        with self.open("GET", path) as answer:
            try:
                for line in answer:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
            except (OSError, http.client.HTTPException) as error:
                raise click.ClickException(f"the stream broke off: {error}") from None


def _why(error: HTTPError) -> str:
    try:
        detail = json.loads(error.read())["detail"]
    except (ValueError, KeyError, TypeError, OSError):
        detail = error.reason
    if isinstance(detail, list):
        detail = "; ".join(str(each.get("msg", each)) for each in detail)
    return f"{error.code}: {detail}"


def access(command: F) -> F:
    """The options by which a command finds its server; it gets a ``server``."""
    from functools import wraps

    @click.option(
        "--url",
        envvar="CDS_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        show_envvar=True,
        help="The server's API.",
    )
    @click.option("--token", envvar="CDS_TOKEN", default="", show_envvar=True,
                  help="A bearer token.")  # fmt: skip
    @wraps(command)
    def wrapped(*args: Any, url: str, token: str, **kwargs: Any) -> Any:
        return command(*args, server=Server(url, token), **kwargs)

    return wrapped  # type: ignore[return-value]


_OWNER = click.option(
    "--owner", metavar="NAME", help="The server that owns the call, if this one may not know it."
)


def _path(call_id: str, rest: str = "", owner: str | None = None) -> str:
    query = "?" + urlencode({"owner": owner}) if owner else ""
    return f"/calls/{quote(call_id, safe='')}{rest}{query}"


@click.command()
@click.argument("call_id", required=False)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--caller", help="Only calls of this caller.")
@click.option("--dialled", help="Only calls to this number.")
@click.option("--state", type=click.Choice(["live", "lingering"]), help="Only calls like that.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_OWNER
@access
def calls(
    call_id: str | None,
    limit: int,
    caller: str | None,
    dialled: str | None,
    state: str | None,
    as_json: bool,
    owner: str | None,
    server: Server,
) -> None:
    """List the live calls, or show all data of the call CALLID."""
    if call_id is not None:
        call = server.ask("GET", _path(call_id, "", owner))
        click.echo(json.dumps(call, indent=2)) if as_json else _show(call)
        return
    asked = {"caller": caller, "dialled": dialled, "state": state, "owner": owner}
    page: dict[str, Any] = {"next": ""}
    found: list[dict[str, Any]] = []
    while page["next"] is not None and len(found) < limit:
        query = {k: v for k, v in asked.items() if v is not None}
        query |= {"limit": str(limit - len(found)), "after": page["next"]}
        page = server.ask("GET", "/calls?" + urlencode(query))
        found += page["calls"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    heads = (
        "state",
        "caller",
        "dialled",
        "callee",
        "started_at",
        "answered_at",
        "owner",
        "call_id",
    )
    table = Table(*heads)
    for row in found:
        table.add_row(*(Text("" if row[name] is None else shown(row[name])) for name in heads))
    # Not cut to a terminal's width: callIDs are there to be copied.
    Console(width=max(180, Console().width)).print(table)
    if page["next"] is not None:
        click.echo(f"{len(found)} of {page['count']} calls; --limit shows more", err=True)


@click.command()
@click.argument("call_id", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print each event as JSON.")
@_OWNER
@access
def watch(call_id: str | None, as_json: bool, owner: str | None, server: Server) -> None:
    """Follow the call CALLID live until its end; without it, all calls."""
    path = "/events" if call_id is None else _path(call_id, "/events", owner)
    # The server sends signs of life much more often than this.
    patient = Server(server.url, server.token, timeout=120.0)
    try:
        for event in patient.follow(path):
            if as_json:
                click.echo(json.dumps(event))
            else:
                _tell(event, with_id=call_id is None)
            if call_id is not None and event["event"] == "end":
                return
    except KeyboardInterrupt:
        return
    raise click.ClickException("the server ended the stream")


@click.command()
@click.argument("call_id")
@click.argument("text")
@_OWNER
@access
def note(call_id: str, text: str, owner: str | None, server: Server) -> None:
    """Add the log line TEXT to the call CALLID, also just after its end."""
    line = server.ask("POST", _path(call_id, "/log", owner), {"text": text})
    _say(f"{line['logged_at']} {line['author']}: {line['text']}")


@click.command("set")
@click.argument("call_id")
@click.argument("properties", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option("--typed", is_flag=True, help="VALUE is JSON: a number, true, null, a list …")
@_OWNER
@access
def set_properties(
    call_id: str, properties: tuple[str, ...], typed: bool, owner: str | None, server: Server
) -> None:
    """Set properties of the call CALLID."""
    values: dict[str, Any] = {}
    for each in properties:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"`{each}`: expected NAME=VALUE", param_hint="NAME=VALUE")
        try:
            values[name] = json.loads(value) if typed else value
        except ValueError:
            raise click.BadParameter(f"`{value}` is no JSON", param_hint="--typed") from None
    told = server.ask("PATCH", _path(call_id, "", owner), values)
    for name, found in told["properties"].items():
        _say(f"{found['set_at']} {found['author']}: {name} = {_plain(found['value'])}")


def records(
    server: Server, limit: int, before: str | None, since: str | None, until: str | None
) -> list[dict[str, Any]]:
    """The newest records that a server has."""
    asked = {"since": since, "until": until}
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        query = {k: v for k, v in (asked | {"before": before}).items() if v is not None}
        page = server.ask("GET", "/cdrs?" + urlencode(query | {"limit": str(limit - len(found))}))
        found += page["cdrs"]
        before = page["next"]
        if before is None:
            break
    return found


def record(server: Server, call_id: str) -> Any:
    """A record with its legs, properties and log lines."""
    return server.ask("GET", f"/cdrs/{quote(call_id, safe='')}")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _say(text: str) -> None:
    """A line for a terminal, with what somebody else wrote in it."""
    click.echo(shown(text))


def _show(call: dict[str, Any]) -> None:
    _say(f"{call['call_id']} of {call['owner']}, {call['state']}")
    if call["participants"]:
        _say(f"servers that take part: {', '.join(call['participants'])}")
    for name, found in sorted(call["properties"].items()):
        _say(f"  {name} = {_plain(found['value'])}")
    for line in call["logs"]:
        _say(f"  {line['logged_at']} {line['author']}: {line['text']}")


def _tell(event: dict[str, Any], with_id: bool) -> None:
    kind = event["event"]
    if "server" in event:
        _say(f"server {event['server']} is {'back' if kind == 'server_up' else 'silent'}")
        return
    prefix = f"{event['call_id']} " if with_id else ""
    if kind == "end":
        _say(f"{prefix}end of call")
        return
    for name, found in event["properties"].items():
        _say(f"{prefix}{found['set_at']} {found['author']}: {name} = {_plain(found['value'])}")
    for line in event["logs"]:
        _say(f"{prefix}{line['logged_at']} {line['author']}: {line['text']}")
