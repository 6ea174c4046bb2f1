"""What is written down of calls, so that they outlive the process: which calls, what, and when.

A call is one row: who takes part, both dialogs (RFC 3261 §12), and what the plugins were told. It
is written soon after it begins, again when something changes that a restart could not do without,
and removed at its end; whatever begins and ends between two commits never reaches the disk. The
CSeq of requests is not such a change: a restored dialog jumps ahead (`CSEQ_AHEAD`).

No I/O: the rows go to a `Store`; the file is `softswitch.journal_file`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from softswitch.calls.leg import Leg
from softswitch.events import Told
from softswitch.sip.client_transaction import ClientRequest
from softswitch.sip.flow import Flow
from softswitch.sip.message import Request
from softswitch.sip.timers import Timer, Timers

if TYPE_CHECKING:
    from softswitch.calls.call import Call

log = logging.getLogger(__name__)

COMMIT_EVERY = 0.02
"""Seconds at most from a change to its write. What a SIGKILL costs is what this time holds."""
CSEQ_AHEAD = 10_000
"""How far the CSeq of a restored dialog jumps: over all requests since its row was written."""


class FlowRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a peer is sent its messages; `sent_by` is what our Via towards it says."""

    transport: str
    host: str
    port: int
    sent_by: str


class InviteRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The INVITE to a party that has not answered: what its CANCEL must repeat (§9.1)."""

    uri: str
    branch: str
    to: str
    max_forwards: int


class LegRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One party of a call: its dialog, and what is not acknowledged yet.

    `answer` is our 2xx to it, in want of an ACK of CSeq `answer_cseq`; empty if there is none.
    """

    index: int
    party: str
    number: str
    line: str
    nat: bool
    contact: str
    user_agent: str
    status: int
    call_id: str
    local: str
    local_tag: str
    remote: str
    remote_tag: str
    target: str
    routes: tuple[str, ...]
    local_cseq: int
    remote_cseq: int
    flow: FlowRecord
    ack_cseq: int = 0
    ack_for: int = 0
    answer: bytes = b""
    answer_cseq: int = 0
    invite: InviteRecord | None = None


class CallRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One passage of a call. `legs`: the caller's first, then who talks with it or is rung.

    `received` is the head of the caller's INVITE as far as responses repeat it, empty once the call
    is answered, and `received_by` where they go. `next_leg` is the next free leg number of the call
    at this switch.
    """

    call_id: str
    owner: str
    origin: bool
    travelled: bool
    update: bool
    number: str
    name: str
    private: bool
    answered: bool
    next_leg: int
    told: tuple[Told, ...]
    legs: tuple[LegRecord, ...]
    received: str = ""
    received_by: FlowRecord | None = None


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is stored: the record, and whether its texts had to be written byte by byte."""

    record: CallRecord
    as_bytes: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Row)


def encode(record: CallRecord) -> bytes:
    """A record as a row holds it."""
    try:
        return _encoder.encode(Row(record))
    except UnicodeEncodeError:
        # SIP headers may hold any bytes; those that are no UTF-8 are surrogates within messages.
        return _encoder.encode(Row(_map_texts(record, _to_bytes), True))


def decode(row: bytes) -> CallRecord:
    """The record of a row. Raises msgspec.DecodeError or ValueError if it is none."""
    read = _decoder.decode(row)
    return _map_texts(read.record, _from_bytes) if read.as_bytes else read.record


