"""Areas of the log: what an admin turns up or down by itself, and whose loggers belong to it."""

from __future__ import annotations

from typing import Final

from softswitch.config import Area, Level

AREAS: Final[dict[Area, tuple[str, ...]]] = {
    "calls": ("softswitch.calls",),
    "registrations": (
        "softswitch.parties.registered",
        "softswitch.parties.registrar",
        "softswitch.parties.registrations",
    ),
    "guesses": ("softswitch.parties.screening",),
    "trunks": ("softswitch.parties.trunks",),
    "sip": ("softswitch.sip",),
    "disk": ("softswitch.disk",),
    "switch": ("softswitch",),
    "cds": ("cdsplugin",),
}
"""Loggers by area. A logger belongs to the area that names the longest part of its name."""

LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")
"""``error``: something does not work until somebody does something; ``warning``: something went
wrong, and the switch goes on; ``info``: what happens (calls, registrations, trunks); ``debug``:
why."""

_OTHER: Final = "program"
_area_of: dict[str, str] = {}


def area(logger: str) -> str:
    """The area of a logger, by its name; ``program`` if it is another's (a plugin, a library)."""
    found = _area_of.get(logger)
    if found is None:
        longest = 0
        found = _OTHER
        for name, prefixes in AREAS.items():
            for prefix in prefixes:
                own = logger == prefix or logger.startswith(f"{prefix}.")
                if own and len(prefix) > longest:
                    found, longest = name, len(prefix)
        _area_of[logger] = found
    return found
