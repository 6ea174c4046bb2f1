"""What can be seen of a line: which dialogs a phone has, and in which state (RFC 4235 §3.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from softswitch.calls import Leg, in_use

TRYING: Final = "trying"
EARLY: Final = "early"
CONFIRMED: Final = "confirmed"
STATES: Final = frozenset((TRYING, "proceeding", EARLY, CONFIRMED))
"""Those of a dialog that there is."""
RECIPIENT: Final = "recipient"
INITIATOR: Final = "initiator"


@dataclass(frozen=True, slots=True)
class Line:
    """One dialog. `peer` and `name` are who is at its other end, `call_id` and the tags what a
    Replaces names, as the switch has them (RFC 3891 §3); empty for who may not know. `held`: it
    hears nobody."""

    id: str
    state: str
    direction: str
    peer: str = ""
    name: str = ""
    call_id: str = ""
    local_tag: str = ""
    remote_tag: str = ""
    held: bool = False


def line_of(leg: Leg) -> Line | None:
    """That of a leg; None if it is over. The tags are as the phone has them."""
    if not in_use(leg):
        return None
    if leg.up:
        state = CONFIRMED
    elif leg.came_in:
        state = EARLY
    else:
        attempt = leg.attempt
        state = EARLY if attempt is not None and attempt.told[0] >= 180 else TRYING
    dialog = leg.session.dialog
    peer, name = _peer_of(leg)
    return Line(
        dialog.local_tag,
        state,
        INITIATOR if leg.came_in else RECIPIENT,
        peer,
        name,
        dialog.call_id,
        dialog.remote_tag,
        dialog.local_tag,
        leg.up and leg.talk is None,
    )


def _peer_of(leg: Leg) -> tuple[str, str]:
    """Number and name of who is at the other end, as far as that one may be shown."""
    other = leg.talk.other(leg) if leg.talk is not None else None
    call = leg.call
    if call is None:
        return "", ""
    identity = call.identity
    if other is not None and not (other.came_in and other.party == call.party):
        return other.number, ""
    if leg.came_in and other is None:
        return "", ""
    return ("", "") if identity.private else (identity.number, identity.name)
