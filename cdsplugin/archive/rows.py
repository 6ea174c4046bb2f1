"""The rows of the CDR database, column by column (``docs/records.md`` says what each means).

Times are texts as ``view.iso`` makes them; durations are seconds.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

Text: TypeAlias = str | None
Place: TypeAlias = tuple[str, int]
"""A leg's switch and number."""


class Cdr(msgspec.Struct, frozen=True, gc=False):
    """A row of ``cdrs``. Of what came over the link the type is what the sender made it."""

    call_id: str
    owner: str
    written_by: str
    switch: Any
    site: Any
    caller: Any
    caller_name: Any
    dialled: Any
    callee: Any
    caller_party: Any
    callee_party: Any
    answered_party: Text
    answered_number: Text
    answered_switch: Text
    answered_site: Text
    outgoing_trunk: Text
    parties: Text
    started_at: Text
    answered_at: Text
    ended_at: Text
    duration: float | None
    billsec: float | None
    disposition: Any
    sip_status: Any
    reason: Any
    hangup_by: Any
    final: int
    merged_into: Text = None


class LegRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``cdr_legs``."""

    call_id: str
    switch: str
    leg: int
    direction: Any
    party: Any
    callee: Any
    uri: Any
    address: Any
    user_agent: Any
    codec: Any
    invited_at: Text
    ringing_at: Text
    answered_at: Text
    ended_at: Text
    sip_status: Any
    reason: Any
    ended_by: Any
    sip_call_id: Any
    set_at: Text
    caller: Any = None
    by: Any = None
    between_switches: Any = None
    incoming: Any = None
    came: Any = None
    was: Any = None
    referred_to: Any = None


class PropertyRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``cdr_properties``. ``value``: numbers and texts as they are, else JSON; ``once`` as
    in ``data.entries``: 0 for what was set."""

    call_id: str
    name: str
    value: str | int | float | None
    set_at: Text
    author: str
    once: int = 0


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``cdr_logs``."""

    call_id: str
    logged_at: Text
    author: str
    text: str


class TalkRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``cdr_talks``: who talked with whom, from when to when, how that came about, and the
    party that caused it."""

    call_id: str
    talk: int
    switch: str
    from_party: Text
    from_number: Text
    to_party: Text
    to_number: Text
    began_at: Text
    ended_at: Text
    how: str
    by: Text


class HandedOver(msgspec.Struct, frozen=True, gc=False):
    """A record that was written in another server's place, and goes, as that has it: unless it has
    more than was handed over, of another time when the call was here. ``entries`` are the names of
    properties, and author and text of log lines, as a JSON list; None: whatever it has."""

    call_id: str
    entries: Text = None


class Ends(msgspec.Struct, frozen=True, gc=False):
    """``caller_at`` is the leg at which the call came in, None if no leg is known. Of the leg that
    really answered: its place, party, number and site; None and empty if nobody did. ``trunk`` is
    the carrier's trunk by which the call left our switches, None if it did not."""

    caller_at: Place | None
    answered_at: Place | None = None
    party: str | None = None
    number: str | None = None
    site: str | None = None
    trunk: str | None = None


Row: TypeAlias = tuple[Any, ...]
"""The values of any of them, or a callID alone (``schema.FINISH``)."""

values_of: Final = msgspec.structs.astuple
"""The ``Row`` of one of the above. Both steps take a third of what a named tuple does."""
