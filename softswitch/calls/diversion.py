"""How a call came to ring where it was not dialled to: Diversion (RFC 5806), History-Info (RFC
7044), those that came with it and those of the extensions that forward it here.

The values for one reason are those of RFC 7544. A carrier is told of an extension by the number
that the world may see (``caller_id``) or not at all, and nothing of what our switches have said but
numbers that begin with ``+``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from softswitch.calls.destination import Destination
from softswitch.config import ALWAYS, BUSY, NO_ANSWER, UNREACHABLE, CallerId, Trunk, formed
from softswitch.dialplan import Stage, Target
from softswitch.sip import Request, escape_user, parse_address, parse_uri, split_list

DND: Final = "dnd"
DEFLECTED: Final = "deflected"
FOLLOW: Final = "follow"

# The reason of RFC 5806, the cause of RFC 4458.
_REASONS: Final[dict[str, tuple[str, str]]] = {
    ALWAYS: ("unconditional", "302"),
    BUSY: ("user-busy", "486"),
    NO_ANSWER: ("no-answer", "408"),
    UNREACHABLE: ("unavailable", "503"),
    DND: ("do-not-disturb", "486"),
    DEFLECTED: ("deflection", "302"),
    FOLLOW: ("follow-me", "302"),
}
_HIDDEN: Final = "<sip:anonymous@anonymous.invalid>"


class Came:
    """What a call brought along, the values as they came: of Diversion the newest first, of
    History-Info the oldest. `users` are who has forwarded it already; `ours`: one of our switches
    says so."""

    __slots__ = ("diversions", "histories", "ours", "users")

    def __init__(
        self,
        diversions: list[tuple[str, str]],
        histories: list[tuple[str, str, str]],
        ours: bool,
    ) -> None:
        self.diversions = diversions  # each its user and what came
        self.histories = histories  # each its user, what came and its index
        self.ours = ours
        self.users = {user for user, _ in diversions}
        # The last one is where the call was sent, not who has sent it on.
        self.users.update([user for user, _, _ in histories[:-1]])


class Diversion:
    """An extension has forwarded the call: `name`, for one of the reasons above. `own` is what the
    world may see of it, `before` the forwarding that had brought the call to it.

    `caller` and `lines` are what the route says that it took, `timeout` how long that rings.
    `alone`: it leads to one party alone, whose own forwarding is heeded.

    `limit` is how long all that it leads to may ring (seconds, 0: no limit), `until` when that is
    over, once it rings (by the clock of timers). `spare` is what else leads to the same number,
    which is tried at once when nobody it leads to is left, while others ring as well.
    """

    __slots__ = (
        "alone",
        "before",
        "caller",
        "limit",
        "lines",
        "name",
        "own",
        "reason",
        "spare",
        "timeout",
        "until",
    )

    def __init__(
        self, name: str, reason: str, own: CallerId | None, before: Diversion | None
    ) -> None:
        self.name = name
        self.reason = reason
        self.own = own
        self.before = before
        self.caller: CallerId | None = None
        self.lines = ""
        self.timeout = 0.0
        self.alone = False
        self.limit = 0.0
        self.until: float = before.until if before is not None else 0.0
        self.spare: list[Stage | Step] = []

    @property
    def party(self) -> str:
        """Who had the call placed."""
        return f"extension:{self.name}"


class Diverted:
    """A target that a call was forwarded to. `own`: it is the phone of who has its calls
    follow it, to which the call came by `diversion`, if by any."""

    __slots__ = ("diversion", "own", "target")

    def __init__(self, target: Target, diversion: Diversion | None, own: bool = False) -> None:
        self.target = target
        self.diversion = diversion
        self.own = own


class Step:
    """Whom a search rings at once, besides what stands so in a route, for `timeout` seconds (0: as
    long as goes for all). `ends`: nobody; the list of that extension ends here, to which the call
    came by `before`."""

    __slots__ = ("before", "ends", "targets", "timeout")

    def __init__(
        self,
        targets: tuple[Target | Destination | Diverted, ...],
        timeout: float = 0.0,
        ends: str = "",
        before: Diversion | None = None,
    ) -> None:
        self.targets = targets
        self.timeout = timeout
        self.ends = ends
        self.before = before


def came_with(request: Request, ours: bool, most: int, longest: int) -> Came:
    """What an INVITE of a trunk says, up to `most` values of each, each up to `longest` characters;
    `ours`: it is one of our switches."""
    headers = request.headers
    diversions = [
        (user, text) for user, text, _ in _read(headers.get("diversion", ()), most, longest)
    ]
    histories = [
        one
        for one in _read(headers.get("history-info", ()), most, longest)
        if one[2].replace(".", "").isdigit()
    ]
    return Came(diversions, histories, ours)


def _read(values: Iterable[str], most: int, longest: int) -> list[tuple[str, str, str]]:
    """The values that can be read: the user, what was written, the index."""
    found: list[tuple[str, str, str]] = []
    for value in values:
        for part in split_list(value):
            if len(found) >= most:
                return found
            text = part.strip()
            if len(text) > longest or not text.isascii() or not text.isprintable():
                continue
            try:
                address = parse_address(text)
                user = parse_uri(address.uri.partition("?")[0]).user
            except ValueError:
                continue
            found.append((user, text, address.params.get("index") or ""))
    return found


def lines_of(
    came: Came | None,
    diversion: Diversion | None,
    sent_by: str,
    uri: str,
    carrier: Trunk | None,
) -> str:
    """The header lines of an INVITE to `uri`. `sent_by` is the host, and the port, of our address,
    `carrier` where it goes if that is a trunk of others."""
    diversions: list[str] = []
    chain: list[Diversion] = []
    one = diversion
    while one is not None:
        chain.append(one)
        number = _seen(one, carrier)
        if number:
            reason = _REASONS[one.reason][0]
            diversions.append(f"<sip:{escape_user(number)}@{sent_by}>;reason={reason};counter=1")
        one = one.before
    history, index = "", ""
    if came is not None:
        hides = carrier is not None and came.ours
        diversions += [text for user, text in came.diversions if not hides or user.startswith("+")]
        entries = [
            text if not hides or user.startswith("+") else f"{_HIDDEN};index={number}"
            for user, text, number in came.histories
        ]
        if came.histories:
            index = came.histories[-1][2]
            history = ", ".join(entries)
    if diversion is not None:
        history = _history(history, index, chain[::-1], sent_by, uri, carrier)
    line = f"Diversion: {', '.join(diversions)}\r\n" if diversions else ""
    return f"{line}History-Info: {history}\r\n" if history else line


def told_line(came: Came | None, diversion: Diversion, sent_by: str) -> str:
    """The header line of a 181: who has forwarded the call, and why. Not where to, as that may be a
    number that nobody else is to know."""
    chain = [diversion]
    while chain[-1].before is not None:
        chain.append(chain[-1].before)
    history = index = ""
    if came is not None and came.histories:
        history = ", ".join([text for _, text, _ in came.histories])
        index = came.histories[-1][2]
    return f"History-Info: {_history(history, index, chain[::-1], sent_by, '', None)}\r\n"


def _history(
    history: str,
    index: str,
    chain: list[Diversion],
    sent_by: str,
    uri: str,
    carrier: Trunk | None,
) -> str:
    """The same with those who have forwarded the call here, the first of them first, and with where
    it goes now (empty: not said)."""
    parts = [history] if history else []
    mapped = cause = ""
    for one in chain:
        number = _seen(one, carrier)
        index = f"{index}.1" if index else "1"
        why = _REASONS[one.reason][1]
        param = f";cause={cause}" if cause else ""
        if number:
            who = f"<sip:{escape_user(number)}@{sent_by}{param}?Reason=SIP%3Bcause%3D{why}>"
        else:
            who = _HIDDEN
        parts.append(f"{who};index={index}{mapped}")
        mapped, cause = f";mp={index}", why
    if uri:
        parts.append(f"<{uri};cause={cause}>;index={index}.1{mapped}")
    return ", ".join(parts)


def _seen(diversion: Diversion, carrier: Trunk | None) -> str:
    """The number by which one who forwards may be known there; empty: by none."""
    if carrier is None:
        return diversion.name
    own, there = diversion.own, carrier.caller_id
    if own is not None and own.anonymous:
        return ""
    if there is not None and there.anonymous and (own is None or own.anonymous is None):
        return ""
    number = own.number if own is not None else ""
    if not number and there is not None:
        number = there.number
    return formed(number, there.forms) if number and there is not None else number
