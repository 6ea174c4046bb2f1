"""The registrar (RFC 3261 §10.3): where each extension can be reached just now; no I/O.

A binding says two things: the Contact that the phone gave (the Request-URI of its calls) and the
address to send them to. The latter is where the REGISTER came from whenever the Contact cannot be
reached: a phone behind NAT names an address of its own network, and a connection has to be used
again. So a binding goes with its connection, unless its Contact says where the phone listens.

A phone with an instance (RFC 5626) takes the place of its old binding wherever it moved. One
without leaves bindings behind whenever it starts: those that can be told to be its own are replaced
(`leftovers`), and where there is no room for more the one that was silent for longest goes.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Final, Literal, TypeAlias

from softswitch.parties.bindings import (
    Binding,
    Contact,
    Flow,
    Refused,
    RegisterResult,
    contact_value,
    find_binding,
    gruu_params,
    in_order,
    leftovers,
    may_have_gruu,
    read_contact,
    read_path,
    remaining,
    seconds,
    target_of,
    without_connection,
)
from softswitch.sip import (
    Request,
    has_option,
    network_of,
    parse_address,
    parse_uri,
    printable,
    split_list,
    uri_scheme,
)

Gone: TypeAlias = Literal["expired", "removed", "replaced", "closed", "displaced"]
"""`closed`: with its connection; `displaced`: by a newer one, where there was no room for both."""

log = logging.getLogger(__name__)

RETRY_AFTER: Final = 60
"""Seconds after which a phone may try again that found the registrar full."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds. `max_contact_size` is characters of one Contact value. `service_route` are
    the proxies that phones are told to send by (RFC 3608), as URIs."""

    min_expires: int = 60
    default_expires: int = 3600
    max_expires: int = 7200
    max_contacts: int = 10
    max_registrations: int = 100_000
    max_contact_size: int = 1024
    service_route: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("expected 0 < min_expires <= default_expires <= max_expires")


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
        token: Callable[[], str] | None = None,
        registered: Callable[[str, Binding], None] = lambda aor, binding: None,
        unregistered: Callable[[str, Binding, Gone], None] = lambda aor, binding, why: None,
    ) -> None:
        self.settings = settings or Settings()
        self._clock = clock
        self._wall = wall
        self._token = token
        self._registered = registered
        self._unregistered = unregistered
        self.changed: Callable[[str], None] | None = None
        """Called with an address-of-record after any change of what `bindings` gives for it."""
        self._bindings: dict[str, list[Binding]] = {}
        self._count = 0
        self.temporary: dict[str, tuple[str, str]] = {}
        """By what temporary GRUUs are known, the extension and the instance."""
        self.on_gruu: Callable[[], None] | None = None
        """Called when a phone has got one."""
        # Bindings at each address, as `network_of` gives it.
        self._networks: dict[str, int] = {}
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

    def is_at(self, network: str) -> bool:
        """Whether a phone is registered at an address, as `network_of` gives it, those that ran out
        since the last `expire` included."""
        return network in self._networks

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
        found: list[Binding] = []
        for one in bindings:
            target = without_connection(one)
            if target is not None and one.expires_at > now and len(found) < room:
                until, since = min(one.expires_at, latest), min(one.since, now)
                found.append(replace(one, target=target, expires_at=until, since=since))
        if found:
            self._count += len(found)
            self._bindings[aor] = found
            self._move(aor, (), found)
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

    def registered(self) -> list[str]:
        """Who is registered, sorted."""
        return sorted(self._bindings)

    def lines(self) -> Iterator[str]:
        """What is registered now, a line a binding, by extension, for whoever runs the switch."""
        now = self._clock()
        for aor in sorted(self._bindings):
            for binding in self.contacts(aor):
                transport, host, port = binding.target
                host = f"[{host}]" if ":" in host else host
                yield (
                    f"{aor}  {binding.uri}  at {transport}:{host}:{port}  q={binding.q:g}  "
                    f"{remaining(binding, now)} s left  {printable(binding.user_agent)}".rstrip()
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
                target = one.target if one.target != flow else without_connection(one)
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
        self._move(aor, old or (), bindings)
        if not self._count:
            self._due.clear()
        if self.changed is not None:
            self.changed(aor)

    def _move(self, aor: str, old: Iterable[Binding], new: Iterable[Binding]) -> None:
        if self.temporary:
            for one in old:
                self.temporary.pop(one.temporary, None)
        for one in new:
            if one.temporary:
                self.temporary[one.temporary] = aor, one.instance
                if self.on_gruu is not None:
                    self.on_gruu()
        networks = self._networks
        for one in new:
            network = network_of(one.flow[1])
            networks[network] = networks.get(network, 0) + 1
        for one in old:
            network = network_of(one.flow[1])
            networks[network] -= 1
            if not networks[network]:
                del networks[network]

    # --- REGISTER

    def process(
        self, request: Request, aor: str, flow: Flow, proof: int = -1, listener: str = ""
    ) -> RegisterResult:
        """Serves a REGISTER without defect from one who may register for `aor`.

        `flow` is where it came from, `listener` to which address of ours, `proof` the number of the
        challenge that it answered (greater for a later one, -1 for none). All of its contacts are
        taken or none.
        """
        now = self._clock()
        self._drop_expired(aor, now)
        moved: list[Flow] = []
        try:
            if uri_scheme(parse_address(request.headers["to"][0]).uri) not in ("sip", "sips"):
                raise Refused(400, "To Is No SIP URI")  # RFC 4475 §3.3.4
            values = self._split(request)
            if values:
                moved = self._update(request, aor, flow, values, now, proof, listener)
        except Refused as refused:
            return refused.result
        asks = self._token is not None and has_option(request, "supported", "gruu")
        domain = _domain_of(request) if asks else ""
        headers = [
            (
                "Contact",
                contact_value(binding, now) + (gruu_params(aor, domain, binding) if asks else ""),
            )
            for binding in self._bindings.get(aor, ())
        ]
        if "path" in request.headers:
            headers += [("Path", value) for value in request.headers["path"]]
        if self._bindings.get(aor):
            headers += [("Service-Route", f"<{uri}>") for uri in self.settings.service_route]
        if values and self._is_outbound(request, aor):
            headers.append(("Require", "outbound"))
        headers.append(("Date", self._date_text()))
        return RegisterResult(200, "OK", headers, tuple(moved))

    def _is_outbound(self, request: Request, aor: str) -> bool:
        """Whether a phone is kept as RFC 5626 has it: it wants that, and whoever is next to it on
        the way, a proxy or this switch, can do it (§6)."""
        if not has_option(request, "supported", "outbound"):
            return False
        call_id = request.headers["call-id"][0]
        mine = [one for one in self._bindings.get(aor, ()) if one.call_id == call_id]
        if not any(one.instance and one.reg_id for one in mine):
            return False
        paths = [one.path[-1] for one in mine if one.path]
        return all("ob" in parse_uri(uri).params for uri in paths)

    def _split(self, request: Request) -> list[str]:
        """The Contact values, one each."""
        raw = request.headers.get("contact")
        if raw is None:
            return []
        # A phone that moves removes all that it may have and adds as many.
        most = 2 * self.settings.max_contacts
        if sum(map(len, raw)) > most * self.settings.max_contact_size:
            raise Refused(403, "Too Many Contacts")
        values = [value for line in raw for value in split_list(line)]
        if len(values) > most:
            raise Refused(403, "Too Many Contacts")
        return values

    def _update(
        self,
        request: Request,
        aor: str,
        flow: Flow,
        values: list[str],
        now: float,
        proof: int,
        listener: str,
    ) -> list[Flow]:
        """Returns where the phone was before, if it was elsewhere."""
        expires_values = request.headers.get("expires")
        header_expires = seconds(expires_values[0]) if expires_values else None
        old = self._bindings.get(aor, [])
        call_id, cseq = request.headers["call-id"][0], request.cseq
        if "*" in values:
            if len(values) > 1 or header_expires != 0:
                raise Refused(400, "Contact * Without Expires 0")
            for binding in old:
                in_order(binding, call_id, cseq, proof)
            self._replace(aor, [])
            for binding in old:
                self._unregistered(aor, binding, "removed")
            return []
        contacts = [read_contact(value, self.settings.max_contact_size) for value in values]
        user_agent = request.get("user-agent") or ""
        path = read_path(request, self.settings.max_contact_size)
        bindings = list(old)
        added: list[Binding] = []
        came: list[Binding] = []
        gone: list[tuple[Binding, Gone]] = []
        before: list[Binding] = []
        for contact in contacts:
            expires = self._lifetime(contact.expires, header_expires)
            found = find_binding(bindings, contact, added)
            if found is not None:
                if any(found is one for one in added):
                    continue  # the same once more
                in_order(found, call_id, cseq, proof)
                bindings.remove(found)
            if expires == 0:
                if found is not None:
                    gone.append((found, "removed"))
                    if found.call_id == call_id:
                        before.append(found)
                continue
            replaced = ""
            if found is None:
                for one in leftovers(bindings, contact, flow, call_id, user_agent, added):
                    bindings.remove(one)
                    gone.append((one, "replaced"))
                    before.append(one)
                    replaced = one.call_id if one.call_id != call_id else ""
            elif _is_the_same(found, contact, flow, call_id):
                before.append(found)
            # With a Path to the proxy before us, whatever the Contact says.
            there = target_of(contact.parsed, flow, request.via.rport is not None)
            target = flow if path else there
            stays = found is not None and (found.uri, found.target, found.listener) == (
                contact.uri,
                target,
                listener,
            )
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
                proof=max(proof, found.proof) if found is not None else proof,
                replaced=replaced or (found.replaced if found is not None else ""),
                path=path,
                listener=listener,
                temporary=self._temporary(request, contact.instance, found),
            )
            bindings.append(binding)
            added.append(binding)
            if not stays:
                came.append(binding)
                if found is not None:
                    gone.append((found, "replaced"))
        if len(added) > self.settings.max_contacts:
            raise Refused(403, "Too Many Contacts")
        displaced = bindings[: max(0, len(bindings) - max(self.settings.max_contacts, len(old)))]
        # What was refreshed goes to the end, so the first is the one that was silent for longest.
        bindings = bindings[len(displaced) :]
        more = len(bindings) - len(old)
        if more > 0 and self._count + more > self.settings.max_registrations:
            raise Refused(503, "Registrar Is Full", ("Retry-After", str(RETRY_AFTER)))
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
            transport, host, port = flow
            log.warning(
                "extension %s is registered at more than limits.max_contacts (%d): %s, silent for "
                "longest, gives way to %s:%s:%d",
                *(aor, self.settings.max_contacts, printable(binding.uri), transport, host, port),
            )
        for binding, why in gone:
            self._unregistered(aor, binding, why)
        for binding in came:
            self._registered(aor, binding)
        return [one.flow for one in before if one.flow != flow] if added else []

    def _temporary(self, request: Request, instance: str, before: Binding | None) -> str:
        if self._token is None or not may_have_gruu(instance):
            return ""
        if (
            before is not None
            and before.temporary
            and before.call_id == request.headers["call-id"][0]
        ):
            return before.temporary
        return self._token() if has_option(request, "supported", "gruu") else ""

    def _lifetime(self, asked: int | None, header: int | None) -> int:
        """Seconds for a contact that asked for so many, or left it to the header or to us."""
        if asked is None:
            asked = self.settings.default_expires if header is None else header
        if 0 < asked < self.settings.min_expires:
            minimum = str(self.settings.min_expires)
            raise Refused(423, "Interval Too Brief", ("Min-Expires", minimum))
        return min(asked, self.settings.max_expires)

    def _date_text(self) -> str:
        second = int(self._wall())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _domain_of(request: Request) -> str:
    """The host of the address-of-record, with its port if it has one."""
    uri = parse_uri(parse_address(request.headers["to"][0]).uri)
    return f"{uri.host}:{uri.port}" if uri.port else uri.host


def _is_the_same(found: Binding, contact: Contact, flow: Flow, call_id: str) -> bool:
    """Whether a binding with this Contact is of the same phone: two behind two NATs may have the
    same, and then both think that it is theirs."""
    if contact.instance and contact.instance == found.instance:
        return True
    return call_id == found.call_id or flow[1] == found.flow[1]
