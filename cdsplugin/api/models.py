"""What the API takes and gives, as pydantic models: its documentation is made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cdsplugin.archive import TalkRow, iso
from cdsplugin.data import Call, Log, Property, Value

Time = Annotated[str | None, Field(description="ISO 8601, UTC, by the clock of the call's owner")]
CALL_ID = "0199c0de-7b3c-7000-8000-5f1c6b1f2a01"


class LiveCall(BaseModel):
    """A live call in a list. Times are ISO 8601, UTC."""

    call_id: str = Field(examples=[CALL_ID])
    owner: str = Field(description="the server that owns the call's data", examples=["hq"])
    state: str = Field(description="`live`, or `lingering` when it is over at every switch")
    caller: Value
    dialled: Value
    callee: Value = Field(description="who answered; null before")
    started_at: Time
    answered_at: Time
    entries: int = Field(description="properties and log lines")


class LiveCalls(BaseModel):
    """A page of live calls in the order of their callIDs; ``next`` is where the next one begins."""

    calls: list[LiveCall]
    count: int = Field(description="all live calls that this server has data of, chosen or not")
    next: str | None = Field(description="`after` of the next page; null on the last")


class PropertyOut(BaseModel):
    """A property's value, when it was set, and by whom."""

    value: Value
    set_at: Time
    author: str = Field(description="a server, or SERVER/NAME with the name of a token")


class LogOut(BaseModel):
    """A log line."""

    logged_at: Time
    author: str = Field(description="a server, or SERVER/NAME with the name of a token")
    text: str


class TalkOut(BaseModel):
    """Who hears whom, from when to when; over all switches, as far as is known here."""

    talk: int = Field(description="0, 1, 2 …: in the order in which they began")
    switch: str = Field(description="the switch that brought it about")
    from_party: str | None
    from_number: str | None
    to_party: str | None = Field(description="null: an application")
    to_number: str | None
    began_at: Time
    ended_at: Time = Field(description="null: it goes on")
    how: str = Field(description="`dialled`, `blind-transfer`, `attended-transfer`, …")
    by: str | None = Field(description="the party that caused it")


class CallOut(BaseModel):
    """All data of a live call."""

    call_id: str = Field(examples=[CALL_ID])
    owner: str
    state: str = Field(description="`live`, or `lingering` when it is over at every switch")
    participants: list[str] = Field(description="other servers that take part, if we own the call")
    registration: str = Field(description="how far our registration with the owner is, if not us")
    talks: list[TalkOut]
    properties: dict[str, PropertyOut]
    logs: list[LogOut]


class PropertiesOut(BaseModel):
    """What was set, as it is stored."""

    call_id: str
    properties: dict[str, PropertyOut]


class NewLog(BaseModel):
    """A log line to add."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1, examples=["Wants to be called back tomorrow."])]


class CdrPage(BaseModel):
    """Records, the newest first; ``next`` is the ``before`` of the next page."""

    cdrs: list[dict[str, Any]]
    next: str | None


class HealthOut(BaseModel):
    """``status`` is `ok`, or `trouble` with HTTP status 503."""

    server: str
    status: str
    database: str
    servers_down: int


class Mistake(BaseModel):
    """Why a request was not done."""

    detail: str


def state_of(call: Call) -> str:
    """``live`` or ``lingering``."""
    return "lingering" if call.lingering or not call.clients else "live"


def listed(call: Call) -> LiveCall:
    """A call as the list has it."""

    def value(name: str, key: str) -> Any:
        found = call.data.value(name)
        return found.get(key) if isinstance(found, dict) else None

    return LiveCall(
        call_id=call.call_id,
        owner=call.owner,
        state=state_of(call),
        caller=value("call", "caller"),
        dialled=value("call", "dialled"),
        callee=value("answer", "callee"),
        started_at=iso(value("call", "started_at")),
        answered_at=iso(value("answer", "answered_at")),
        entries=len(call.data),
    )


def property_out(entry: Property) -> PropertyOut:
    """A property as the API shows it."""
    return PropertyOut(value=entry.value, set_at=iso(entry.stamp), author=entry.author)


def talk_out(row: TalkRow) -> TalkOut:
    """A talk as the API shows it."""
    return TalkOut(**{name: getattr(row, name) for name in TalkOut.model_fields})


def log_out(line: Log) -> LogOut:
    """A log line as the API shows it."""
    return LogOut(logged_at=iso(line.stamp), author=line.author, text=line.text)
