"""Calls put back after a restart, from what the journal has of them.

An answered call goes on as if nothing had been: its legs are found by their dialogs again, and soon
both sides are asked whether they are still there. A call that was not answered is put back only to
be ended as any other call is: CANCEL for those who ring, 503 for the caller.

Nor is an INVITE forgotten that was answered a moment ago: it may come again, and its answer may
have been lost. See `_absorb` and `softswitch.calls.last_words`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from softswitch import events
from softswitch.calls.anchor import Anchor
from softswitch.calls.attempt import Attempt
from softswitch.calls.call import Call
from softswitch.calls.completing import CompletingCall
from softswitch.calls.consultation import JOINS, Consultation
from softswitch.calls.core import Caller, Core
from softswitch.calls.headers import SDP_LINE, content_lines
from softswitch.calls.journal import CSEQ_AHEAD, Journal
from softswitch.calls.last_words import LastWord, decode_failure, decode_goodbye
from softswitch.calls.leg import DIALLED, LEAVING, WAITING, Leg
from softswitch.calls.parked import Parked
from softswitch.calls.records import CallRecord, FlowRecord, LegRecord, TalkRecord
from softswitch.calls.search import Search
from softswitch.calls.talk import Talk
from softswitch.sip import (
    PROCEEDING,
    ClientRequest,
    Dialog,
    InviteClient,
    InviteServer,
    MalformedMessage,
    Request,
    Session,
    parse,
    parse_uri,
    server_key,
)

if TYPE_CHECKING:
    from softswitch.sip import Flow

RESTARTED = "switch restarted"


class Flows(Protocol):
    """The network of a switch that may not have it yet."""

    def when_open(self, send: Callable[[], None]) -> bool:
        """Whether there is no network yet; then `send` is called once there is."""

    def open_flow(
        self, transport: str, host: str, port: int, listener: str, peer: str
    ) -> Flow | None: ...
    def later(self, callback: Callable[[], None]) -> None: ...
    def knows(self, leg: Leg) -> bool:
        """Whether a leg of this dialog was restored already."""


class RestoredFlow:
    """A peer that was known before the restart; over TCP it is connected to when it is needed."""

    __slots__ = ("_flows", "_sent_by", "listener", "peer", "remote", "transport")

    def __init__(self, flows: Flows, record: FlowRecord) -> None:
        self._flows = flows
        self._sent_by = record.sent_by
        self.transport = record.transport
        self.listener = record.listener
        self.peer = record.peer
        self.remote = (record.host, record.port)

    @property
    def reliable(self) -> bool:
        return self.transport != "udp"

    @property
    def sent_by(self) -> str:
        return self._sent_by

    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None:
        """Send a message; `on_error` is called (never from within) if it cannot be sent."""
        if self._flows.when_open(lambda: self.send(data, on_error)):
            return
        flow = self._flows.open_flow(self.transport, *self.remote, self.listener, self.peer)
        if flow is not None:
            flow.send(data, on_error)
        elif on_error is not None:
            self._flows.later(on_error)


def restore(core: Core, flows: Flows, record: CallRecord) -> Call:
    """Put a call back into the tables and tell that it is there; not yet whether it goes on.

    Raises ValueError for a record that makes no sense.
    """
    answered_at, request = 0, None
    if record.placed and not record.answered:
        pass  # nobody waits for an answer but those who have it
    elif record.answered:
        if all(one.invite for one in record.legs):
            raise ValueError(f"an answered call of {len(record.legs)} legs")
        answered_at = _answered_at(record)
    else:
        request = _received(record)
    identity = Caller(record.number, record.name, record.private)
    party = record.party or record.legs[0].party
    kind: type[Call] = CompletingCall if record.placed else Call
    call = kind(core, record.call_id, record.owner, record.origin, party, identity)
    if core.tapped is not None and record.tapped:
        # Whatever the configuration has no more listens no more.
        there = core.tapped.known
        core.tapped.add(call.call_id, tuple([there[key] for key in record.tapped if key in there]))
    call.travelled, call.update = record.travelled, record.update
    call.number, call.came = record.passage, record.came
    call.base = _base(core, record)
    legs = [_leg(call, flows, one, record.placed) for one in record.legs]
    known = {leg.index for leg in legs if flows.knows(leg)}
    if known:
        # They went on in another call, and the process was killed before it could forget this row.
        legs = [leg for leg in legs if leg.index not in known]
        if not legs:
            raise ValueError("all its legs belong to another one")
        left = tuple(one for one in record.legs if one.index not in known)
        record = msgspec.structs.replace(record, legs=left)
    call.caller = caller = next((leg for leg in legs if leg.index == record.passage), None)
    if core.journal is not None:
        call.told = list(record.told)
    if record.answered:
        call.answered = True
        call.answered_at = core.timers.clock() - max(0, call.now_us() - answered_at) / 1e6
        for leg, one in zip(legs, record.legs, strict=True):
            if one.invite is None:
                _confirm(core, leg, one)
                call.legs.append(leg)
        _talks(call, legs, record)
        _parked(call, record)
        _consultations(call, record)
        if caller is not None:
            first = next(one for one in record.legs if one.index == caller.index)
            if first.answer and not first.answer_key:
                # It may never have left. Nobody can tell: the caller counts as told when it is sent
                # again, after T1 and not at once, as most have heard it and take it for a stray.
                core.timers.after(core.transactions.settings.t1, call.answer_left)
            _absorb(call, caller, record, answered_at)
    elif record.placed:
        for leg, one in zip(legs, record.legs, strict=True):
            if one.invite is None:
                _confirm(core, leg, one)
                call.legs.append(leg)
    else:
        assert request is not None
        assert caller is not None
        call.search = search = _search(call, request)
        search.legs = legs[1:]
        _await_final(core, flows, search, caller, record, request)
        for leg, one in zip(search.legs, record.legs[1:], strict=True):
            _await_end(core, leg, one, search)
    if record.recorded and core.recorded is not None:
        core.recorded.calls.add(call.call_id)
    if core.call_log is not None:
        call.said = core.call_log.takes()
    core.adopt(call, record.next_leg, record.next_talk)
    for leg in legs:
        core.remember(leg)
        leg.line = _take(core, leg.line, leg if leg.came_in else call)
    core.emit(
        events.CallRestored(
            call_id=call.call_id,
            at=call.now_us(),
            switch=core.name,
            leg=call.number,
            told=_told(record),
        )
    )
    for leg, one in zip(legs, record.legs, strict=True):
        if (record.answered or record.placed) and one.invite is not None:
            # It was rung for a transfer, which has ended, or by the switch itself.
            _await_end(core, leg, one, None)
            leg.cancel("")
            call.leg_ended(leg, 487, RESTARTED, "switch")
    return call


def _told(record: CallRecord) -> tuple[events.Told, ...]:
    """What was told; by a version that knew no talks, the first of them is to be told yet."""
    told = record.told
    if not record.answered or any(type(event) is events.TalkBegan for event in told):
        return told
    whole: list[events.Told] = []
    for event in told:
        whole.append(event)
        if type(event) is events.LegAnswered:
            whole.append(
                events.TalkBegan(
                    call_id=event.call_id,
                    at=event.at,
                    switch=event.switch,
                    talk=1,
                    legs=(record.legs[0].index, event.leg),
                    how=DIALLED,
                    by=record.legs[0].party,
                    incoming=record.legs[0].index,
                )
            )
    return tuple(whole)


def _talks(call: Call, legs: list[Leg], record: CallRecord) -> None:
    """Who talked talks on. Who did not waited for the end of a transfer: see `Call.resume`."""
    talks = record.talks
    if not talks and len(call.legs) == 2 and record.next_talk == 2 and not record.party:
        # Written by a version that knew no talks.
        talks = (TalkRecord(1, legs[0].index, legs[1].index, DIALLED, legs[0].party),)
    of = {leg.index: leg for leg in call.legs}
    for one in talks:
        if one.first in of and one.second in of:
            talk = Talk(call, one.number, of[one.first], of[one.second], one.how, one.by)
            if one.anchored:
                # Begun when the switch listens: see `Call.resumed`.
                talk.anchor = Anchor(talk, True, one.recorded)
                talk.anchor.paused = one.paused
                talk.anchor.taps = call.taps_of(talk) if one.tapped else ()


def _parked(call: Call, record: CallRecord) -> None:
    of = {leg.index: leg for leg in call.legs}
    for one in record.parked:
        if one.leg in of and one.orbit not in call.core.orbits:
            parked = Parked(call, of[one.leg], one.orbit, one.by)
            call.transfers = [*(call.transfers or ()), parked]
            parked.wait()


def _search(call: Call, request: Request) -> Search:
    return Search(
        call,
        call,
        call.party,
        call.identity,
        request.body,
        content_lines(request) if request.body else "",
        0,
    )


def _base(core: Core, record: CallRecord) -> int:
    """The call's time base. Over a restart of the machine only the time of day goes on, which may
    have been set: nothing may be told before what was told already."""
    steady = core.steady_us()
    goes_on = record.boot and record.boot == core.boot
    base = record.base if goes_on else core.now_us() - steady
    return max(base, max((event.at for event in record.told), default=0) - steady)


def _take(core: Core, line: str, holder: object) -> str:
    """The line, if there is (still) room on it: limits may have changed, the call may not end."""
    try:
        return line if line and core.line_counts.take(line, holder) else ""
    except KeyError:
        return ""  # a trunk that is not in the configuration any more


def _consultations(call: Call, record: CallRecord) -> None:
    of = {leg.index: leg for leg in call.legs}
    for one in record.consultations:
        if one.kept not in of or one.referrer not in of:
            continue
        consultation = Consultation(call, of[one.referrer], of[one.kept], one.to)
        consultation.by = one.by
        if one.state == JOINS:
            consultation.joins()
        elif one.target in of:
            consultation.goes_on(one.state, of[one.target])
        else:
            continue
        call.transfers = [*(call.transfers or ()), consultation]


def _leg(call: Call, flows: Flows, record: LegRecord, placed: bool = False) -> Leg:
    flow = record.flow
    if record.nat and flow.transport != "udp":
        # Its connection is gone. Where it took connections itself, it still may; what its Contact
        # names within its own network leads nowhere.
        try:
            uri = parse_uri(record.target)
            if uri.host.strip("[]") == flow.host:
                flow = msgspec.structs.replace(flow, port=uri.port or 5060)
        except ValueError:
            pass
    dialog = Dialog(
        record.call_id, record.local, record.local_tag, record.remote, RestoredFlow(flows, flow)
    )
    dialog.remote_tag = record.remote_tag
    dialog.target = record.target
    dialog.routes = record.routes
    dialog.local_cseq = record.local_cseq
    dialog.remote_cseq = record.remote_cseq
    session = Session(call.core, dialog)
    session.nat = record.nat
    session.account = call.core.accounts.get(record.party)
    session.theirs, session.ours, session.origin = record.theirs, record.ours, record.origin
    came_in = record.came_in or (record.index == call.number and not placed)
    leg = Leg(call, record.index, record.party, record.number, session, came_in)
    leg.line = record.line
    leg.between = record.between
    leg.refers = call.core.parties.may_refer(record.party)
    leg.codec = record.codec
    leg.contact = record.contact
    leg.user_agent = record.user_agent
    leg.status = record.status
    return leg


def _confirm(core: Core, leg: Leg, record: LegRecord) -> None:
    """The leg of an answered call."""
    leg.state = WAITING
    leg.updates = record.updates
    leg.timed(record.terms)
    session = leg.session
    dialog = session.dialog
    dialog.confirmed = True
    session.ack_for = record.ack_for
    session.ack_cseq = record.ack_cseq
    if session.ack_cseq:
        body = session.ack_body = record.ack_body  # an answer, of which it may not have heard yet
        ack = dialog.request(
            "ACK",
            core.tokens.branch(),
            cseq=session.ack_cseq,
            extra=SDP_LINE if body else "",
            body=body,
        )
        session.ack_data = ack.encode(dialog.flow)
    # Requests sent since the row was written, and those of a life before.
    dialog.local_cseq += CSEQ_AHEAD
    if record.answer:
        session.accepted(
            dialog.flow, record.answer, record.answer_cseq, leg.not_acked, record.answer_key
        )
    if record.answer_key:
        layer = core.transactions.layer
        InviteServer.answered(
            layer,
            record.answer_key,
            "",
            dialog.flow,
            record.answer,
            layer.timeout,
            accepted=True,
        )


def _absorb(call: Call, caller: Leg, record: CallRecord, answered_at: int) -> None:
    """The INVITE of an answered call may come again until 64*T1 after the answer (RFC 6026 §7.1):
    it must not make another call."""
    layer = call.core.transactions.layer
    left = min(layer.timeout, layer.timeout - (call.now_us() - answered_at) / 1e6)
    if not record.key or left <= 0:
        return
    first = next(one for one in record.legs if one.index == caller.index)
    transaction = InviteServer.answered(
        layer,
        record.key,
        record.merged,
        caller.session.dialog.flow,
        b"" if first.answer_key else first.answer,
        left,
        accepted=True,
    )
    transaction.to_tag = caller.session.dialog.local_tag
    transaction.user = caller
    caller.incoming = transaction


def restore_failure(core: Core, flows: Flows, journal: Journal, row: int, data: bytes) -> None:
    """Take up a row of `last_words.failed`. Before any call: see `_await_final`.

    Raises msgspec.DecodeError if it is none.
    """
    record = decode_failure(data)
    layer = core.transactions.layer
    goes_on = bool(core.boot) and record.boot == core.boot
    wait = record.steady - core.steady_us() if goes_on else record.until - core.now_us()
    left = min(layer.timeout, wait / 1e6)
    if left <= 0:
        journal.drop(row)
        return
    transaction = InviteServer.answered(
        layer,
        record.key.decode("utf-8", "surrogateescape"),
        record.merged.decode("utf-8", "surrogateescape"),
        RestoredFlow(flows, record.flow),
        record.response,
        left,
        accepted=False,
    )
    transaction.user = word = LastWord(journal, data)
    journal.restored(word, row)
    if record.next_leg:
        base = core.numbers.base(record.call_id)
        core.numbers.go_on(record.call_id, record.next_leg, base)
        core.numbers.end(record.call_id, for_good=False)


def restore_goodbye(core: Core, flows: Flows, journal: Journal, row: int, data: bytes) -> None:
    """Take up a row of `last_words.leaves`. After all calls: one that was not quite over is there
    again with both its legs, and is ended once more.

    Raises msgspec.DecodeError or ValueError for a row that makes no sense.
    """
    record, reason = decode_goodbye(data)
    call = Call(
        core,
        record.call_id,
        record.owner,
        record.origin,
        record.party or record.legs[0].party,
        Caller(record.number, record.name, record.private),
    )
    call.number = record.passage
    call.answered = call.over = True
    call.base = _base(core, record)
    call.told = None
    (one,) = record.legs
    leg = _leg(call, flows, one)
    if leg.index == call.number:
        call.caller = leg
    if flows.knows(leg):
        journal.drop(row)
        return
    answered_at = _answered_at(record)
    _confirm(core, leg, one)
    _absorb(call, leg, record, answered_at)
    leg.state = LEAVING
    call.last_word = word = LastWord(journal, data)
    journal.restored(word, row)
    core.remember(leg)
    if leg.session.answer is not None:
        leg.bye_waits = reason
    else:
        leg.bye(reason)
        call.said_all()


def _answered_at(record: CallRecord) -> int:
    at = begun = 0
    for event in record.told:
        if type(event) is events.CallStarted:
            begun = begun or event.at
        if type(event) is events.LegMoved:
            at = at or event.at
        if type(event) is events.LegAnswered or type(event) is events.TalkBegan:
            at = at or event.at
        elif type(event) is events.CallerTold:
            at = event.at
    if at or begun:
        # Who picks up is answered before it talks with anybody.
        return at or begun
    raise ValueError("an answered call without its answer")


def _received(record: CallRecord) -> Request:
    """The INVITE of a caller who still waits for an answer."""
    if record.received_by is None or any(other.invite is None for other in record.legs[1:]):
        raise ValueError("a leg that was not invited")
    try:
        head = record.received.encode("utf-8", "surrogateescape")
        request = parse(head, max_kept=len(head))  # it was not too long when it came
    except MalformedMessage as error:
        raise ValueError(f"no INVITE: {error}") from error
    if not isinstance(request, Request) or request.defect is not None:
        raise ValueError("no INVITE")
    return request


def _await_final(
    core: Core,
    flows: Flows,
    search: Search,
    caller: Leg,
    record: CallRecord,
    request: Request,
) -> None:
    """The INVITE transaction of a caller who still waits for an answer."""
    where = record.received_by
    assert where is not None
    if where.transport != "udp":
        # §18.2.2: its connection is gone; a new one goes to the port that its Via names.
        where = msgspec.structs.replace(where, port=request.via.port or 5060)
    layer = core.transactions.layer
    merged = f"{request.headers['call-id'][0]} {request.from_tag} {request.cseq}"
    key = server_key(request)
    failed = layer.servers.get(key)
    if isinstance(failed, InviteServer):
        # Its failure was written down, the end of the call not yet: it ends with that, which may
        # never have left.
        caller.incoming = failed
        failed.retransmitted()
        line = failed.final.partition(b"\r\n")[0].decode("utf-8", "surrogateescape")
        _, status, reason = line.split(" ", 2)
        search.best = (int(status), reason)
        return
    transaction = InviteServer(layer, key, request, RestoredFlow(flows, where), merged)
    transaction.to_tag = caller.session.dialog.local_tag
    transaction.user = caller
    layer.servers[key] = transaction
    layer.merged[merged] = key
    caller.incoming = transaction


def _await_end(core: Core, leg: Leg, record: LegRecord, search: Search | None) -> None:
    """The INVITE transaction of a party that may still answer."""
    invite, dialog = record.invite, leg.session.dialog
    assert invite is not None
    request = ClientRequest(
        "INVITE",
        invite.uri,
        invite.branch,
        dialog.local,
        invite.to,
        dialog.call_id,
        invite.cseq,
        max_forwards=invite.max_forwards,
    )
    layer = core.transactions.layer
    leg.attempt = attempt = Attempt(leg, search, None)
    client = InviteClient(layer, request, dialog.flow, attempt.on_response)
    # Whether a provisional response came is not known; without one a CANCEL does no harm.
    client.state = PROCEEDING
    layer.clients[client.key] = client
    attempt.invite = client
