"""What a phone dials within a call: digits that may become a code are kept back, and go on to the
other side as they came if they do not become one. After some codes a number is dialled."""

from __future__ import annotations

from functools import partial
from typing import Final

from softswitch.calls.codes import CONSULT, TRANSFER, InCallCodes, digit_of, key_for_application
from softswitch.calls.core import Passage
from softswitch.calls.headers import content_lines
from softswitch.calls.leg import Heard, Leg
from softswitch.sip import InviteServer, NonInviteServer, Request, Response, Timer

_GONE: Final = frozenset((408, 481))
_END: Final = "#"
_BEFORE_NUMBERS: Final = frozenset((TRANSFER, CONSULT))


_NOTHING: Final = ("", b"")
"""What has become of an INFO that was for somebody else."""


def dials(
    call: Passage,
    codes: InCallCodes,
    leg: Leg,
    request: Request,
    transaction: InviteServer | NonInviteServer,
) -> bool:
    """Whether an INFO of a leg brings a digit of a code, or comes behind one; if so it is answered
    here."""
    if not leg.up or not leg.refers or not leg.party.startswith("extension:"):
        return False
    digit = digit_of(request)
    if not digit or isinstance(transaction, InviteServer):
        return False
    table = call.core.dialling
    dialling = table.get(leg.key)
    if not isinstance(dialling, Dialling):
        if not any(
            code[0] == digit and call.heeds(leg, what) for code, what in codes.meanings.items()
        ):
            return False
        dialling = table[leg.key] = Dialling(leg, codes)
    return dialling.digit(codes, digit, request, transaction)


class Dialling:
    """Of one leg: the digits that may become a code (`_kept`, with the INFOs that brought them), or
    those of the number after one (`_number`, `_what`). `_going` are INFOs on their way to the other
    one of that talk, one at a time, so that they come in order."""

    __slots__ = (
        "_codes",
        "_going",
        "_infos",
        "_kept",
        "_leg",
        "_number",
        "_talk",
        "_timer",
        "_under_way",
        "_what",
    )

    def __init__(self, leg: Leg, codes: InCallCodes) -> None:
        self._leg = leg
        self._codes = codes
        self._kept = ""
        self._infos: list[tuple[str, bytes]] = []
        self._going: list[tuple[str, bytes]] = []
        self._under_way = False
        self._what = ""
        self._number = ""
        self._talk: Heard | None = leg.talk
        self._timer: Timer | None = None

    def digit(
        self, codes: InCallCodes, digit: str, request: Request, transaction: NonInviteServer
    ) -> bool:
        """The leg has sent one; false if that is for the other side, as it is."""
        call = self._leg.call
        if call is None:
            return False
        self._codes = codes
        self._look()
        if self._what:
            transaction.respond(200)
            self._of_number(call, digit)
            return True
        waits = self._kept or self._going or self._under_way
        if not waits and not self._may_become(call, digit):
            return False
        transaction.respond(200)
        self._kept += digit
        self._infos.append(self._as_it_goes_on(request))
        while self._kept and not self._may_become(call, self._kept):
            self._kept = self._kept[1:]
            self._going.append(self._infos.pop(0))
        what = self._codes.meanings.get(self._kept, "") if self._kept else ""
        if what:
            self._kept = ""
            self._infos.clear()
            if what in _BEFORE_NUMBERS:
                self._what = what
            else:
                self._stop_timer()
                self._go_on()
                call.dialled_code(self._leg, what, "")
                return True
        self._go_on()
        self._wait()
        return True

    def _as_it_goes_on(self, request: Request) -> tuple[str, bytes]:
        """The header lines and the body by which the other side is told."""
        other = self._talk.other(self._leg) if self._talk is not None else None
        if other is not None and other.party.startswith("application:"):
            return key_for_application(request)
        lines = content_lines(request)
        package = request.get("info-package")
        if package:
            lines += f"Info-Package: {package}\r\n"
        return lines, request.body

    def stop(self) -> None:
        """The leg is over."""
        self._stop_timer()
        self._kept = self._what = ""
        self._infos.clear()
        self._going.clear()
        self._talk = None

    def _look(self) -> None:
        """With whom does it talk? What was meant for somebody else is nobody's; but it may go on
        with a code."""
        if self._talk is not self._leg.talk:
            self._talk = self._leg.talk
            self._going.clear()
            self._infos = [_NOTHING] * len(self._infos)

    def _may_become(self, call: Passage, digits: str) -> bool:
        """Whether they may become a code that the leg may dial now."""
        return any(
            code.startswith(digits) and call.heeds(self._leg, what)
            for code, what in self._codes.meanings.items()
        )

    def _of_number(self, call: Passage, digit: str) -> None:
        if digit == _END:
            self._whole(call)
            return
        self._number += digit
        if len(self._number) >= self._codes.most:
            self._whole(call)
        else:
            self._wait()

    def _whole(self, call: Passage) -> None:
        """The number is."""
        self._stop_timer()
        what, number = self._what, self._number
        self._what = self._number = ""
        if number and call.heeds(self._leg, what):
            call.dialled_code(self._leg, what, number)

    def _wait(self) -> None:
        self._stop_timer()
        if self._kept or self._what:
            call = self._leg.call
            if call is not None:
                self._timer = call.core.timers.after(self._codes.wait, self._no_more)

    def _no_more(self) -> None:
        """No other digit has come."""
        self._timer = None
        call = self._leg.call
        if call is None:
            return
        self._look()
        if self._what:
            self._whole(call)
            return
        self._kept = ""
        self._going += self._infos
        self._infos.clear()
        self._go_on()

    def _go_on(self) -> None:
        """The next of those that were none goes to the other side."""
        leg, talk = self._leg, self._talk
        while self._going and not self._under_way:
            other = talk.other(leg) if talk is not None and talk is leg.talk else None
            if other is None or not other.up:
                self._going.clear()
                return
            lines, body = self._going.pop(0)
            if body:
                self._under_way = True
                other.session.send("INFO", lines, body, partial(self._came, other))

    def _came(self, other: Leg, response: Response) -> None:
        if response.status < 200:
            return
        self._under_way = False
        leg = self._leg
        call = leg.call
        if response.status in _GONE and call is not None:
            self._going.clear()
            if leg.talk is not None and leg.talk is other.talk:
                call.vanished(other, "the other side is gone")
            return
        self._go_on()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
