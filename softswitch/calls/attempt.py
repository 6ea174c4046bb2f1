"""An attempt: one leg being rung, with a session for each of those to whom its INVITE was forked
(RFC 3261 §13.2.2, RFC 3262 §4)."""

from __future__ import annotations

import contextlib
from typing import Final

from softswitch.calls.destination import Destination
from softswitch.calls.headers import SDP_LINE
from softswitch.calls.leg import CANCELLED, INVITING, LEAVING, Leg, Ringing, Rung
from softswitch.sip import (
    Dialog,
    Response,
    Session,
    Timer,
    local_response,
    rack_line,
    sequence_of,
)

_BAD_2XX: Final = (
    'Reason: SIP;cause=400;text="Contact or Record-Route of the 2xx is missing or bad"\r\n'
)


class Attempt(Ringing):
    """Of `leg`. Its states are those of the leg, and of the INVITE's transaction (calling: nothing
    has come yet):

    ==============  =======================  ===========================  =========================
    the leg is      1xx                      2xx                          any other final response
    ==============  =======================  ===========================  =========================
    inviting        the search hears of it   it has won, if no other has  the search goes on
    cancelled       –                        ACK and BYE                  over
    up              –                        its ACK again; of another    –
                                             fork: ACK and BYE
    ==============  =======================  ===========================  =========================
    """

    __slots__ = ("_forks", "_held", "_leg", "_timer")

    def __init__(self, leg: Leg, search: Rung | None, destination: Destination | None) -> None:
        super().__init__()
        self._leg = leg
        self.search = search
        self.destination = destination
        self._forks: dict[str, Session] | None = None  # but for the first, which is the leg's
        self._held: Response | None = None  # a 2xx that waits to be taken
        self._timer: Timer | None = None

    def wait(self, seconds: float) -> None:
        """For so long it may be that nothing comes at all."""
        call = self._leg.call
        if seconds and call is not None:
            self._timer = call.core.timers.after(seconds, self._silent)

    def challenged(self) -> None:
        """The INVITE goes again with what answers a challenge."""
        call = self._leg.call
        if call is not None:
            call.changed()
            # Also if something came already: that was of the one before.
            self._stop_timer()
            self.wait(call.core.settings.no_response)

    def _silent(self) -> None:
        self.on_response(local_response(408, "No Response At All"))

    # --- responses

    def on_response(self, response: Response) -> None:
        """A response to the INVITE."""
        leg = self._leg
        if leg.call is None:
            return
        status = response.status
        search = self.search
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if search is not None and search.some_down and not response.ours:
            search.heard(leg)
        if status < 200:
            if status > 100 and leg.state == INVITING and search is not None:
                self._rings(search, response)
        elif status < 300:
            self._accepted(response)
        elif leg.state == INVITING and search is not None:
            search.failed(leg, response)
        else:
            leg.close()

    def _rings(self, search: Rung, response: Response) -> None:
        """A provisional response, perhaps a reliable one, which wants its PRACK."""
        leg = self._leg
        session = leg.session
        if response.to_tag:
            found = self._of(response.to_tag, response.status)
            if found is None:
                return
            session = found
            try:
                session.dialog.follow(response)
            except ValueError:
                return
        number = sequence_of(response) if "rseq" in response.headers else 0
        if not number:
            search.rings(leg, session, response, False)
            return
        if session.rseq and number != session.rseq + 1:
            # That one again, whose PRACK is on its way, or one is missing before it (§4).
            return
        session.rseq = number
        body = response.body
        if body and not session.agreed:
            session.theirs = body
            if search.offer:
                session.ours, session.agreed = search.offer, True
        if not search.rings(leg, session, response, True):
            session.send("PRACK", rack_line(number, response.cseq))

    def session_of(self, tag: str) -> Session | None:
        """See `Ringing`."""
        session = self._leg.session
        if tag == session.dialog.remote_tag:
            return session
        return self._forks.get(tag) if self._forks is not None else None

    def _of(self, tag: str, status: int) -> Session | None:
        """The session with that one, of whom this may be the first that is heard; None if there are
        too many who do nothing but ring."""
        leg = self._leg
        session = leg.session
        if not session.dialog.remote_tag or tag == session.dialog.remote_tag:
            return session
        forks = self._forks
        if forks is None:
            forks = self._forks = {}
        found = forks.get(tag)
        if found is None:
            call = leg.call
            assert call is not None
            if status < 200 and len(forks) >= call.core.settings.early_dialogs:
                return None
            found = forks[tag] = session.sibling(self._dialog(session.dialog))
        return found

    def _dialog(self, first: Dialog) -> Dialog:
        """That of another fork, of whom nothing is known yet."""
        dialog = Dialog(first.call_id, first.local, first.local_tag, "", first.flow)
        # Where the INVITE went; what the response says, if that can be read, goes before it.
        request = self.invite.request if self.invite is not None else None
        dialog.target = request.uri if request is not None else first.target
        dialog.local_cseq = request.cseq if request is not None else 1
        return dialog

    def _accepted(self, response: Response) -> None:
        """A 2xx: the first, one sent again, of another fork, or one that crossed our CANCEL."""
        leg = self._leg
        session = leg.session
        if not session.dialog.confirmed:
            found = self._of(response.to_tag, response.status)
            assert found is not None
            leg.session = session = found
        try:
            ours = session.dialog.follow(response)
        except ValueError:
            # It says not where it is, or not so that one could send there; but it would send this
            # for 32 s and then have a call with nobody.
            wanted, search = leg.state == INVITING, self.search
            self._end_accepted(response, _BAD_2XX)
            if wanted and search is not None:
                search.failed(leg, local_response(502, "Bad 2xx From Callee"))
            return
        if not ours:
            self._refuse_fork(response)
            return
        if leg.state == INVITING and self.search is not None:
            if leg.user_agent == "":
                leg.user_agent = response.get("user-agent") or response.get("server") or ""
            if session.agreed and session.theirs:
                # Whatever it says now of its media, it has said what counts (RFC 3262 §5), though
                # not yet to everybody.
                response.body = session.theirs
                response.headers["content-type"] = [SDP_LINE[14:-2]]
            self._held = response
            self.search.answered(leg, response)
        elif leg.state == CANCELLED:
            self._end_accepted(response, "")
        else:
            session.ack_again(response.cseq)

    def _end_accepted(self, response: Response, reason: str) -> None:
        """A 2xx that nobody can use: acknowledge and end it (§13.2.2.4)."""
        leg = self._leg
        leg.state = LEAVING
        leg.session.ack(response.cseq)
        leg.bye(reason)

    def _refuse_fork(self, response: Response) -> None:
        """A second 2xx, forked behind the peer: acknowledge and end it (§13.2.2.4)."""
        leg = self._leg
        call, session = leg.call, leg.session
        assert call is not None
        other = self._forks.get(response.to_tag) if self._forks is not None else None
        if other is None:
            other = session.sibling(self._dialog(session.dialog))
        with contextlib.suppress(ValueError):
            other.dialog.follow(response)
        core = call.core
        flow = other.flow()
        ack = other.dialog.request(
            "ACK", core.tokens.branch(), cseq=response.cseq, extra=session.credentials
        ).encode(flow)
        core.transactions.carry(ack, flow)
        core.transactions.send(other.request("BYE"), flow)

    # --- the end

    def cancel(self, reason: str) -> None:
        """See `Ringing`."""
        self._stop_timer()
        held, self._held = self._held, None
        if held is not None:
            self._end_accepted(held, reason)
        elif self.invite is not None:
            self.invite.cancel(reason)

    def won(self) -> None:
        """It has been answered, and the search is over: `mixer` is the talk's."""
        self.search = self.destination = self._held = self.way = None

    def stop(self) -> None:
        """See `Ringing`."""
        self.search = self.destination = self._forks = self._held = self.way = None
        self._stop_timer()
        if self.invite is not None:
            self.invite.abandon()
            self.invite = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
