"""What a row of the calls' journal holds, and how it is written (`softswitch.calls.journal`)."""

from __future__ import annotations

import msgspec

from softswitch.events import Told
from softswitch.sip import Flow, Origin, Request, Terms


class FlowRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a peer is sent its messages; `sent_by` is what our Via towards it says, `listener`
    by which address of ours that is, `peer` who has to be there."""

    transport: str
    host: str
    port: int
    sent_by: str
    listener: str = ""
    peer: str = ""


class InviteRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The INVITE to a party that has not answered: what its CANCEL must repeat (§9.1)."""

    uri: str
    branch: str
    to: str
    max_forwards: int
    cseq: int = 1


class LegRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One party of a call: its dialog, and what is not acknowledged yet.

    `answer` is our 2xx to it, in want of an ACK of CSeq `answer_cseq`; empty if there is none.
    `answer_key` is what its re-INVITE is known by (§17.2.3), empty if it was no re-INVITE.
    `theirs` is the description that it sent last, `ours` what it was sent under another `origin`;
    empty: what whom it talks with has sent. `terms` are those of its session timer. `ack_body` is
    what the ACK of `ack_cseq` says, which it may not have heard.
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
    answer_key: str = ""
    came_in: bool = False
    between: bool = False
    codec: str = ""
    theirs: bytes = b""
    ours: bytes = b""
    origin: Origin | None = None
    terms: Terms | None = None
    updates: bool = False
    ack_body: bytes = b""


class TalkRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A talk: its number, the indices of its legs, how it came about and by whom; whether its media
    goes by way of the switch, is to be recorded there, and is not just now; whether programs hear
    it there."""

    number: int
    first: int
    second: int
    how: str
    by: str
    anchored: bool = False
    recorded: bool = False
    paused: bool = False
    tapped: bool = False


class ParkedRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A leg that waits to be retrieved: its index, where, and by whom it was parked."""

    leg: int
    orbit: str
    by: str


class ConsultationRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A consultation (`softswitch.calls.consultation`), by the numbers of its legs (-1: none)."""

    state: str
    kept: int
    referrer: int
    target: int
    to: str
    by: str


class CallRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One passage of a call. `legs`: the caller's first, then who talks with it or is rung; of an
    answered call all that are left. `passage` is the number of the leg that came in, `party` whose
    that was. `talks` is empty if the first two legs talk, and nobody else ever has; `next_talk` is
    the number of the next one of the call at this switch.

    `received` is the head of the caller's INVITE as far as responses repeat it, empty once the call
    is answered, and `received_by` where they go. From then on `key` and `merged` are what it is
    known by if it comes again (§17.2.3, §8.2.2.2), empty when that cannot be any more. `next_leg`
    is the next free leg number of the call at this switch. `base` is its time base
    (`softswitch.calls.numbers`), which holds since the machine's start that `boot` names
    (`softswitch.steady`); empty: no longer than the process. `placed`: no leg came in, the switch
    has placed the call itself (`softswitch.calls.completing`). `recorded`: all its talks are;
    `tapped`: keys of the programs that listen to all of them (`softswitch.config.Tap`).
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
    key: str = ""
    merged: str = ""
    base: int = 0
    boot: str = ""
    passage: int = 0
    party: str = ""
    came: str = ""
    talks: tuple[TalkRecord, ...] = ()
    next_talk: int = 2
    parked: tuple[ParkedRecord, ...] = ()
    placed: bool = False
    consultations: tuple[ConsultationRecord, ...] = ()
    recorded: bool = False
    tapped: tuple[str, ...] = ()


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
        key=change(record.key),
        merged=change(record.merged),
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
    "answer_key",
)


def flow_record(flow: Flow) -> FlowRecord:
    """Where a flow leads."""
    # Responses over UDP may go to another port than the request came from (§18.2.2).
    host, port = getattr(flow, "target", flow.remote)
    return FlowRecord(flow.transport, host, port, flow.sent_by, flow.listener, flow.peer)


def head_of(request: Request) -> str:
    """The part of an INVITE that its responses repeat (§8.2.6.2)."""
    headers = request.headers
    vias = "".join(f"Via: {via}\r\n" for via in headers["via"])
    return (
        f"INVITE {request.uri} SIP/2.0\r\n{vias}From: {headers['from'][0]}\r\n"
        f"To: {headers['to'][0]}\r\nCall-ID: {headers['call-id'][0]}\r\n"
        f"CSeq: {headers['cseq'][0]}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
