"""The registrar (RFC 3261 §10.3): where each extension can be reached just now; no I/O.

A binding says two things: the Contact that the phone gave (the Request-URI of its calls) and the
address to send them to. The latter is where the REGISTER came from whenever the Contact cannot be
reached: a phone behind NAT names an address of its own network, and a connection has to be used
again. So a binding goes with its connection, unless its Contact says where the phone listens.

A phone with an instance (RFC 5626) takes the place of its old binding wherever it moved. One
without leaves bindings behind whenever it starts: those that can be told to be its own are replaced
(`_leftovers`), and where there is no room for more the one that was silent for longest goes.
"""

from __future__ import annotations

import heapq
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Final, Literal, TypeAlias

from softswitch.sip import (
    Address,
    Request,
    Uri,
    parse_address,
    parse_uri,
    printable,
    split_list,
    uri_scheme,
)

Flow: TypeAlias = tuple[str, str, int]
"""Transport ("udp", "tcp", ...), IP address without brackets, port."""

Gone: TypeAlias = Literal["expired", "removed", "replaced", "closed", "displaced"]
"""`closed`: with its connection; `displaced`: by a newer one, where there was no room for both."""

log = logging.getLogger(__name__)

MALFORMED_EXPIRES: Final = 3600
"""Seconds that a malformed expires stands for (§10.2.1.1, §20.19)."""
MAX_EXPIRES_DIGITS: Final = 10
_ROUNDING: Final = 0.001  # seconds
RETRY_AFTER: Final = 60
"""Seconds after which a phone may try again that found the registrar full."""

_Q_RE = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z", re.ASCII)
_CONTROL_RE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Parameters that must agree, also when only one of two URIs has them (§19.1.4).
_TELLING_PARAMS: Final = ("user", "ttl", "method", "maddr")


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. `max_contact_size` is characters of one Contact value."""

    min_expires: int = 60
    default_expires: int = 3600
    max_expires: int = 7200
    max_contacts: int = 10
    max_registrations: int = 100_000
    max_contact_size: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("expected 0 < min_expires <= default_expires <= max_expires")


@dataclass(frozen=True, slots=True)
class Binding:
    """One phone, or one line of a phone, that an extension is registered at.

    `uri` is the Contact's, as it came. `flow` is where the REGISTER came from, `target` where
    requests are to be sent. `params` are the Contact's other parameters as text for the response,
    `instance` and `reg_id` those of RFC 5626, empty if absent. `expires_at` is in the clock's
    seconds, `since` too. `proof` numbers the challenge that the REGISTER answered, greater for a
    later one, -1 if none of this process. `replaced` is the Call-ID of the binding that was taken
    to be this phone's own of before it started, empty if there was none.
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


@dataclass(frozen=True, slots=True)
class RegisterResult:
    """The response to a REGISTER; `headers` are lines to add, names as written."""

    status: int
    reason: str
    headers: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Contact:
    """One Contact of a REGISTER, read. `expires` is None if it came without."""

    uri: str
    parsed: Uri
    q: float
    expires: int | None
    instance: str
    reg_id: str
    params: str


