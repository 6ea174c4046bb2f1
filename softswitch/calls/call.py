"""A call: one incoming leg, the legs it is offered to, and the bridge between the two that talk.

The state machine of the back-to-back user agent (RFC 3261 §6). It takes what its legs receive and
the timers it set, sends through the transactions it was given, and tells every change as an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from softswitch import events
from softswitch.calls import bridge, outcome
from softswitch.calls.headers import ALLOW, contact_line, content_lines, readable, reason_of
from softswitch.calls.leg import CONFIRMED, INVITING, Destination, Leg
from softswitch.dialplan.routing import Action, Dial, Reject, Route, Source, Target
from softswitch.sip.client_transaction import CALLING, ClientRequest
from softswitch.sip.dialog import Dialog, Unacknowledged
from softswitch.sip.flow import Flow
from softswitch.sip.header_values import (
    Uri,
    escape_user,
    parse_address,
    parse_uri,
    quote_display,
    split_list,
)
from softswitch.sip.message import Request, Response
from softswitch.sip.sdp import first_codec
from softswitch.sip.server_transaction import InviteServer, NonInviteServer
from softswitch.sip.timers import Timer, Timers
from softswitch.sip.tokens import Tokens
from softswitch.sip.transaction import Transactions

_ELSEWHERE = 'Reason: SIP;cause=200;text="Call completed elsewhere"\r\n'
_NO_ANSWER = 'Reason: Q.850;cause=19;text="No answer"\r\n'
_NOBODY = "nobody"
_EARLY_DIALOGS = 16  # of one call that the caller is shown; a callee could make up any number
_NORMAL = 'Reason: Q.850;cause=16;text="Normal call clearing"\r\n'


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What calls are limited by. Times in seconds; 0 switches a check off.

    `no_response`: an INVITE that nothing at all answers goes to the next target after this time.
    `session_check`: how often both sides of an answered call are asked whether they are still
    there.
    """

    no_response: float = 5.0
    session_check: float = 300.0
    max_duration: float = 0.0
    max_redirects: int = 5
    max_forwards: int = 70
    call_id_header: str = "X-CDS-Call-ID"
    user_agent: str = "softswitch"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as far as this switch believes it. `private`: asked not to be shown (RFC 3323)."""

    number: str
    name: str
    private: bool = False


class _Blame(NamedTuple):
    """Who brought the failure that the caller is told, and with which Reason header."""

    by: str
    reason: str


_NOT_BLAMED = _Blame("switch", "")


class Core(Protocol):
    """What a call needs of its switch."""

    name: str
    site: str
    settings: CallSettings
    timers: Timers
    tokens: Tokens
    transactions: Transactions

    def now_us(self) -> int: ...
    def emit(self, event: events.Event) -> None: ...
    def flow_to(self, hop: Uri, fallback: Flow) -> Flow: ...
    def destinations(
        self, target: Target, holder: object
    ) -> list[Destination] | tuple[int, str]: ...
    def redirected(
        self, leg: Leg, uri: Uri
    ) -> Sequence[tuple[Target, ...]] | Destination | None: ...
    def take_line(self, line: str, holder: object) -> bool: ...
    def release_line(self, line: str, holder: object) -> None: ...
    def next_leg(self, call_id: str) -> int: ...
    def remember(self, leg: Leg) -> None: ...
    def forget(self, leg: Leg) -> None: ...
    def call_over(self, call: Call) -> None: ...


class Call:
    """One passage of a call through this switch."""

    __slots__ = (
        "answered",
        "best",
        "blame",
        "call_id",
        "caller",
        "content",
        "core",
        "early",
        "hops",
        "identity",
        "legs",
        "offer",
        "origin",
        "otherwise",
        "over",
        "owner",
        "redirects",
        "source",
        "stages",
        "timeout",
        "timer",
        "travelled",
        "update",
        "winner",
    )

    def __init__(
        self,
        core: Core,
        call_id: str,
        owner: str,
        origin: bool,
        source: Source,
        identity: Caller,
        request: Request,
        transaction: InviteServer,
        flow: Flow,
    ) -> None:
        """Raises ValueError if the INVITE cannot make a dialog (Contact, Record-Route)."""
        self.core = core
        self.call_id = call_id
        self.owner = owner
        self.origin = origin
        self.source = source
        self.identity = identity
        dialog = Dialog.from_request(request, core.tokens.token(), flow)
        self.caller = leg = Leg(self, core.next_leg(call_id), str(source), identity.number, dialog)
        leg.incoming = transaction
        leg.nat = source.kind == "extension"
        leg.contact = self._response_head(request, flow)
        transaction.to_tag = dialog.local_tag
        transaction.user = leg
        self.offer = request.body
        self.content = content_lines(request) if request.body else ""
        self.hops = int(request.get("max-forwards") or core.settings.max_forwards) - 1
        self.update = "UPDATE" in (request.get("allow") or "")
        self.legs: list[Leg] = []
        self.winner: Leg | None = None
        self.answered = False
        self.over = False
        self.stages: list[tuple[Target | Destination, ...]] = []
        self.timeout = 0.0
        self.otherwise: Action | None = None
        self.travelled = False
        self.best = (0, "")
        self.blame = _NOT_BLAMED
        self.redirects = 0
        # Whose early media the caller has heard under which of our tags: (leg, its tag) to tag.
        self.early: dict[tuple[int, str], str] | None = None
        self.timer: Timer | None = None
        core.remember(leg)

    def _response_head(self, request: Request, flow: Flow) -> str:
        """The header lines of dialog-making responses to the caller (§12.1.1)."""
        lines = contact_line(flow)
        routes = request.headers.get("record-route")
        if routes:
            lines += "".join(f"Record-Route: {route}\r\n" for route in routes)
        return lines

    # --- before the answer

    def start(self, request: Request, dialled: str, route: Route | None) -> None:
        """Tell that the call exists and follow its route (None: the dialplan has none)."""
        core, leg = self.core, self.caller
        self._tell_start(request, dialled)
        if route is None:
            self._fail(404, "No Route")
            return
        assert leg.incoming is not None
        core.emit(
            events.CallRouted(
                call_id=self.call_id,
                at=core.now_us(),
                switch=core.name,
                match=route.match,
                where=route.where,
                number=readable(route.number),
                properties=route.properties,
                incoming=self.caller.index,
            )
        )
        self._act(route.action)

    def refuse(self, request: Request, dialled: str, status: int, reason: str) -> None:
        """A call that exists and may not go on: it has its record."""
        self._tell_start(request, dialled)
        self._fail(status, reason)

    def _tell_start(self, request: Request, dialled: str) -> None:
        core, leg = self.core, self.caller
        remote = leg.dialog.flow.remote
        core.emit(
            events.CallStarted(
                call_id=self.call_id,
                at=core.now_us(),
                switch=core.name,
                site=core.site,
                owner=self.owner,
                origin=self.origin,
                caller=self.identity.number,
                caller_name=self.identity.name,
                dialled=readable(dialled),
                party=leg.party,
                address=f"{leg.dialog.flow.transport}:{remote[0]}:{remote[1]}",
                user_agent=readable(request.get("user-agent") or ""),
                sip_call_id=readable(leg.dialog.call_id),
                leg=leg.index,
            )
        )

    def _act(self, action: Action) -> None:
        if isinstance(action, Dial):
            self.stages = list(action.stages)
            self.timeout = action.timeout
            self.otherwise = action.otherwise
            assert self.caller.incoming is not None
            self.caller.incoming.respond(100)
            self._next_stage()
        elif isinstance(action, Reject):
            self._fail(action.status, action.reason)
        else:
            # Nothing here can speak yet: what went before is the answer, if anything did.
            if not self.best[0]:
                self.best = (503, "No Media Worker")
            self._fail_as_called()

    def _next_stage(self) -> None:
        """Ring the next target or group of targets; with none left, do what the route says then."""
        while self.stages:
            placed = 0
            for target in self.stages.pop(0):
                if isinstance(target, Destination):
                    if self.core.take_line(target.line, self):
                        self._invite(target)
                        placed += 1
                    else:
                        self._note((503, "Trunk Is Full"))
                    continue
                found = self.core.destinations(target, self)
                if isinstance(found, tuple):
                    self._note(found)
                    continue
                for destination in found:
                    self._invite(destination)
                    placed += 1
            if placed:
                if self.timeout:
                    self._set_timer(self.timeout, self._nobody_answered)
                return
        action, self.otherwise = self.otherwise, None
        if action is not None:
            self._act(action)
        else:
            self._fail_as_called()

    def _note(self, failure: tuple[int, str], by: str = "switch", reason: str = "") -> None:
        if not self.best[0] or outcome.better(self.best, failure) is failure:
            self.best = failure
            self.blame = _Blame(by, reason)

    def _invite(self, destination: Destination) -> None:
        core = self.core
        flow = destination.flow
        tag = core.tokens.token()
        identity = self.identity
        sent_by = flow.sent_by
        if identity.private and not destination.switch:
            from_ = f'"Anonymous" <sip:anonymous@anonymous.invalid>;tag={tag}'
        else:
            # A caller may have no number at all: "From: <sip:192.0.2.1>".
            user = f"{escape_user(identity.number)}@" if identity.number else ""
            from_ = f"{quote_display(identity.name)}<sip:{user}{sent_by}>;tag={tag}"
        to = f"<{destination.uri}>"
        dialog = Dialog(core.tokens.token(), from_, tag, to, flow)
        dialog.target = destination.uri
        dialog.local_cseq = 1
        leg = Leg(self, core.next_leg(self.call_id), destination.party, destination.number, dialog)
        leg.line = destination.line
        leg.nat = destination.nat
        leg.user_agent = destination.user_agent
        leg.contact = contact_line(flow)
        self.legs.append(leg)
        core.remember(leg)
        settings = core.settings
        extra = (
            f"{leg.contact}{self.allow_line()}User-Agent: {settings.user_agent}\r\n{self.content}"
        )
        if destination.switch:
            self.travelled = True
            extra += f"{settings.call_id_header}: {self.call_id};owner={self.owner}\r\n"
            if identity.private:
                name = quote_display(identity.name)
                extra += f"P-Asserted-Identity: {name}<sip:{user}{sent_by}>\r\nPrivacy: id\r\n"
        request = ClientRequest(
            "INVITE",
            destination.uri,
            core.tokens.branch(),
            from_,
            to,
            dialog.call_id,
            1,
            max_forwards=self.hops,
            extra=extra,
            body=self.offer,
        )
        core.emit(
            events.LegInvited(
                call_id=self.call_id,
                at=core.now_us(),
                switch=core.name,
                leg=leg.index,
                party=leg.party,
                uri=readable(destination.uri),
                address=destination.address,
                sip_call_id=dialog.call_id,
                incoming=self.caller.index,
            )
        )
        if settings.no_response:
            leg.timer = core.timers.after(
                settings.no_response,
                lambda: leg.on_response(Response(408, "No Response At All", {})),
            )
        leg.invite = core.transactions.invite(request, flow, leg.on_response)

    def allow_line(self) -> str:
        return f"Allow: {ALLOW}, UPDATE\r\n" if self.update else f"Allow: {ALLOW}\r\n"

    def leg_rings(self, leg: Leg, response: Response) -> None:
        """A provisional response of a leg that is still wanted."""
        try:
            if response.to_tag:
                leg.dialog.follow(response)
        except ValueError:
            return
        if leg.user_agent == "":
            leg.user_agent = response.get("user-agent") or response.get("server") or ""
        core = self.core
        media = bool(response.body)
        now = (response.status, media)
        if now != leg.ringing:
            leg.ringing = now
            core.emit(
                events.LegRinging(
                    call_id=self.call_id,
                    at=core.now_us(),
                    switch=core.name,
                    leg=leg.index,
                    status=response.status,
                    early_media=media,
                )
            )
        incoming = self.caller.incoming
        assert incoming is not None
        # The media of several phones that ring at once cannot all be heard: then none is.
        alone = len(self.legs) == 1 or len(self._inviting()) == 1
        to_tag = self.early.get((leg.index, response.to_tag)) if self.early else None
        if media and alone and (to_tag or not self.early or len(self.early) < _EARLY_DIALOGS):
            if not self.early:
                to_tag = self.caller.dialog.local_tag
                self.early = {(leg.index, response.to_tag): to_tag}
            elif to_tag is None:
                # The caller keeps to the first answer of a dialog, whatever comes later (§13.2.1):
                # the media of another leg, or of another phone behind it, are another dialog.
                to_tag = self.early[leg.index, response.to_tag] = core.tokens.token()
            incoming.respond(
                response.status,
                response.reason,
                to_tag=to_tag,
                extra=self.caller.contact + content_lines(response),
                body=response.body,
            )
        else:
            status = 180 if media else response.status
            incoming.respond(
                status,
                None if media else response.reason,
                to_tag=to_tag or self.caller.dialog.local_tag,
                extra=self.caller.contact,
            )

    def leg_failed(self, leg: Leg, response: Response) -> None:
        """A final response other than 2xx of a leg that is still wanted."""
        status, reason = response.status, response.reason
        # A timeout and a dead flow are no response of the other side, and have no headers.
        by, cause = ("remote" if response.headers else "switch"), reason_of(response)
        if leg.invite is not None and leg.invite.state == CALLING:
            # Nothing came at all so far. It may still answer: then it is told that nobody waits any
            # more.
            leg.cancel("")
            self._leg_ended(leg, status, reason, by)
        else:
            self._leg_ended(leg, status, cause or reason, by)
            leg.close()
        if 300 <= status < 400:
            self._redirect(leg, response)
        if leg in self.legs:
            self.legs.remove(leg)
        self._note((status, reason), "callee" if by == "remote" else "switch", cause)
        if outcome.ends_search(leg.party.partition(":")[0], status):
            self._spare(leg, status)
        if not self._inviting():
            self._stop_timer()
            self._next_stage()

    def _spare(self, leg: Leg, status: int) -> None:
        """Try nothing more that this failure speaks of too: the callee's other phones, the other
        trunks to the same number.

        RFC 3261 §16.7 ends the whole search for a 6xx, as all its targets are one user. Here
        they are whom the admin named: who declines declines for himself, as admins know it of
        Asterisk's Dial and FreeSWITCH's bridge, and the rest of a ring group goes on ringing.
        """
        trunk = leg.party.startswith("trunk:")

        def concerns(party: str, number: str) -> bool:
            if trunk:
                return party.startswith("trunk:") and number == leg.number
            return party == leg.party

        self.stages = [
            kept
            for stage in self.stages
            if (
                kept := tuple(
                    target
                    for target in stage
                    if not concerns(
                        target.party if isinstance(target, Destination) else str(target),
                        target.number,
                    )
                )
            )
        ]
        if status >= 600:
            for other in self._inviting():
                if concerns(other.party, other.number):
                    self._give_up(other, status, "Declined elsewhere", "")

    def _redirect(self, leg: Leg, response: Response) -> None:
        """A 3xx: its Contacts are the next to try (§8.1.3.4), as far as the dialplan allows."""
        found: list[tuple[Target | Destination, ...]] = []
        for text in _by_preference(response):
            if self.redirects >= self.core.settings.max_redirects:
                break
            self.redirects += 1
            try:
                uri = parse_uri(text)
            except ValueError:
                continue
            where = self.core.redirected(leg, uri)
            if isinstance(where, Destination):
                found.append((where,))
            elif where is not None:
                found.extend(where)
        self.stages[:0] = found

    def _inviting(self) -> list[Leg]:
        return [leg for leg in self.legs if leg.state == INVITING]

    def _give_up(self, leg: Leg, status: int, reason: str, line: str) -> None:
        """Stop ringing a leg; its final response is awaited by the leg alone."""
        leg.cancel(line)
        self.legs.remove(leg)
        self._leg_ended(leg, status, reason, "switch")

    def _nobody_answered(self) -> None:
        self.timer = None
        for leg in self._inviting():
            self._give_up(leg, 487, "No answer", _NO_ANSWER)
        self._note((480, "No Answer"), _NOBODY)
        self._next_stage()

    def cancelled(self, request: Request) -> None:
        """The caller gave up."""
        reason = reason_of(request)
        line = f"Reason: {reason}\r\n" if reason else ""
        assert self.caller.incoming is not None
        self.caller.incoming.respond(487)
        for leg in self._inviting():
            self._give_up(leg, 487, "Cancelled by the caller", line)
        self._leg_ended(self.caller, 487, reason, "remote")
        self._end("cancelled", 487, reason, "caller")

    def _fail_as_called(self) -> None:
        """Give the caller the best of the failures there were."""
        status, reason = outcome.for_caller(*self.best)
        by, cause = self.blame
        # RFC 6432: the Q.850 cause of a carrier goes on to who has to make sense of the failure.
        line = f"Reason: {cause}\r\n" if cause else _NO_ANSWER if by == _NOBODY else ""
        self._fail(status, reason, "callee" if by == "callee" else "switch", line)

    def _fail(self, status: int, reason: str, by: str = "switch", lines: str = "") -> None:
        assert self.caller.incoming is not None
        self.caller.incoming.respond(status, reason or None, extra=lines)
        self._leg_ended(self.caller, status, reason, "switch")
        self._end(outcome.disposition(status), status, reason, by)

    # --- the answer

    def leg_answered(self, leg: Leg, response: Response) -> None:
        """The first 2xx: this leg has the call."""
        core, caller = self.core, self.caller
        incoming = caller.incoming
        assert incoming is not None
        self.answered = True
        self.winner = leg
        self._stop_timer()
        leg.state = caller.state = CONFIRMED
        leg.status = caller.status = response.status
        if len(self.legs) > 1:
            for other in self._inviting():
                self._give_up(other, 487, "Answered elsewhere", _ELSEWHERE)
        body = response.body
        core.emit(
            events.LegAnswered(
                call_id=self.call_id,
                at=core.now_us(),
                switch=core.name,
                leg=leg.index,
                status=response.status,
                callee=readable(leg.number),
                codec=first_codec(body) if body else "",
                user_agent=readable(leg.user_agent),
            )
        )
        if self.early:
            # This answer must not come in a dialog in which the caller has another one (§13.2.1).
            tag = self.early.get((leg.index, response.to_tag)) or core.tokens.token()
            if tag != caller.dialog.local_tag:
                core.forget(caller)
                caller.dialog.local = caller.dialog.local.replace(caller.dialog.local_tag, tag)
                caller.dialog.local_tag = tag
                core.remember(caller)
        self.update = self.update and "UPDATE" in (response.get("allow") or "")
        cseq = caller.dialog.remote_cseq
        data = incoming.respond(
            response.status,
            response.reason,
            to_tag=caller.dialog.local_tag,
            extra=f"{caller.contact}{self.allow_line()}Server: {core.settings.user_agent}\r\n"
            f"{content_lines(response) if body else ''}",
            body=body,
        )
        caller.answer = Unacknowledged(
            core.timers,
            core.transactions.settings,
            incoming.flow,
            data,
            cseq,
            caller.not_acked,
        )
        if self.offer:
            leg.send_ack(response.cseq)
        else:
            # The offer is in this 2xx, so the answer comes with the caller's ACK (§13.2.1).
            caller.ack_for = response.cseq
        # From here on it goes into requests too, where a Record-Route is only for proxies (§16.6).
        caller.contact = caller.contact.partition("Record-Route:")[0]
        self.offer, self.content = b"", ""
        self.stages = []
        self.otherwise = None
        caller.incoming = None
        self._watch()

    def late_answer(self, leg: Leg, cseq: int, request: Request) -> None:
        """The ACK that carries the answer: the other leg's INVITE waits for it."""
        other = self.other(leg)
        if other is not None and other.call is not None:
            content = content_lines(request) if request.body else ""
            other.send_ack(cseq, content, request.body)

    def other(self, leg: Leg) -> Leg | None:
        """The leg that `leg` talks with; None before the answer."""
        if leg is self.caller:
            return self.winner
        return self.caller if leg is self.winner else None

    def relay(
        self,
        leg: Leg,
        request: Request,
        transaction: InviteServer | NonInviteServer,
        flow: Flow,
    ) -> None:
        """A request within a dialog that concerns the other party."""
        bridge.relay(self, leg, request, transaction, flow)

    def _watch(self) -> None:
        """Notice sides that vanished, and calls that last too long."""
        settings = self.core.settings
        wait = settings.session_check or settings.max_duration
        if settings.max_duration and settings.max_duration < wait:
            wait = settings.max_duration
        if wait:
            self._set_timer(wait, lambda: self._check(wait))

    def _check(self, lasted: float) -> None:
        settings = self.core.settings
        if settings.max_duration and lasted >= settings.max_duration:
            self.hang_up_all("the longest time allowed is over")
            return
        for leg in (self.caller, self.winner):
            if leg is not None:
                bridge.probe(self, leg)
        wait = settings.session_check
        if settings.max_duration:
            wait = min(wait, settings.max_duration - lasted)
        self._set_timer(wait, lambda: self._check(lasted + wait))

    # --- the end

    def bye_from(self, leg: Leg, request: Request) -> None:
        """One party hung up."""
        reason = reason_of(request)
        by = "caller" if leg is self.caller else "callee"
        if not self.answered:
            if leg is self.caller:
                self.cancelled(request)
            elif leg in self.legs:
                leg.cancel("")
                self.leg_failed(leg, Response(480, "Hung Up Before Answering", request.headers))
            return
        other = self.other(leg)
        self._leg_ended(leg, leg.status, reason, "remote")
        leg.close()
        if other is not None:
            other.hang_up(f"Reason: {reason}\r\n" if reason else _NORMAL)
            self._leg_ended(other, other.status, reason, "switch")
        self._end("answered", 200, reason, by)

    def hang_up_all(self, why: str) -> None:
        """The switch ends the call: `why` goes into the record and to both parties."""
        if self.over:
            return
        line = f'Reason: SIP;cause=480;text="{why}"\r\n'
        if not self.answered:
            for leg in self._inviting():
                self._give_up(leg, 487, why, line)
            self._fail(503, why)
            return
        talking = [leg for leg in (self.caller, self.winner) if leg is not None]
        for leg in talking:
            if leg.state == CONFIRMED:
                leg.hang_up(line)
                self._leg_ended(leg, leg.status, why, "switch")
        self._end("answered", 200, why, "switch")

    def _leg_ended(self, leg: Leg, status: int, reason: str, by: str) -> None:
        core = self.core
        if leg.line:
            core.release_line(leg.line, leg if leg is self.caller else self)
            leg.line = ""
        core.emit(
            events.LegEnded(
                call_id=self.call_id,
                at=core.now_us(),
                switch=core.name,
                leg=leg.index,
                status=status,
                reason=readable(reason),
                by=by,
            )
        )

    def _end(self, disposition: str, status: int, reason: str, by: str) -> None:
        core = self.core
        self.over = True
        self._stop_timer()
        core.emit(
            events.CallEnded(
                call_id=self.call_id,
                at=core.now_us(),
                switch=core.name,
                disposition=disposition,
                sip_status=status,
                reason=readable(reason),
                hangup_by=by,
                leg=self.caller.index,
            )
        )
        if self.caller.state == INVITING:
            self.caller.close()
        self.legs.clear()
        self.stages = []
        self.otherwise = None
        self.winner = None
        core.call_over(self)

    # --- timers

    def _set_timer(self, seconds: float, callback: object) -> None:
        self._stop_timer()
        assert callable(callback)
        self.timer = self.core.timers.after(seconds, callback)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def _by_preference(response: Response) -> list[str]:
    """The Contact URIs of a 3xx that can be read, the greatest q first (§8.1.3.4)."""
    found: list[tuple[float, str]] = []
    for value in response.headers.get("contact", ()):
        for part in split_list(value):
            try:
                address = parse_address(part)
                found.append((float(address.params.get("q") or 1), address.uri))
            except ValueError:
                continue
    return [uri for _, uri in sorted(found, key=lambda one: -one[0])]
