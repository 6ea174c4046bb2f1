"""INVITEs of which no call is made: answered, counted, and told of where it is known who calls."""

from __future__ import annotations

from softswitch.call_ids import CallIDs
from softswitch.calls import LOOP, Refusals, reason_of_status
from softswitch.dialplan import Source
from softswitch.parties import Callers, Sources
from softswitch.sip import REASON_PHRASES, Flow, InviteServer, Request


class Refusing:
    """Whatever refuses an INVITE before there is a call of it comes here, for `refusals`."""

    def __init__(
        self, refusals: Refusals, sources: Sources, callers: Callers, call_ids: CallIDs
    ) -> None:
        self._refusals = refusals
        self._sources = sources
        self._callers = callers
        self._call_ids = call_ids

    def refuse(
        self,
        request: Request,
        transaction: InviteServer,
        flow: Flow,
        status: int,
        reason: str | None = None,
        extra: str = "",
        why: str = "",
    ) -> None:
        """Answer an INVITE of which no call is made. `why` is of `REASONS`; empty: as the status
        says."""
        transaction.respond(status, reason, extra=extra)
        self.refused(request, transaction, flow, status, reason, why)

    def refused(
        self,
        request: Request,
        transaction: InviteServer | None,
        flow: Flow,
        status: int,
        reason: str | None,
        why: str = "",
    ) -> None:
        """An INVITE was answered, without a transaction perhaps."""
        why = why or reason_of_status(status)
        reason = reason or REASON_PHRASES.get(status, "")
        party = request.party
        source = party if isinstance(party, Source) else self._sources.of(request, flow)
        self._refusals.count(why, source, request, flow, status, reason)
        # Of a merged request (§8.2.2.2) there is a call, by another path; that has the record.
        if source is None or why == LOOP:
            return
        if not self._refusals.admits(request, flow, stateless=transaction is None):
            return
        named, _, first = self._call_ids.of(request, source)
        identity = self._callers.of(request, source)
        self._refusals.record(
            named.call_id, named.owner, first, source, identity, request, flow, status, reason
        )
