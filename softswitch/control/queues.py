"""The queues of a switch and their agents, for `softswitch status`."""

from __future__ import annotations

from typing import Any

from softswitch.applications import ABANDONED, ANSWERED, FREE, LOGGED_OUT, OUTCOMES
from softswitch.switch import Switch


def queue_rows(switch: Switch) -> list[dict[str, Any]]:
    """A row for each queue. `longest_wait` is in seconds, what came of callers since the start."""
    queues = switch.queues
    rows: list[dict[str, Any]] = []
    for name, queue in switch.dialplan.queues.items():
        line = queues.lines[name]
        states = [queues.state(agent) for agent in queue.agents]
        told = line.outcomes
        rows.append(
            {
                "queue": name,
                "strategy": queue.strategy,
                "waiting": len(line.callers),
                "longest_wait": round(queues.waited(line), 1),
                "agents": len(states),
                "logged_in": len(states) - states.count(LOGGED_OUT),
                "free": states.count(FREE),
                "answered": told.get(ANSWERED, 0),
                "abandoned": told.get(ABANDONED, 0),
                "others": sum(
                    told.get(outcome, 0)
                    for outcome in OUTCOMES
                    if outcome not in (ANSWERED, ABANDONED)
                ),
            }
        )
    return rows


def agent_rows(switch: Switch) -> list[dict[str, Any]]:
    """A row for each agent; its queues, and the calls of those that it has answered since the
    start."""
    queues = switch.queues
    rows: dict[str, dict[str, Any]] = {}
    for name, queue in switch.dialplan.queues.items():
        for agent in queue.agents:
            state = queues.agents[agent.extension]
            row = rows.setdefault(
                agent.extension,
                {
                    "agent": agent.extension,
                    "state": queues.state(agent),
                    "queues": [],
                    "serves": state.serving if state.serves is not None else "",
                    "calls": state.calls,
                },
            )
            if row["state"] == LOGGED_OUT:
                # Of one queue; of another one it is not.
                row["state"] = queues.state(agent)
            row["queues"].append(name)
    return list(rows.values())
