"""The media workers of a switch, and its conferences and pages, for `softswitch status`."""

from __future__ import annotations

from typing import Any

from softswitch.applications import PageApplication
from softswitch.switch import Switch


def media_rows(switch: Switch) -> list[dict[str, Any]]:
    """A row for each that is at work."""
    workers = switch.spoken.workers
    return [
        {
            "worker": one.number,
            "pid": one.pid or None,
            "calls": len(one.ports),
            "most": one.size,
            "since_start": one.taken,
            "state": "starting" if not one.pid else "leaving" if one.retired else "ready",
        }
        for one in (workers.workers if workers is not None else ())
    ]


def conference_rows(switch: Switch) -> list[dict[str, Any]]:
    """A row for each room that somebody is in."""
    return [
        {
            "conference": room.name,
            "people": room.people,
            "most": room.conference.most,
            "locked": room.locked,
            "speaker": room.speaker or None,
            "media_workers": room.workers,
            "members": [one.shown for one in room.members],
        }
        for room in switch.spoken.rooms.all
    ]


def page_rows(switch: Switch) -> list[dict[str, Any]]:
    """A row for each page that is on."""
    return [
        {
            "page": first.seat.number,
            "by": first.shown,
            **first.counted(),
            "media_workers": room.workers,
        }
        for room in switch.spoken.pages.all
        for first in room.members[:1]
        if isinstance(first, PageApplication)
    ]
