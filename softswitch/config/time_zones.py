"""Time zones by their names in the IANA database, as ``Europe/Berlin``.

Python finds the database in the system's (Debian's package ``tzdata``), or in the Python package of
the same name.
"""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator

from softswitch.config.places import did_you_mean
from softswitch.config.values import Text


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # OSError: `Europe` is a folder
        known = available_timezones()
        if not known:
            raise ValueError(
                f"found `{text}`, but this machine knows no time zones: install tzdata"
            ) from None
        hint = did_you_mean(text, known)
        hint = hint if hint.startswith(":") else ", expected one such as Europe/Berlin"
        raise ValueError(f"found `{text}`, which is no time zone{hint}") from None
    return text


TimeZoneText = Annotated[Text, AfterValidator(_time_zone)]
"""The name of a time zone that there is."""