class _Refused(Exception):
    """The REGISTER fails and nothing changes (§10.3, last of step 7)."""

    def __init__(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        self.result = RegisterResult(status, reason, list(headers))


class Registrar:
    """All bindings of a switch.

    `clock` returns seconds and never goes back; `wall` is seconds since the epoch, for the Date
    header. `registered(aor, binding)` is called when a phone is new or has moved, not when it
    refreshes; `unregistered(aor, binding, why)` when it is gone. Both are called after the change
    is in force.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        settings: Settings | None = None,
        *,
        wall: Callable[[], float] = time.time,
        registered: Callable[[str, Binding], None] = lambda aor, binding: None,
        unregistered: Callable[[str, Binding, Gone], None] = lambda aor, binding, why: None,
    ) -> None:
        self.settings = settings or Settings()
        self._clock = clock
        self._wall = wall
        self._registered = registered
        self._unregistered = unregistered
        self.changed: Callable[[str], None] | None = None
        """Called with an address-of-record after any change of what `bindings` gives for it."""
        self._bindings: dict[str, list[Binding]] = {}
        self._count = 0
        # Whose requests go by each connection.
        self._by_connection: dict[Flow, set[str]] = {}
        # When each address-of-record has a binding to look at; a refresh leaves its old entry
        # behind.
        self._due: list[tuple[float, str]] = []
        self._date = (0, "")

    def __len__(self) -> int:
        """Bindings, those that ran out since the last `expire` included."""
        return self._count

    # --- what is registered

    def bindings(self, aor: str) -> list[Binding]:
        """All bindings of `aor`, those that ran out since the last `expire` included."""
        return self._bindings.get(aor, [])

    def restore(self, aor: str, bindings: list[Binding]) -> list[Binding]:
        """Take what an earlier process had of `aor`; returns what of it holds still.

        Not what ran out, nor what does not fit any more. Nor what was reached by a connection, as
        in `closed`: that is gone, which its phone notices (RFC 5626 §4.4.1). None lasts longer than
        a REGISTER could make it: the time of day, by which they are written, may be wrong.
        """
        now = self._clock()
        room = self.settings.max_registrations - self._count
        latest = now + self.settings.max_expires
        found = [
            replace(
                one,
                target=target,
                expires_at=min(one.expires_at, latest),
                since=min(one.since, now),
            )
            for one in bindings
            if one.expires_at > now and (target := _without_connection(one)) is not None
        ][:room]
        if found:
            self._count += len(found)
            self._bindings[aor] = found
            self._connected(aor, found)
            for binding in found:
                heapq.heappush(self._due, (binding.expires_at, aor))
        return found

    def contacts(self, aor: str) -> list[Binding]:
        """The live bindings of `aor`, the highest q first, and of equal q the newest phone
        first."""
        bindings = self._bindings.get(aor)
        if not bindings:
            return []
        now = self._clock()
        live = [binding for binding in bindings if binding.expires_at > now]
        if len(live) > 1:
            live.sort(key=lambda binding: (-binding.q, -binding.since))
        return live

    def lines(self) -> Iterator[str]:
        """What is registered now, a line a binding, by extension, for whoever runs the switch."""
        now = self._clock()
        for aor in sorted(self._bindings):
            for binding in self.contacts(aor):
                transport, host, port = binding.target
                host = f"[{host}]" if ":" in host else host
                yield (
                    f"{aor}  {binding.uri}  at {transport}:{host}:{port}  q={binding.q:g}  "
                    f"{_remaining(binding, now)} s left  {printable(binding.user_agent)}".rstrip()
                )

    def expire(self, now: float) -> float | None:
        """Removes what ran out by `now`; returns when to come again, None if nothing is
        registered."""
        due = self._due
        while due and due[0][0] <= now:
            self._drop_expired(heapq.heappop(due)[1], now)
        return due[0][0] if due else None

    def closed(self, flow: Flow) -> None:
        """This connection is closed: whoever was reached by it alone is not registered any more.

        A phone that takes connections where its Contact says is called there from now on.
        """
        for aor in sorted(self._by_connection.pop(flow, ())):
            bindings: list[Binding] = []
            gone: list[Binding] = []
            for one in self._bindings.get(aor, ()):
                target = one.target if one.target != flow else _without_connection(one)
                if target is None:
                    gone.append(one)
                else:
                    bindings.append(one if target == one.target else replace(one, target=target))
            self._replace(aor, bindings)
            for one in gone:
                self._unregistered(aor, one, "closed")

    def _connected(self, aor: str, bindings: list[Binding]) -> None:
        for one in bindings:
            if one.target[0] != "udp":
                self._by_connection.setdefault(one.target, set()).add(aor)

    def _drop_expired(self, aor: str, now: float) -> None:
        bindings = self._bindings.get(aor, [])
        gone = [binding for binding in bindings if binding.expires_at <= now]
        if gone:
            self._replace(aor, [binding for binding in bindings if binding.expires_at > now])
            for binding in gone:
                self._unregistered(aor, binding, "expired")

    def _replace(self, aor: str, bindings: list[Binding]) -> None:
        old = self._bindings.get(aor)
        for one in old or ():
            aors = self._by_connection.get(one.target)
            if aors is not None:
                aors.discard(aor)
                if not aors:
                    del self._by_connection[one.target]
        self._connected(aor, bindings)
        if bindings:
            self._bindings[aor] = bindings
        elif old is None:
            return
        else:
            del self._bindings[aor]
        self._count += len(bindings) - len(old or ())
        if not self._count:
            self._due.clear()
        if self.changed is not None:
            self.changed(aor)

    # --- REGISTER

    def process(self, request: Request, aor: str, flow: Flow, proof: int = -1) -> RegisterResult:
        """Serves a REGISTER without defect from one who may register for `aor`.

        `flow` is where it came from, `proof` the number of the challenge that it answered (greater
        for a later one, -1 for none). All of its contacts are taken or none.
        """
        now = self._clock()
        self._drop_expired(aor, now)
        try:
            if uri_scheme(parse_address(request.headers["to"][0]).uri) not in ("sip", "sips"):
                raise _Refused(400, "To Is No SIP URI")  # RFC 4475 §3.3.4
            values = self._split(request)
            if values:
                self._update(request, aor, flow, values, now, proof)
        except _Refused as refused:
            return refused.result
        headers = [
            ("Contact", _contact_value(binding, now)) for binding in self._bindings.get(aor, ())
        ]
        headers.append(("Date", self._date_text()))
        return RegisterResult(200, "OK", headers)

    def _split(self, request: Request) -> list[str]:
        """The Contact values, one each."""
        raw = request.headers.get("contact")
        if raw is None:
            return []
        # A phone that moves removes all that it may have and adds as many.
        most = 2 * self.settings.max_contacts
        if sum(map(len, raw)) > most * self.settings.max_contact_size:
            raise _Refused(403, "Too Many Contacts")
        values = [value for line in raw for value in split_list(line)]
        if len(values) > most:
            raise _Refused(403, "Too Many Contacts")
        return values

    def _update(
        self,
        request: Request,
        aor: str,
        flow: Flow,
        values: list[str],
        now: float,
        proof: int,
    ) -> None:
        expires_values = request.headers.get("expires")
        header_expires = _seconds(expires_values[0]) if expires_values else None
        old = self._bindings.get(aor, [])
        call_id, cseq = request.headers["call-id"][0], request.cseq
        if "*" in values:
            if len(values) > 1 or header_expires != 0:
                raise _Refused(400, "Contact * Without Expires 0")
            for binding in old:
                _in_order(binding, call_id, cseq, proof)
            self._replace(aor, [])
            for binding in old:
                self._unregistered(aor, binding, "removed")
            return
        contacts = [_read_contact(value, self.settings.max_contact_size) for value in values]
        user_agent = request.get("user-agent") or ""
        bindings = list(old)
        added: list[Binding] = []
        came: list[Binding] = []
        gone: list[tuple[Binding, Gone]] = []
        for contact in contacts:
            expires = self._lifetime(contact.expires, header_expires)
            found = _find(bindings, contact, added)
            if found is not None:
                if any(found is one for one in added):
                    continue  # the same once more
                _in_order(found, call_id, cseq, proof)
                bindings.remove(found)
            if expires == 0:
                if found is not None:
                    gone.append((found, "removed"))
                continue
            replaced = ""
            if found is None:
                for one in _leftovers(bindings, contact, flow, call_id, user_agent, added):
                    bindings.remove(one)
                    gone.append((one, "replaced"))
                    replaced = one.call_id if one.call_id != call_id else ""
            target = _target(contact.parsed, flow, request.via.rport is not None)
            stays = found is not None and (found.uri, found.target) == (contact.uri, target)
            binding = Binding(
                uri=contact.uri,
                flow=flow,
                target=target,
                q=contact.q,
                expires_at=now + expires,
                since=found.since if found is not None and stays else now,
                call_id=call_id,
                cseq=cseq,
                instance=contact.instance,
                reg_id=contact.reg_id,
                params=contact.params,
                user_agent=user_agent,
                proof=proof,
                replaced=replaced or (found.replaced if found is not None else ""),
            )
            bindings.append(binding)
            added.append(binding)
            if not stays:
                came.append(binding)
                if found is not None:
                    gone.append((found, "replaced"))
        if len(added) > self.settings.max_contacts:
            raise _Refused(403, "Too Many Contacts")
        displaced = bindings[: max(0, len(bindings) - max(self.settings.max_contacts, len(old)))]
        # What was refreshed goes to the end, so the first is the one that was silent for longest.
        bindings = bindings[len(displaced) :]
        more = len(bindings) - len(old)
        if more > 0 and self._count + more > self.settings.max_registrations:
            raise _Refused(503, "Registrar Is Full", ("Retry-After", str(RETRY_AFTER)))
        self._replace(aor, bindings)
        for binding in added:
            heapq.heappush(self._due, (binding.expires_at, aor))
        if len(self._due) > 2 * self._count + 64:
            self._due = [
                (b.expires_at, name) for name, all_ in self._bindings.items() for b in all_
            ]
            heapq.heapify(self._due)
        for binding in displaced:
            gone.append((binding, "displaced"))
            log.warning(
                "extension %s is registered at more than limits.max_contacts (%d): %s, silent for "
                "longest, gives way to %s:%s:%d",
                *(aor, self.settings.max_contacts, printable(binding.uri), *flow),
            )
        for binding, why in gone:
            self._unregistered(aor, binding, why)
        for binding in came:
            self._registered(aor, binding)

    def _lifetime(self, asked: int | None, header: int | None) -> int:
        """Seconds for a contact that asked for so many, or left it to the header or to us."""
        if asked is None:
            asked = self.settings.default_expires if header is None else header
        if 0 < asked < self.settings.min_expires:
            minimum = str(self.settings.min_expires)
            raise _Refused(423, "Interval Too Brief", ("Min-Expires", minimum))
        return min(asked, self.settings.max_expires)

    def _date_text(self) -> str:
        second = int(self._wall())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _in_order(binding: Binding, call_id: str, cseq: int, proof: int) -> None:
    """Fails a request that may not change `binding` (§10.3 step 7): one of the same Call-ID whose
    CSeq is not higher, as it was overtaken, or is a copy.

    A phone that was started anew may begin with CSeq 1, and still have its Call-ID. It answers a
    challenge that was made after all that its binding is of, which nothing overtaken does.
    """
    if binding.call_id == call_id and cseq <= binding.cseq and proof <= binding.proof:
        raise _Refused(500, "CSeq Out Of Order")


def _seconds(text: str | None) -> int:
    """The value of an expires parameter or Expires header."""
    text = (text or "").strip()
    if not text.isascii() or not text.isdecimal():
        return MALFORMED_EXPIRES
    # 2**32-1 is the largest that the grammar means; nobody gets that much.
    return int(text) if len(text) <= MAX_EXPIRES_DIGITS else 2**32 - 1


def _read_contact(value: str, max_size: int) -> _Contact:
    if len(value) > max_size:
        raise _Refused(400, "Contact Too Long")
    try:
        if _CONTROL_RE.search(value):
            raise ValueError("control characters")
        address = parse_address(value)
        if uri_scheme(address.uri) not in ("sip", "sips"):
            raise _Refused(400, "Contact Is No SIP URI")
        parsed = parse_uri(address.uri)
        return _contact_of(address, parsed)
    except ValueError:
        raise _Refused(400, "Bad Contact") from None


def _contact_of(address: Address, parsed: Uri) -> _Contact:
    params = dict(address.params)
    expires = _seconds(params.pop("expires")) if "expires" in params else None
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
    return _Contact(address.uri, parsed, float(q_text), expires, instance, reg_id, text)


def _find(bindings: list[Binding], contact: _Contact, added: list[Binding]) -> Binding | None:
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


def _leftovers(
    bindings: list[Binding],
    contact: _Contact,
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
    both stay.
    """
    if contact.instance:
        return []
    transport, host, port = flow
    user, own = contact.parsed.user, contact.parsed.host
    found: list[Binding] = []
    for one in bindings:
        if (
            one.instance
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
    if (one.scheme, one.user, one.host, one.port) != (
        other.scheme,
        other.user,
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


def _target(uri: Uri, flow: Flow, asks_for_rport: bool) -> Flow:
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


def _without_connection(binding: Binding) -> Flow | None:
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
    return (
        None if binding.target == binding.flow and listens == port else (transport, host, listens)
    )


def _remaining(binding: Binding, now: float) -> int:
    """Seconds left, rounded up: what was just registered for 60 s has 60 s left, and not 61, which
    is what the last bits of a clock of large numbers can make of it."""
    return max(1, -int(-(binding.expires_at - now - _ROUNDING) // 1))


def _contact_value(binding: Binding, now: float) -> str:
    q = "" if binding.q == 1 else f";q={binding.q:g}"
    return f"<{binding.uri}>;expires={_remaining(binding, now)}{q}{binding.params}"
