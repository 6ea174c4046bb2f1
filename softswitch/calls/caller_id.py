"""Who is shown as the caller: what of a caller's number and name a destination is told.

A carrier never sees the name of an extension, and its number only where no other is set: what the
world may see of a phone is its ``caller_id``, or that of the trunk. RFC 3323 (anonymous), RFC 3325
(P-Asserted-Identity).
"""

from __future__ import annotations

from softswitch.calls.core import Caller
from softswitch.config import CallerId, Trunk, formed
from softswitch.dialplan import Source
from softswitch.sip import escape_user, quote_display

_NOTHING = CallerId()
_NOBODY = frozenset(("", "anonymous", "unknown", "unavailable"))


def shown(
    caller: Caller,
    source: Source,
    route: CallerId | None = None,
    own: CallerId | None = None,
    carrier: Trunk | None = None,
) -> Caller:
    """The caller as a destination is told of it.

    ``route`` is what the route says of it (``caller:``), ``own`` what its extension does
    (``caller_id:``). ``carrier`` is where the call goes if that is a trunk and none of our
    switches: phones and our switches see who really calls, but for what the route says.
    ``private`` of what is returned: whoever is called may not see it.

    Whoever asked to be private stays so.
    """
    if route is None:
        if carrier is None or (
            carrier.caller_id is None and source.kind == "trunk" and not source.switch
        ):
            return caller
        route = _NOTHING
    if carrier is None:
        return Caller(
            route.number or caller.number,
            caller.name if route.name is None else _named(route.name, caller),
            caller.private or route.anonymous is True,
        )
    there = carrier.caller_id or _NOTHING
    own = own or _NOTHING
    number, name, said = route.number, route.name, route.anonymous
    if _is_ours(caller, source):
        number = number or own.number or there.number
        name = own.name if name is None else name
        name = (there.name or "") if name is None else name
        said = own.anonymous if said is None else said
    anonymous = there.anonymous if said is None else said
    return Caller(
        formed(number or caller.number, there.forms),
        caller.name if name is None else _named(name, caller),
        caller.private or anonymous is True,
    )


def _is_ours(caller: Caller, source: Source) -> bool:
    """Whether it is a phone of ours. Of one of our switches a number that begins with ``+`` is not
    an extension's: it came from outside, or is meant for it."""
    if source.kind == "extension":
        return True
    return source.switch and not caller.number.startswith("+")


def _named(name: str, caller: Caller) -> str:
    if "{" not in name:
        return name
    # Part by part: a caller's name may itself read `{number}`.
    parts = [part.replace("{number}", caller.number) for part in name.split("{name}")]
    return caller.name.join(parts)


def asserted(caller: Caller, sent_by: str) -> str:
    """The header lines by which one who is trusted is told who calls, and that nobody else may be
    (RFC 3325 §9.1, §9.3). ``sent_by`` is the host, and the port, of our address."""
    privacy = "Privacy: id\r\n" if caller.private else ""
    if caller.number.lower() in _NOBODY:
        return privacy
    name = quote_display(caller.name)
    return f"P-Asserted-Identity: {name}<sip:{escape_user(caller.number)}@{sent_by}>\r\n{privacy}"
