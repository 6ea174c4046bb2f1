"""Registrations of ours with carriers (RFC 3261 §10.2): one for each trunk that wants it.

States of one: it waits (for an address, or after a failure), asks, is registered. What ends a
failure's wait is time alone: each takes twice as long as the one before, unless the carrier says
how long (Retry-After). A password that is refused is not tried again soon: carriers lock those out
who guess. No I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

from softswitch.calls import route_lines
from softswitch.config import Trunk, TrunkAccount
from softswitch.sip import (
    Account,
    ClientRequest,
    Exchange,
    Flow,
    Response,
    Timer,
    Timers,
    Tokens,
    Transactions,
    delta_seconds,
    escape_user,
    parse_address,
    parse_uri,
    readable,
    split_list,
)

log = logging.getLogger("softswitch.parties.trunks")

FIRST_AGAIN: Final = 5.0
"""Seconds until it is tried again for the first time; each time twice as long, and at most..."""
LAST_AGAIN: Final = 300.0
REFUSED_AGAIN: Final = 600.0
"""The least that is waited after it was refused: a wrong password, an account that is closed."""
_MOST_AGAIN: Final = 3600.0
_REFUSED: Final = frozenset((401, 403, 404, 407))
_LONGEST: Final = 86_400
_MOST_ROUTES: Final = 8
_LONGEST_ROUTE: Final = 400

WAITS: Final = "waits"
ASKS: Final = "asks"
REGISTERED: Final = "registered"


class Ways(Protocol):
    """Where trunks are."""

    def flow_to_trunk(self, trunk: Trunk) -> Flow | None:
        """A flow there; None if nothing leads there."""

    def other_flow(self, trunk: Trunk, tried: Flow, seconds: float) -> Flow | None:
        """A flow to another address of the trunk, as `tried` takes nothing: it is the last choice
        for so long. None if it has no other that is not."""


class Enrolment:
    """Of one trunk. Its `state` is one of those above, `why` what the last try came to if that
    failed, `until` when the registration runs out, in seconds of the clock."""

    def __init__(self, of: Enrolments, trunk: Trunk, ours: TrunkAccount, account: Account) -> None:
        self._of = of
        self.trunk = trunk
        self.ours = ours
        self._account = account
        self._state = WAITS
        self.why = ""
        self.until = 0.0
        self._call_id = of.tokens.token()
        self._cseq = 0
        self._expires = ours.expires
        self._failures = 0
        self._left = False
        self._timer: Timer | None = None
        self._contact = ""
        self._flow: Flow | None = None  # where it was asked for last
        self._not_before = 0.0

    @property
    def state(self) -> str:
        """How it is now: what has run out is no registration, whenever that is tried again."""
        if self._state == REGISTERED and self._of.timers.clock() >= self.until:
            return WAITS
        return self._state

    def found(self) -> None:
        """Its address is another one now: nothing is waited for but what the carrier asked for."""
        if self.state == WAITS and self._of.timers.clock() >= self._not_before:
            self.ask()

    def ask(self) -> None:
        """Register, or refresh."""
        flow = self._of.ways.flow_to_trunk(self.trunk)
        if flow is None:
            self._failed(0, "its address is not known", 0.0)
        else:
            self._ask(flow)

    def _ask(self, flow: Flow) -> None:
        self._stop()
        if self.state != REGISTERED:
            self._state = ASKS
        self._flow = flow
        kind = f";transport={flow.transport}" if flow.transport != "udp" else ""
        user = escape_user(self.ours.contact_user)
        self._contact = f"sip:{user}@{flow.sent_by}{kind}"
        self._send(flow, self._expires)

    def leave(self) -> None:
        """Not registered any more: the switch stops, or does without this trunk."""
        self._stop()
        was, self._left = self.state, True
        self._state, self.why = WAITS, ""
        # Where it is registered, which need not be where the trunk is by now.
        if self._flow is not None and was != WAITS:
            self._send(self._flow, 0)

    def stop(self) -> None:
        """Nothing more is asked."""
        self._left = True
        self._stop()

    def _send(self, flow: Flow, expires: int) -> None:
        of, ours, to = self._of, self.ours, self.trunk.to
        host = f"[{to.host}]" if ":" in to.host else to.host
        us = f"<sip:{escape_user(ours.user)}@{host}>"
        self._cseq += 1
        request = ClientRequest(
            "REGISTER",
            f"sip:{to.domain}",
            of.tokens.branch(),
            f"{us};tag={of.tokens.token()}",
            us,
            self._call_id,
            self._cseq,
            routes=route_lines(self.trunk.path),
            extra=f"Contact: <{self._contact}>\r\nExpires: {expires}\r\n"
            f"User-Agent: {of.user_agent}\r\n",
        )
        exchange = Exchange(self._account)
        exchange.before(request)
        request.authorizer = exchange

        of.transactions.send(request, flow, partial(self._answered, request))

    def _answered(self, request: ClientRequest, response: Response) -> None:
        # It has gone up with each challenge.
        self._cseq = max(self._cseq, request.cseq)
        status = response.status
        if status < 200 or self._left:
            return
        if status < 300:
            self._accepted(response)
            return
        if status == 423:
            least = delta_seconds(response.get("min-expires")) or 0
            if self._expires < least <= _LONGEST:
                self._expires = least
                self.ask()
                return
        after = float(delta_seconds(response.get("retry-after")) or 0)
        if self._flow is not None and (status == 503 or (status == 408 and response.ours)):
            # That address takes none; the carrier's others may (RFC 3263 §4.3).
            seconds = max(after, LAST_AGAIN)
            other = self._of.ways.other_flow(self.trunk, self._flow, seconds)
            if other is not None:
                self._ask(other)
                return
        why = f"{status} {readable(response.reason)}"
        self._failed(status, why, after)

    def _accepted(self, response: Response) -> None:
        seconds = self._granted(response)
        if self.state != REGISTERED or self.why:
            log.info("trunk %s: registered for %d s", self.trunk.name, seconds)
        self._state, self.why, self._failures, self._not_before = REGISTERED, "", 0, 0.0
        self._of.routes[self.trunk.name] = self._routes(response)
        self.until = self._of.timers.clock() + seconds
        # Early enough for a few tries, as late as one may.
        self._after(max(1.0, seconds - min(60.0, seconds / 4)))

    def _routes(self, response: Response) -> tuple[str, ...]:
        """By which proxies its requests want to go from now on, besides ours (RFC 3608 §5). They
        are sent to the trunk's address all the same: this leads nobody elsewhere."""
        found: list[str] = []
        ours = [parse_uri(uri).host for uri in self.trunk.path]
        for value in response.headers.get("service-route", ()):
            for part in split_list(value):
                try:
                    uri = parse_address(part).uri
                    read = parse_uri(uri)
                except ValueError:
                    log.warning("trunk %s: a Service-Route that is none", self.trunk.name)
                    return ()
                if len(uri) > _LONGEST_ROUTE or len(found) >= _MOST_ROUTES:
                    log.warning("trunk %s: too much of a Service-Route", self.trunk.name)
                    return ()
                if found or read.host not in ours:
                    found.append(uri)
        return tuple(found)

    def _granted(self, response: Response) -> int:
        """For how long: what stands beside our Contact, or for all of them (§10.2.4)."""
        for value in response.headers.get("contact", ()):
            for one in split_list(value):
                try:
                    address = parse_address(one)
                except ValueError:
                    continue
                if address.uri.partition(";")[0] == self._contact.partition(";")[0]:
                    text = address.params.get("expires")
                    if seconds := delta_seconds(text):
                        return min(seconds, _LONGEST)
        return min(delta_seconds(response.get("expires")) or self._expires, _LONGEST)

    def _failed(self, status: int, why: str, after: float) -> None:
        now = self._of.timers.clock()
        if self.state != REGISTERED:
            self._state = WAITS
        wait = FIRST_AGAIN * 2.0**self._failures
        if status in _REFUSED:
            self._state = WAITS
            wait = min(max(wait, REFUSED_AGAIN * 2.0**self._failures), _MOST_AGAIN)
        else:
            wait = min(wait, LAST_AGAIN)
        # Not all trunks, and not all switches of a network, in one moment.
        wait *= 0.75 + 0.5 * self._of.chance()
        wait = max(wait, min(after, _MOST_AGAIN))
        self._not_before = now + wait if status in _REFUSED or after else 0.0
        self._failures = min(self._failures + 1, 10)
        if why != self.why and status:
            log.warning("trunk %s: not registered: %s; again in %.0f s", self.trunk.name, why, wait)
        self.why = why
        self._after(wait)

    def _after(self, seconds: float) -> None:
        self._stop()
        self._timer = self._of.timers.after(seconds, self.ask)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Enrolments:
    """All of them, and the `accounts` of trunks by party (`trunk:NAME`), always the same table."""

    def __init__(
        self,
        accounts: dict[str, Account],
        ways: Ways,
        timers: Timers,
        tokens: Tokens,
        transactions: Transactions,
        user_agent: str,
    ) -> None:
        self._accounts = accounts
        self.ways = ways
        self.timers = timers
        self.tokens = tokens
        self.transactions = transactions
        self.user_agent = user_agent
        self._all: dict[str, Enrolment] = {}
        self._ours: dict[str, tuple[Trunk, Account]] = {}
        self._open = False
        self.routes: dict[str, tuple[str, ...]] = {}
        """By trunk, the proxies that it wants its requests to go by, as URIs."""
        self.contacts: dict[str, str] = {}
        """Trunks by the users of our Contacts there."""

    def __len__(self) -> int:
        """Trunks that we are to be registered with."""
        return len(self._all)

    def of(self, trunk: str) -> Enrolment | None:
        """That of a trunk, if it wants one."""
        return self._all.get(trunk)

    def chance(self) -> float:
        """From 0 to 1."""
        return int(self.tokens.token(4), 16) / 0xFFFF

    def take_up(self, trunks: Mapping[str, Trunk]) -> None:
        """Go on with these trunks: what has not changed of one stays as it is."""
        for name, (trunk, _) in list(self._ours.items()):
            now = trunks.get(name)
            if (
                now is None
                or now.account != trunk.account
                or (now.to, now.hop) != (trunk.to, trunk.hop)
            ):
                del self._ours[name]
                self._accounts.pop(f"trunk:{name}", None)
                self.routes.pop(name, None)
                gone = self._all.pop(name, None)
                if gone is None:
                    continue
                if now is not None and _is_the_same(trunk, now):
                    # The new one takes its place; the end of this one might come after it.
                    gone.stop()
                else:
                    gone.leave()
        for name, trunk in trunks.items():
            ours = trunk.account
            if ours is None or name in self._ours:
                continue
            account = Account(ours.auth_user, ours.password, ours.realm, self._cnonce)
            self._ours[name] = trunk, account
            self._accounts[f"trunk:{name}"] = account
            if ours.registers:
                self._all[name] = Enrolment(self, trunk, ours, account)
                if self._open:
                    self._all[name].ask()
        self.contacts.clear()
        self.contacts.update({one.ours.contact_user: name for name, one in self._all.items()})

    def _cnonce(self) -> str:
        return self.tokens.token()

    def open(self) -> None:
        """The switch listens, and knows addresses: register."""
        self._open = True
        for one in self._all.values():
            one.ask()

    def found(self, trunk: str) -> None:
        """The address of a trunk is known now."""
        one = self._all.get(trunk)
        if one is not None and self._open:
            one.found()

    def leave(self) -> None:
        """The switch stops."""
        for one in self._all.values():
            one.leave()
        self._open = False


def _is_the_same(one: Trunk, other: Trunk) -> bool:
    """Whether both register the same Contact for the same address-of-record, in the same place."""
    ours, theirs = one.account, other.account
    return (
        ours is not None
        and theirs is not None
        and theirs.registers
        and one.to == other.to
        and (ours.user, ours.contact_user) == (theirs.user, theirs.contact_user)
    )
