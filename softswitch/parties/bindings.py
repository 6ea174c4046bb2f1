"""Bindings of a registrar: what a REGISTER says, and which one it is about (RFC 3261 §10.3).

No state: the registrar (`softswitch.parties.registrar`) holds them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from softswitch.sip import (
    Address,
    Request,
    Uri,
    delta_seconds,
    escape_user,
    is_public,
    parse_address,
    parse_uri,
    split_list,
    uri_scheme,
)

Flow: TypeAlias = tuple[str, str, int]
"""Transport ("udp", "tcp", ...), IP address without brackets, port."""

MALFORMED_EXPIRES: Final = 3600
"""Seconds that a malformed expires stands for (§10.2.1.1, §20.19)."""
_ROUNDING: Final = 0.001  # seconds

_Q_RE = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z", re.ASCII)
_CONTROL_RE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Parameters that must agree, also when only one of two URIs has them (§19.1.4).
_TELLING_PARAMS: Final = ("user", "ttl", "method", "maddr")


@dataclass(frozen=True, slots=True)
class Binding:
    """One phone, or one line of a phone, that an extension is registered at.

    `uri` is the Contact's, as it came. `flow` is where the REGISTER came from, `target` where
    requests are to be sent. `params` are the Contact's other parameters as text for the response,
    `instance` and `reg_id` those of RFC 5626, empty if absent. `expires_at` is in the clock's
    seconds, `since` too. `proof` numbers the challenge that the REGISTER answered, greater for a
    later one, -1 if none of this process. `replaced` is the Call-ID of the binding that was taken
    to be this phone's own of before it started, empty if there was none. `listener` is the address
    of ours that it registered at, as flows name it: a NAT lets in what comes from there alone.
    `temporary` is what its temporary GRUU is known by (RFC 5627), empty: it has asked for none.
    """

    uri: str
    flow: Flow
    target: Flow
    q: float
    expires_at: float
    since: float
    call_id: str
    cseq: int
    instance: str
    reg_id: str
    params: str
    user_agent: str
    proof: int = -1
    replaced: str = ""
    path: tuple[str, ...] = ()
    listener: str = ""
    temporary: str = ""


@dataclass(frozen=True, slots=True)
class RegisterResult:
    """The response to a REGISTER; `headers` are lines to add, names as written. `moved` is where
    the phone was before that registers from elsewhere now."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    moved: tuple[Flow, ...] = ()


@dataclass(frozen=True, slots=True)
class Contact:
    """One Contact of a REGISTER, read. `expires` is None if it came without."""

    uri: str
    parsed: Uri
    q: float
    expires: int | None
    instance: str
    reg_id: str
    params: str


