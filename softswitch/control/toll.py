"""What was used today of what calls may cost, for `softswitch status`."""

from __future__ import annotations

from typing import Any

from softswitch.switch import Switch


def toll_rows(switch: Switch) -> list[dict[str, Any]]:
    """A row for each limit and whom it counts."""
    return [
        {
            "rule": count.rule.name,
            "party": count.party or "all",
            "calls": count.calls,
            "most_calls": count.rule.calls,
            "minutes": round(seconds / 60, 1),
            "most_minutes": None if count.rule.seconds is None else count.rule.seconds // 60,
            "at_once": len(count.up),
            "most_at_once": count.rule.at_once,
        }
        for count, seconds in switch.toll_counts.counts()
    ]
