"""Call-state events: all that a plugin is told of a call (the source's "switch events").

Every event is a frozen ``msgspec.Struct``: cheap to make, comparable in tests, and encodable as it
is (``msgspec.msgpack.encode``; ``Event`` is the tagged union to decode into), so that a plugin may
journal or forward events without a second model.

Times (``at``) are integers, microseconds since the Unix epoch, UTC. Parties are written
``extension:1001`` or ``trunk:pstn``. Legs are numbered within their switch: 0 is the leg that came
in, 1 and up are the legs that this switch placed, in the order it placed them. Addresses are
written
``udp:192.0.2.1:5060``.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class CallStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """An INVITE was admitted and has its callID; the leg it came in on exists. The first event.

    One that the switch refused at once, of a caller that it knows, is told too: its LegEnded and
    CallEnded follow in the same turn.

    A call that comes back to a switch it has passed already (hq to branch to hq) is there twice:
    each passage has its own CallStarted and CallEnded, told apart by ``leg``, the number of the
    incoming leg (0 for the first passage; numbers go on, they are never used twice for a call).

    ``origin`` is true at the switch that made the callID, or at the first on its way that has a
    server. ``owner`` is the name of the server that owns the call's data: this switch's own when
    ``origin``, else the name the header carried; empty where there is no server. ``came`` are the
    legs by which it came here over other switches (``SWITCH/N``, separated by blanks), if known.
    ``caller`` is the caller's number (user part of P-Asserted-Identity or From; for a phone its
    extension), ``dialled`` the user part of the Request-URI as received (of one that cannot be
    read, and was refused for it, its first 128 characters).

    A call that the switch places itself (call completion) begins so too, before anybody is rung for
    it: ``leg`` is the caller's, ``address``, ``user_agent`` and ``sip_call_id`` are empty. Each
    phone of the caller's is a leg besides (LegInvited), and the one that answers has its LegEnded
    then, with status 200: it goes on as ``leg``.
    """

    call_id: str
    at: int
    switch: str
    site: str
    owner: str
    origin: bool
    caller: str
    caller_name: str
    dialled: str
    party: str
    address: str
    user_agent: str
    sip_call_id: str
    leg: int = 0
    came: str = ""


class CallRouted(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The dialplan chose a route. ``where`` is ``file:line``; ``properties`` is the route's
    ``set:``, ``once`` its ``set_once:``. ``incoming`` is the number of the passage's incoming leg
    (``CallStarted.leg``). Of a star code that has set something it is told again, with that as
    its property.
    """

    call_id: str
    at: int
    switch: str
    match: str
    where: str
    number: str
    properties: dict[str, str]
    incoming: int = 0
    once: dict[str, str] = {}