class Refused(Exception):
    """The REGISTER fails and nothing changes (§10.3, last of step 7)."""

    def __init__(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        self.result = RegisterResult(status, reason, list(headers))


def in_order(binding: Binding, call_id: str, cseq: int, proof: int) -> None:
    """Fails a request that may not change `binding` (§10.3 step 7): one of the same Call-ID whose
    CSeq is not higher, as it was overtaken, or is a copy.

    A phone that was started anew may begin with CSeq 1, and still have its Call-ID. It answers a
    challenge that was made after all that its binding is of, which nothing overtaken does.
    """
    if binding.call_id == call_id and cseq <= binding.cseq and proof <= binding.proof:
        raise Refused(500, "CSeq Out Of Order")


def seconds(text: str | None) -> int:
    """The value of an expires parameter or Expires header."""
    found = delta_seconds(text)
    return MALFORMED_EXPIRES if found is None else found


def read_contact(value: str, max_size: int) -> Contact:
    if len(value) > max_size:
        raise Refused(400, "Contact Too Long")
    try:
        if _CONTROL_RE.search(value):
            raise ValueError("control characters")
        address = parse_address(value)
        if uri_scheme(address.uri) not in ("sip", "sips"):
            raise Refused(400, "Contact Is No SIP URI")
        parsed = parse_uri(address.uri)
        return _contact_of(address, parsed)
    except ValueError:
        raise Refused(400, "Bad Contact") from None


def _contact_of(address: Address, parsed: Uri) -> Contact:
    params = dict(address.params)
    expires = seconds(params.pop("expires")) if "expires" in params else None
    q_text = params.pop("q", "1")
    instance = (params.get("+sip.instance") or "").strip('"')
    reg_id = params.get("reg-id") or ""
    if q_text is None or _Q_RE.match(q_text) is None:
        raise ValueError("bad q")
    if reg_id and not (reg_id.isascii() and reg_id.isdecimal() and 0 < int(reg_id) < 2**31):
        raise ValueError("bad reg-id")
    text = "".join(
        f";{name}" if param is None else f";{name}={param}" for name, param in params.items()
    )
    return Contact(address.uri, parsed, float(q_text), expires, instance, reg_id, text)


def find_binding(bindings: list[Binding], contact: Contact, added: list[Binding]) -> Binding | None:
    """The binding that a Contact is about.

    A phone with an instance is known by it and by its reg-id (RFC 5626 §6), wherever it moved;
    without a reg-id it may also give several contacts in one request (`added`), which do not
    replace each other. Any other by its URI: two phones behind two NATs may have the same, but then
    differ in instance.
    """
    if contact.instance:
        for binding in bindings:
            same = binding.instance == contact.instance and binding.reg_id == contact.reg_id
            if same and (contact.reg_id or not any(binding is other for other in added)):
                return binding
    for binding in bindings:
        differ = (
            contact.instance
            and binding.instance
            and (contact.instance != binding.instance or contact.reg_id != binding.reg_id)
        )
        if not differ and (
            binding.uri == contact.uri or same_uri(parse_uri(binding.uri), contact.parsed)
        ):
            return binding
    return None


def leftovers(
    bindings: list[Binding],
    contact: Contact,
    flow: Flow,
    call_id: str,
    user_agent: str,
    added: list[Binding],
) -> list[Binding]:
    """The bindings that the phone behind a new Contact has left behind, as far as can be told.

    A phone without an instance that was started anew, or that connects again, has another port,
    often another Call-ID, and a Contact that differs from the one before in its port. All else is
    the same: its address and that of its own network, the user, the make. Should that be said of
    two phones, both show it: who was taken for one that is gone comes back with its Call-ID. Then
    both stay. They stay in the first place where the Contact tells nothing of a network of its own:
    all phones behind a NAT that write its address there say the same.
    """
    if contact.instance:
        return []
    transport, host, port = flow
    user, own = contact.parsed.user, contact.parsed.host
    found: list[Binding] = []
    for one in bindings:
        if one.call_id == call_id and one.instance:
            # Some leave their instance out when they connect again.
            if one.flow != flow and not any(one is other for other in added):
                found.append(one)
            continue
        if (
            one.instance
            or (own == host and one.call_id != call_id and is_public(host))
            or one.flow[0] != transport
            or one.flow[1] != host
            or one.flow[2] == port
            or one.user_agent != user_agent
            or (one.replaced == call_id and one.call_id != call_id)
            or any(one is other for other in added)
        ):
            continue
        uri = parse_uri(one.uri)
        if uri.user == user and uri.host == own:
            found.append(one)
    return found


def same_uri(one: Uri, other: Uri) -> bool:
    """Whether two SIP URIs are the same by §19.1.4, passwords apart."""
    if (one.scheme, one.user, one.number_params, one.host, one.port) != (
        other.scheme,
        other.user,
        other.number_params,
        other.host,
        other.port,
    ):
        return False
    if sorted(one.headers[1:].lower().split("&")) != sorted(other.headers[1:].lower().split("&")):
        return False
    if any((name in one.params) != (name in other.params) for name in _TELLING_PARAMS):
        return False
    return all(
        (value or "").lower() == (other.params[name] or "").lower()
        for name, value in one.params.items()
        if name in other.params
    )


def target_of(uri: Uri, flow: Flow, asks_for_rport: bool) -> Flow:
    """Where to send requests for a Contact.

    The Contact itself is believed only over UDP, when it names the host that the REGISTER came
    from, and the phone did not ask for rport: then it may well send from another port than it
    listens on. One that asks for rport listens where it sends from (RFC 3581 §3).
    """
    transport, host, _ = flow
    if transport != "udp" or asks_for_rport or uri.host.strip("[]") != host.lower():
        return flow
    if (uri.params.get("transport") or "udp").lower() != "udp":
        return flow
    return (transport, host, uri.port or 5060)


def without_connection(binding: Binding) -> Flow | None:
    """Where a phone can be reached when the connection is gone by which it registered.

    Over UDP as before. By a connection only if its Contact says that it takes some, at the address
    that it came from: any other is of a network that we do not see, and the port at which a
    connection began takes none (RFC 3261 §18.1.1, RFC 5626 §4.4.1).
    """
    transport, host, port = binding.target
    if transport == "udp":
        return binding.target
    uri = parse_uri(binding.uri)
    if transport != "tcp" or (uri.params.get("transport") or "udp").lower() != "tcp":
        return None
    if uri.host.strip("[]") != host.lower():
        return None
    listens = uri.port or 5060
    if binding.target == binding.flow and listens == port:
        return None
    return transport, host, listens


TEMPORARY: Final = "tgruu."
"""How the users of temporary GRUUs begin."""
_INSTANCE_RE: Final = re.compile(r"<([A-Za-z0-9:._~!$*'()/&+%-]{1,200})>")
_MOST_PROXIES: Final = 8


def read_path(request: Request, max_size: int) -> tuple[str, ...]:
    """The proxies that a REGISTER came through and that want to be on the way back (RFC 3327 §5.3).

    What is sent to the phone goes to where the REGISTER came from in any case: a Path leads nobody
    elsewhere. `max_size` is what each may have, in characters. Raises Refused.
    """
    values = request.headers.get("path")
    if not values:
        return ()
    if sum(map(len, values)) > _MOST_PROXIES * max_size:
        raise Refused(400, "Path Too Long")
    uris: list[str] = []
    for value in values:
        for part in split_list(value):
            if len(part) > max_size:
                raise Refused(400, "Path Too Long")
            try:
                uri = parse_address(part).uri
                scheme = uri_scheme(uri)
            except ValueError:
                raise Refused(400, "Bad Path") from None
            if scheme not in ("sip", "sips") or _CONTROL_RE.search(uri):
                raise Refused(400, "Bad Path")
            uris.append(uri)
    if len(uris) > _MOST_PROXIES:
        raise Refused(400, "Path Too Long")
    return tuple(uris)


def remaining(binding: Binding, now: float) -> int:
    """Seconds left, rounded up: what was just registered for 60 s has 60 s left, and not 61, which
    is what the last bits of a clock of large numbers can make of it."""
    return max(1, -int(-(binding.expires_at - now - _ROUNDING) // 1))


def may_have_gruu(instance: str) -> bool:
    """Whether an instance can stand in a URI as it is."""
    return _INSTANCE_RE.fullmatch(instance) is not None


def gruu_params(aor: str, domain: str, binding: Binding) -> str:
    """What a Contact of a 200 says of a phone's GRUUs (RFC 5627 §5.3), empty if it has none."""
    found = _INSTANCE_RE.fullmatch(binding.instance) if binding.temporary else None
    if found is None:
        return ""
    return (
        f';pub-gruu="sip:{escape_user(aor)}@{domain};gr={found[1]}"'
        f';temp-gruu="sip:{TEMPORARY}{binding.temporary}@{domain};gr"'
    )


def contact_value(binding: Binding, now: float) -> str:
    q = "" if binding.q == 1 else f";q={binding.q:g}"
    return f"<{binding.uri}>;expires={remaining(binding, now)}{q}{binding.params}"
