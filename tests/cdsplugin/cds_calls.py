"""Events of calls, as a switch tells them."""

from __future__ import annotations

from typing import Any

from softswitch.events import (
    CallEnded,
    CallRouted,
    CallStarted,
    Event,
    LegAnswered,
    LegEnded,
    LegInvited,
    LegMedia,
    LegRinging,
    TalkBegan,
    TalkEnded,
)

AT = 1_800_000_000_000_000
SECOND = 1_000_000


def started(
    call_id: str, switch: str = "hq", owner: str = "hq", at: int = AT, **more: Any
) -> Event:
    values: dict[str, Any] = {
        "site": "Sunnyvale",
        "caller": "1001",
        "caller_name": "Alice",
        "dialled": "2001",
        "party": "extension:1001",
        "address": "udp:127.0.0.1:5061",
        "user_agent": "phone/1",
        "sip_call_id": "a@x",
        "origin": switch == owner,
        **more,
    }
    return CallStarted(call_id=call_id, at=at, switch=switch, owner=owner, **values)


def answered_call(
    call_id: str, switch: str = "hq", owner: str = "hq", at: int = AT, user_agent: str = "phone/2"
) -> list[Event]:
    """Rings after 1 s, answered after 3 s, held and resumed, ended by the caller after 13 s."""
    base: dict[str, Any] = {"call_id": call_id, "switch": switch}
    return [
        started(call_id, switch, owner, at),
        CallRouted(**base, at=at, match="2XXX", where="hq.yaml:3", number="2001",
                   properties={"account": "outbound"}),
        LegInvited(**base, at=at, leg=1, party="trunk:branch", uri="sip:2001@127.0.0.1:5070",
                   address="udp:127.0.0.1:5070", sip_call_id="b@x"),
        LegRinging(**base, at=at + SECOND, leg=1, status=180, early_media=False),
        LegRinging(**base, at=at + 2 * SECOND, leg=1, status=183, early_media=True),
        LegAnswered(**base, at=at + 3 * SECOND, leg=1, status=200, callee="2001",
                    codec="PCMU/8000", user_agent=user_agent),
        TalkBegan(**base, at=at + 3 * SECOND, talk=1, legs=(0, 1), how="dialled",
                  by="extension:1001"),
        LegMedia(**base, at=at + 5 * SECOND, leg=1, held=True, codec=""),
        LegMedia(**base, at=at + 6 * SECOND, leg=1, held=False, codec="PCMA/8000"),
        LegEnded(**base, at=at + 13 * SECOND, leg=0, status=200, reason="bye", by="remote"),
        TalkEnded(**base, at=at + 13 * SECOND, talk=1),
        LegEnded(**base, at=at + 13 * SECOND, leg=1, status=200, reason="", by="switch"),
        CallEnded(**base, at=at + 13 * SECOND, disposition="answered", sip_status=200, reason="",
                  hangup_by="caller"),
    ]  # fmt: skip


def busy_call(call_id: str, at: int = AT) -> list[Event]:
    base: dict[str, Any] = {"call_id": call_id, "switch": "hq"}
    return [
        started(call_id, at=at),
        LegInvited(**base, at=at, leg=1, party="extension:1002", uri="sip:1002@127.0.0.1",
                   address="udp:127.0.0.1:5062", sip_call_id="b@x"),
        LegEnded(**base, at=at + SECOND, leg=1, status=486, reason="Busy Here", by="remote"),
        LegEnded(**base, at=at + SECOND, leg=0, status=486, reason="", by="switch"),
        CallEnded(**base, at=at + SECOND, disposition="busy", sip_status=486, reason="Busy Here",
                  hangup_by="callee"),
    ]  # fmt: skip


def through(call_id: str) -> tuple[list[Event], list[Event]]:
    """What hq and branch tell of a call from hq's 1001 over branch to a carrier there."""
    at = AT
    hq = {"call_id": call_id, "switch": "hq"}
    branch = {"call_id": call_id, "switch": "branch"}
    answer: dict[str, Any] = {"status": 200, "codec": "", "user_agent": ""}
    here: list[Event] = [
        started(call_id, party="extension:1001"),
        LegInvited(**hq, at=at, leg=1, party="trunk:branch", uri="", address="", sip_call_id="b",
                   between=True),
        LegAnswered(**hq, at=at + 3 * SECOND, leg=1, callee="8100", **answer),
        TalkBegan(**hq, at=at + 3 * SECOND, talk=1, legs=(0, 1), how="dialled",
                  by="extension:1001"),
        LegEnded(**hq, at=at + 13 * SECOND, leg=0, status=200, reason="", by="remote"),
        TalkEnded(**hq, at=at + 13 * SECOND, talk=1),
        LegEnded(**hq, at=at + 13 * SECOND, leg=1, status=200, reason="", by="switch"),
        CallEnded(**hq, at=at + 13 * SECOND, disposition="answered", sip_status=200, reason="",
                  hangup_by="caller"),
    ]  # fmt: skip
    there: list[Event] = [
        started(call_id, "branch", "hq", party="trunk:hq", sip_call_id="b", site="Austin",
                came="hq/1"),
        LegInvited(**branch, at=at, leg=1, party="trunk:telco", uri="", address="",
                   sip_call_id="c"),
        LegAnswered(**branch, at=at + 2 * SECOND, leg=1, callee="100", **answer),
        TalkBegan(**branch, at=at + 2 * SECOND, talk=1, legs=(0, 1), how="dialled",
                  by="trunk:hq"),
        CallEnded(**branch, at=at + 13 * SECOND, disposition="answered", sip_status=200,
                  reason="", hangup_by="caller"),
    ]  # fmt: skip
    return here, there
