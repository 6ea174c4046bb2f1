"""The INVITEs of a search: one to each who is rung, with what that one may see of who calls."""

from __future__ import annotations

from softswitch import events
from softswitch.calls.attempt import Attempt
from softswitch.calls.caller_id import asserted, shown
from softswitch.calls.callid import write_call_id
from softswitch.calls.core import Caller, Passage, TollLimits
from softswitch.calls.destination import Destination
from softswitch.calls.diversion import Came, Diversion, lines_of
from softswitch.calls.headers import contact_line, route_lines
from softswitch.calls.leg import FORWARDED, INVITING, Leg, Rung
from softswitch.calls.passing import Passed, lines_to
from softswitch.config import CallerId
from softswitch.sip import (
    RELIABLE,
    ClientRequest,
    Dialog,
    Session,
    escape_user,
    quote_display,
)


class Inviting(Rung):
    """The legs that are rung for one who waits.

    `party` is who waits, `identity` how that one is shown, `by` who had the search done if it is
    not the caller. `offer` is what everybody rung is offered, `content` its header lines, `hops`
    the Max-Forwards (§8.1.1.6). `came` is what the call came with of who has forwarded it before.
    """

    __slots__ = (
        "answers_early",
        "by",
        "call",
        "caller",
        "came",
        "content",
        "emergency",
        "hops",
        "identity",
        "legs",
        "lines",
        "number_params",
        "offer",
        "party",
        "passed",
        "some_down",
        "tolled",
    )

    def __init__(
        self,
        call: Passage,
        party: str,
        identity: Caller,
        offer: bytes,
        content: str,
        hops: int,
        by: str,
    ) -> None:
        self.call = call
        self.party = party
        self.identity = identity
        self.by = by
        self.caller: CallerId | None = None  # what the route says of the caller
        self.emergency = False  # whether no limit stops it, and it may take the room of another
        self.tolled = ""  # the number for which it was counted last
        self.lines = ""  # that the route adds to each INVITE
        self.number_params = ""  # of the number that was dialled: ;npdi;rn=..., ;phone-context=...
        self.offer = offer
        self.content = content
        self.hops = hops
        self.answers_early = False  # whether who waits takes offers in reliable responses
        self.came: Came | None = None
        self.passed: list[Passed] | None = None  # what else of the caller's headers goes on
        self.legs: list[Leg] = []
        self.some_down = call.core.trunk_states.down > 0  # when it began

    def heard(self, leg: Leg) -> None:
        """A leg has answered: its trunk lives."""
        if leg.party.startswith("trunk:"):
            self.call.core.trunk_states.heard(leg.party[6:])

    def inviting(self) -> list[Leg]:
        """The legs that may still answer."""
        return [leg for leg in self.legs if leg.state == INVITING]

    def invite(
        self, destination: Destination, way: Diversion | None = None, mixer: Rung | None = None
    ) -> None:
        """Ring one. `way`: by which forwarding the call came there; `mixer`: whose offer it gets,
        if it is not that of the others."""
        call = self.call
        core = call.core
        flow = destination.flow
        again = destination.again
        if again is None:
            tag, sip_call_id, cseq = core.tokens.token(), core.tokens.token(), 1
        else:
            # RFC 4028 §7.3: the same once more, with a CSeq that is higher.
            tag, sip_call_id, cseq = again.local_tag, again.call_id, again.local_cseq + 1
        identity, carrier = self.identity, destination.carrier
        sent_by = flow.sent_by
        by, caller, lines = self.by, self.caller, self.lines
        if way is not None:
            by, caller, lines = way.party, way.caller, way.lines
        if caller is not None or (
            carrier is not None
            and (carrier.caller_id is not None or core.parties.is_ours(self.party))
        ):
            own = core.parties.caller_id(self.party)
            identity = shown(identity, core.parties.source_of(self.party), caller, own, carrier)
        if identity.private and not destination.switch:
            from_ = f'"Anonymous" <sip:anonymous@anonymous.invalid>;tag={tag}'
        else:
            # A caller may have no number at all: "From: <sip:192.0.2.1>".
            user = f"{escape_user(identity.number)}@" if identity.number else ""
            from_ = f"{quote_display(identity.name)}<sip:{user}{sent_by}>;tag={tag}"
        uri = destination.uri
        if self.number_params and way is None and destination.party.startswith("trunk:"):
            uri = uri.replace("@", f"{self.number_params}@", 1)
        to = f"<{uri}>"
        dialog = Dialog(sip_call_id, from_, tag, to, flow)
        dialog.target = uri
        dialog.local_cseq = cseq
        session = Session(core, dialog)
        session.nat = destination.nat
        if core.accounts:
            session.account = core.accounts.get(destination.party)
        leg = Leg(
            call,
            core.numbers.next(call.call_id),
            destination.party,
            destination.number,
            session,
            False,
        )
        leg.attempt = attempt = Attempt(leg, self, destination)
        leg.line = destination.line
        leg.between = destination.switch
        leg.refers = core.parties.may_refer(destination.party)
        leg.user_agent = destination.user_agent
        leg.contact = contact_line(flow, uri)
        if way is not None:
            leg.how, leg.by = FORWARDED, by
            attempt.way = way
        attempt.mixer = mixer
        self.legs.append(leg)
        core.remember(leg)
        settings = core.settings
        expires = destination.expires
        timed = f"Session-Expires: {expires}\r\n" if expires else settings.session_lines
        allowed = leg.allow_line(call.update)
        if not destination.reliable or not (self.offer or self.answers_early):
            # An offer in a reliable response would find nobody who answers it with a PRACK (RFC
            # 3262 §5).
            allowed = allowed.replace(f"{RELIABLE}, ", "")
        extra = f"{leg.contact}{allowed}{timed}User-Agent: {settings.user_agent}\r\n{self.content}"
        if destination.lines:
            extra += destination.lines
        if destination.switch:
            call.travelled = True
            carried = write_call_id(call.call_id, call.owner, call.came, f"{core.name}/{leg.index}")
            extra += f"{settings.call_id_header}: {carried}\r\n"
            if identity.private:
                extra += asserted(identity, sent_by)
        elif carrier is not None and carrier.assert_identity:
            extra += asserted(identity, sent_by)
        if way is not None or self.came is not None:
            lines = lines_of(self.came, way, sent_by, uri, carrier) + lines
        extra += lines
        if self.passed is not None:
            extra += lines_to(self.passed, core.parties.passes(destination.party), lines)
        if core.remembers and not identity.private and identity.number:
            core.features.was_called(destination.party, identity.number)
        request = ClientRequest(
            "INVITE",
            uri,
            core.tokens.branch(),
            from_,
            to,
            dialog.call_id,
            cseq,
            routes=route_lines(destination.path) if destination.path else "",
            max_forwards=self.hops,
            extra=extra,
            body=self.offer if mixer is None else mixer.offer,
        )
        if session.account is not None:
            session.authorize(request, attempt.challenged)
        call.tell(
            events.LegInvited(
                call_id=call.call_id,
                at=call.now_us(),
                switch=call.switch_name,
                leg=leg.index,
                party=leg.party,
                uri=uri[: call.most],  # it was read as a URI: printable ASCII
                address=destination.address,
                sip_call_id=dialog.call_id,
                incoming=call.number,
                between=destination.switch,
                by=by,
            )
        )
        if core.toll is not None and carrier is not None and not self.emergency:
            self._costs(core.toll, leg, by or self.party, carrier.name, way)
        attempt.wait(settings.no_response)
        attempt.invite = core.transactions.invite(request, flow, attempt.on_response)

    def _dialled(self, number: str, way: Diversion | None) -> str:
        """A number as a trunk gets it."""
        return number if way is not None else number + self.number_params

    def _costs(
        self, toll: TollLimits, leg: Leg, placed_by: str, trunk: str, way: Diversion | None
    ) -> None:
        """A leg goes to a carrier. Another trunk, or another address of one, is no other call."""
        number = leg.number
        dialled, again = self._dialled(number, way), number == self.tolled
        self.tolled = number
        toll.placed(self.call, leg.index, placed_by, trunk, dialled, again)