def _to_bytes(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_bytes(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def _map_texts(record: CallRecord, change: object) -> CallRecord:
    """The record with the texts that come from headers changed; events have none of those."""
    assert callable(change)

    def changed(leg: LegRecord) -> LegRecord:
        texts = {name: change(getattr(leg, name)) for name in _TEXTS_OF_HEADERS}
        routes = tuple(change(route) for route in leg.routes)
        invite = leg.invite
        if invite is not None:
            invite = msgspec.structs.replace(invite, uri=change(invite.uri), to=change(invite.to))
        return msgspec.structs.replace(leg, **texts, routes=routes, invite=invite)

    return msgspec.structs.replace(
        record,
        legs=tuple(changed(leg) for leg in record.legs),
        received=change(record.received),
        number=change(record.number),
        name=change(record.name),
    )


_TEXTS_OF_HEADERS = (
    "number",
    "contact",
    "user_agent",
    "call_id",
    "local",
    "remote",
    "remote_tag",
    "target",
)


def record_of(call: Call) -> CallRecord:
    """A call as it is now."""
    caller, winner, search = call.caller, call.winner, call.search
    legs = [caller] if winner is None else [caller, winner]
    if search is not None:
        legs += search.inviting()
    received, received_by = "", None
    incoming = caller.incoming
    if incoming is not None and incoming.request is not None:
        received = _head(incoming.request)
        received_by = _flow(incoming.flow)
    identity = call.identity
    return CallRecord(
        call.call_id,
        call.owner,
        call.origin,
        call.travelled,
        call.update,
        identity.number,
        identity.name,
        identity.private,
        call.answered,
        call.core.leg_number(call.call_id),
        tuple(call.told or ()),
        tuple([_leg(leg) for leg in legs]),
        received,
        received_by,
    )


def _leg(leg: Leg) -> LegRecord:
    dialog, answer = leg.dialog, leg.answer
    invite = leg.invite.request if leg.invite is not None and not leg.status else None
    return LegRecord(
        leg.index,
        leg.party,
        leg.number,
        leg.line,
        leg.nat,
        leg.contact,
        leg.user_agent,
        leg.status,
        dialog.call_id,
        dialog.local,
        dialog.local_tag,
        dialog.remote,
        dialog.remote_tag,
        dialog.target,
        dialog.routes,
        dialog.local_cseq,
        dialog.remote_cseq,
        _flow(dialog.flow),
        leg.ack_cseq,
        leg.ack_for,
        answer.data if answer is not None else b"",
        answer.cseq if answer is not None else 0,
        _invite(invite) if invite is not None else None,
    )


def _invite(request: ClientRequest) -> InviteRecord:
    return InviteRecord(request.uri, request.branch, request.to, request.max_forwards)


def _flow(flow: Flow) -> FlowRecord:
    # Responses over UDP may go to another port than the request came from (§18.2.2).
    host, port = getattr(flow, "target", flow.remote)
    return FlowRecord(flow.transport, host, port, flow.sent_by)


def _head(request: Request) -> str:
    """The part of an INVITE that its responses repeat (§8.2.6.2)."""
    headers = request.headers
    vias = "".join(f"Via: {via}\r\n" for via in headers["via"])
    return (
        f"INVITE {request.uri} SIP/2.0\r\n{vias}From: {headers['from'][0]}\r\n"
        f"To: {headers['to'][0]}\r\nCall-ID: {headers['call-id'][0]}\r\n"
        f"CSeq: {headers['cseq'][0]}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )


class Store(Protocol):
    """Where rows are kept. It may take its time, but takes one batch after the other."""

    @property
    def busy(self) -> bool:
        """Whether the batch before is not stored yet."""

    def write(self, rows: Sequence[tuple[int, bytes]], over: Sequence[int]) -> None:
        """Store these rows, by their numbers, and remove those that are over; all or nothing."""


class Journal:
    """Which calls changed since the last commit, and which ended. `last_row` is taken already."""

    def __init__(
        self, timers: Timers, store: Store, last_row: int = 0, interval: float = COMMIT_EVERY
    ) -> None:
        self._timers = timers
        self._store = store
        self._last_row = last_row
        self._interval = interval
        self._changed: dict[Call, None] = {}
        self._over: list[int] = []
        self._timer: Timer | None = None

    def changed(self, call: Call) -> None:
        """The call is new, or something that its row holds has changed."""
        self._changed[call] = None
        if self._timer is None:
            self._timer = self._timers.after(self._interval, self._tick)

    def over(self, call: Call) -> None:
        """The call has ended."""
        self._changed.pop(call, None)
        if call.row:
            self.drop(call.row)
            call.row = 0

    def drop(self, row: int) -> None:
        """A row is of no use any more."""
        self._over.append(row)
        if self._timer is None:
            self._timer = self._timers.after(self._interval, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._store.busy:
            # A slow disk: what changes meanwhile gathers here, one row a call.
            self._timer = self._timers.after(self._interval, self._tick)
            return
        self.commit()

    def commit(self) -> None:
        """Hand over what has changed."""
        rows: list[tuple[int, bytes]] = []
        for call in self._changed:
            if not call.row:
                self._last_row += 1
                call.row = self._last_row
            try:
                rows.append((call.row, encode(record_of(call))))
            except Exception:
                # This call will not outlive the process; all others are to.
                log.exception("call %s cannot be written down", call.call_id)
        self._changed.clear()
        over, self._over = self._over, []
        if rows or over:
            self._store.write(rows, over)