class LegInvited(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """An INVITE was sent on a new outgoing leg. ``uri`` is its Request-URI, ``incoming`` the number
    of the incoming leg of the passage that it belongs to (``CallStarted.leg``); ``between``: it
    leads to another of our switches. ``by`` is the party that had it placed, if that is not the
    passage's caller: who transferred or forwarded the call.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    party: str
    uri: str
    address: str
    sip_call_id: str
    incoming: int = 0
    between: bool = False
    by: str = ""


class LegRinging(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The first 18x of an outgoing leg, and each later one with another status or first media.

    ``early_media`` is true when the response carried SDP.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    status: int
    early_media: bool


class LegAnswered(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The first 2xx of outgoing leg ``leg``. Whom it talks with, and that its call is answered, is
    told by the TalkBegan that follows.

    ``callee`` is the number connected (the extension, or the number sent to the trunk),
    ``codec`` the first audio codec of the answer, as ``PCMU/8000``; empty when unknown yet.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    status: int
    callee: str
    codec: str
    user_agent: str


class TalkBegan(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """From now on these ``legs`` hear each other, the first of them being who called or was kept:
    the passage's call is answered with its first talk, and the leg that came in with it.

    Talks are numbered from 1 within their call and switch. ``how`` is one of ``HOW``, ``by`` the
    party that brought it about, ``incoming`` the number of the passage's incoming leg.
    """

    call_id: str
    at: int
    switch: str
    talk: int
    legs: tuple[int, ...]
    how: str
    by: str
    incoming: int = 0


class TalkEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A talk is over; its legs may go on to others, or wait."""

    call_id: str
    at: int
    switch: str
    talk: int


class LegReferred(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """``leg`` asked that who it talks with talk to somebody else (REFER, RFC 3515): ``to`` is the
    number, ``how`` as in TalkBegan. Told when that is begun (``status`` 0) and, unless it has left,
    again with the final SIP status that it was told of it.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    to: str
    how: str
    status: int = 0


class LegMoved(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A leg of another call belongs to this one from now on, as ``leg``: the two became one
    (CallMerged). There it was ``was_leg`` of call ``was_call``; ``direction`` (``in``, ``out``),
    ``number`` (the one connected) and the rest are what was told of it there. ``came`` is the leg
    at the other end if that is at another of our switches and known (``SWITCH/N``), ``incoming``
    the number of the incoming leg of the passage that it goes on in.

    Where the older call had no passage at this switch that the leg could go on in, a CallStarted of
    the older call comes first, for the incoming leg, and LegMoved is told of the others alone.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    was_call: str
    was_leg: int
    direction: str
    party: str
    number: str
    address: str
    sip_call_id: str
    codec: str = ""
    user_agent: str = ""
    between: bool = False
    came: str = ""
    incoming: int = 0


class TollAlarm(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A limit of what calls may cost (``toll:``) is near, or was reached: then the call, or one of
    its ways, was ``refused``. ``rule`` is its name, ``party`` who has placed the call to a carrier;
    ``used`` of ``most`` calls, minutes or calls at once, which ``what`` says. ``incoming`` is the
    number of the passage's incoming leg.
    """

    call_id: str
    at: int
    switch: str
    rule: str
    party: str
    what: str
    used: int
    most: int
    refused: bool
    incoming: int = 0


class ApplicationTold(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """What an application (a ``play:`` of the dialplan) knows by now of the call that it has:
    ``facts`` is all of it, and takes the place of what was told of that ``leg`` before.
    ``application`` is its name; docs/call-data.md says which facts each has.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    application: str
    facts: dict[str, str]


class RecordingTold(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """What is known by now of the recording of a ``talk``: ``facts`` is all of it. ``state`` is one
    of ``recording``, ``paused``, ``kept`` (with ``path``, ``seconds`` and ``sha256``: it is on
    disk) and ``failed`` (with ``error``). The last one may come after the CallEnded.
    """

    call_id: str
    at: int
    switch: str
    talk: int
    facts: dict[str, str]


class TapTold(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """What is known by now of a program that listens to a ``talk``: ``tap`` is its number among
    those of the talk, from 1 on, and ``facts`` is all of it. ``state`` is one of ``listening``,
    ``paused``, ``waiting`` (it is not there, and is tried again), ``ended`` and ``failed``.
    """

    call_id: str
    at: int
    switch: str
    talk: int
    tap: int
    facts: dict[str, str]


class CallMerged(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """This call goes on as part of an older one: its last event but for LegEnded and CallEnded,
    which follow. ``into`` is the older callID, ``owner`` the server that owns it, ``leg`` the
    number of the incoming leg of the passage that goes on there.
    """

    call_id: str
    at: int
    switch: str
    into: str
    owner: str
    leg: int = 0


class CallerTold(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The caller's 2xx left the switch noticeably later than the first TalkBegan of its passage
    said: at ``at``. The process was stopped, the disk was slow, or it was killed in between; a call
    that nothing held up has no such event. ``leg`` is the number of the passage's incoming leg.
    """

    call_id: str
    at: int
    switch: str
    leg: int


class LegMedia(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A re-INVITE or UPDATE from ``leg`` was accepted: what it negotiated."""

    call_id: str
    at: int
    switch: str
    leg: int
    held: bool
    codec: str


class LegEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A leg is over. ``status`` is the final SIP status of its INVITE (200 if it was answered).

    ``reason`` is the text of the Reason header that ended it (RFC 3326), else the reason phrase of
    a failure, else empty. ``by`` says which side ended it: ``remote`` (that leg's peer) or
    ``switch``.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    status: int
    reason: str
    by: str


class CallEnded(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The passage that began with incoming leg ``leg`` is over, its legs included: its last event.

    ``disposition`` is one of ``answered``, ``busy``, ``no-answer``, ``cancelled``, ``rejected``,
    ``failed``; ``sip_status`` the status the caller was given (200 if answered, 487 if it
    cancelled);
    ``hangup_by`` one of ``caller``, ``callee``, ``switch``.
    """

    call_id: str
    at: int
    switch: str
    disposition: str
    sip_status: int
    reason: str
    hangup_by: str
    leg: int = 0


Told: TypeAlias = (
    CallStarted
    | CallRouted
    | LegInvited
    | LegRinging
    | LegAnswered
    | TalkBegan
    | CallerTold
    | LegMedia
    | LegReferred
    | TalkEnded
    | LegMoved
    | TollAlarm
    | ApplicationTold
    | RecordingTold
    | TapTold
    | CallMerged
    | LegEnded
    | CallEnded
)
"""What a switch tells of a call while it lasts."""


class CallRestored(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The switch was killed and is back, and had this passage of a call in its journal.

    Told at the start, before the switch listens. ``told`` are the events of the passage that were
    told before, in their order and with their times: whoever has lost its memory too takes them
    one by one, and whoever has not knows them already. Left out are repeated LegRinging, and of
    LegMedia all but a leg's last; a LegRinging or LegEnded of the last moment may be missing. An
    answered call goes on. Of one that was not answered, the LegEnded of its living legs and the
    CallEnded follow at once: reason "switch restarted", disposition ``failed``. ``leg`` is the
    number of the passage's incoming leg.

    A passage whose CallEnded was told just before the kill, so that nobody outside had heard of it
    yet, may be restored all the same, and then ends once more. The first end is the true one:
    whoever remembers it disregards the rest.
    """

    call_id: str
    at: int
    switch: str
    leg: int
    told: tuple[Told, ...]


class SwitchStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """The switch has started, and every CallRestored of it was told; it listens from here on.

    Whatever call of this switch somebody still holds for alive, and that was not restored, is over.
    ``call_id`` is empty: it concerns no call.
    """

    at: int
    switch: str
    call_id: str = ""


Event: TypeAlias = Told | CallRestored | SwitchStarted

HOW = (
    "dialled",
    "forward",
    "blind-transfer",
    "attended-transfer",
    "returned",
    "pickup",
    "park",
    "queue",
    "conference",
    "page",
    "application",
)
"""How a talk came about. ``returned``: a transfer failed, and whom it was to part talk on."""

DISPOSITIONS = ("answered", "busy", "no-answer", "cancelled", "rejected", "failed")
