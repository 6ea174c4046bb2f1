"""What a dialplan is checked against: the configuration that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationInfo

from softswitch.config import MAX_NUMBER, MAX_REMEMBERED, did_you_mean


class FindsSounds(Protocol):
    """See `softswitch.dialplan.sounds.Sounds`."""

    def find(self, text: str) -> Path:
        """The file of a prompt's name, or of a path. Raises ValueError."""

    def prompt(self, name: str) -> str:
        """The path of a prompt that is said by the switch itself; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The names that a dialplan may use, and the switch's settings.

    ``trunks`` says of each trunk whether it is one of our switches. ``timeout`` (seconds) is for
    routes that name none, ``time_zone`` for conditions (empty: the machine's). ``sounds`` finds
    what is to be heard; None: that is not asked. ``menus`` are the names of the dialplan's menus,
    ``conferences`` those of its rooms, ``queues`` those of its queues, each with its agents'
    skills, ``mailboxes`` the extensions that have one (None: they are not asked). ``folder`` is
    the dialplan's, where its paths begin (None: files are not looked for).
    """

    extensions: frozenset[str]
    trunks: Mapping[str, bool]
    timeout: float = 180.0
    max_number: int = MAX_NUMBER
    max_remembered: int = MAX_REMEMBERED
    sounds: FindsSounds | None = None
    menus: frozenset[str] | None = None
    conferences: frozenset[str] | None = None
    queues: Mapping[str, frozenset[str]] | None = None
    mailboxes: frozenset[str] | None = None
    time_zone: str = ""
    call_id_header: str = ""
    folder: Path | None = None

    def party(self, text: str, kind: str, name: str) -> None:
        """Raises ValueError if there is no such extension or trunk."""
        known = self.trunks if kind == "trunk" else self.extensions
        if name not in known:
            hint = did_you_mean(name, sorted(known))
            if len(known) > 10 and not hint.startswith(":"):
                hint = f", expected one of the configuration's {kind}s"
            raise ValueError(f"found `{text}`: there is no {kind} `{name}`{hint}")


def surroundings(info: ValidationInfo) -> Surroundings | None:
    """What the value that is validated is checked against; None: against nothing."""
    return info.context if isinstance(info.context, Surroundings) else None
