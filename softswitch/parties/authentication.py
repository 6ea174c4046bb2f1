"""Phones prove who they are (digest, RFC 3261 §22); who guesses waits for the next challenge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from softswitch.calls import same_request
from softswitch.config import Extension
from softswitch.dialplan import Source
from softswitch.parties.bans import Bans
from softswitch.parties.registrar import Registrar
from softswitch.parties.screening import Guesses
from softswitch.sip import (
    Answer,
    Authenticated,
    Digest,
    Flow,
    MalformedCredentials,
    Request,
    Secret,
    Timers,
    WrongPassword,
    claimed_user,
)

log = logging.getLogger(__name__)


class Authentication:
    """What a request's credentials are worth. `refuse` sends the answers that come late, as
    `Transactions.refuse` does."""

    def __init__(
        self,
        digest: Digest,
        guesses: Guesses,
        registrar: Registrar,
        extensions: dict[str, Extension],
        timers: Timers,
        refuse: Callable[[Request, Flow, int, str | None, str], None],
        bans: Bans,
    ) -> None:
        self._digest = digest
        self._guesses = guesses
        self._registrar = registrar
        self._extensions = extensions
        self._timers = timers
        self._refuse = refuse
        self._bans = bans
        # Phones of which it was said that their credentials are for another URI.
        self._other_uris: set[str] = set()
        self.challenged = 0
        """Requests without a password since the start."""

    def check(self, request: Request, flow: Flow) -> Answer | None:
        """Notes the extension that a phone has proved to be (of a REGISTER also how), or says what
        it is answered."""
        if len(self._guesses) and "authorization" in request.headers:
            name = claimed_user(request, "authorization")
            if name is not None and self._unheard(request, flow, name):
                return Answer(0)
        outcome = self._digest.verify(request, "authorization", self._password)
        if isinstance(outcome, Authenticated):
            name = outcome.username
            if not self._may_come(name, flow.remote[0]):
                log.warning(
                    "extension %s: its password is right, but it may not come from %s (allow)",
                    *(name, flow.remote[0]),
                )
                return self._wrong_password(request, flow, name)
            self._bans.proved(flow.remote[0])
            if len(self._guesses):
                self._guesses.right(flow.remote[0], name)
            if outcome.other_uri and name not in self._other_uris:
                self._other_uris.add(name)
                host, port = flow.remote
                log.warning(
                    "extension %s (%s:%s:%d): its credentials are for another URI than its request,"
                    " and are taken all the same (switch.digest_any_uri); not said again",
                    *(name, flow.transport, host, port),
                )
            if request.method == "REGISTER":
                request.party = outcome
            else:
                request.party = Source("extension", name)
            return None
        if isinstance(outcome, MalformedCredentials):
            return Answer(400, outcome.reason)
        if isinstance(outcome, WrongPassword):
            return self._wrong_password(request, flow, outcome.username)
        self.challenged += 1
        if not self._bans.stranger(flow.remote[0]):
            return Answer(0)
        return self._challenge(outcome.stale)

    def _may_come(self, name: str, host: str) -> bool:
        """Whether an extension may ask from that address."""
        extension = self._extensions.get(name)
        if extension is None or not extension.allow:
            return True
        address = ip_address(host)
        return any(address in network for network in extension.allow)

    def _challenge(self, stale: bool) -> Answer:
        challenges = self._digest.challenge(stale)
        return Answer(401, None, "".join(f"WWW-Authenticate: {one}\r\n" for one in challenges))

    def _is_own(self, flow: Flow, name: str) -> bool:
        """Whether a phone of that name is registered where this comes from."""
        here = (flow.transport, *flow.remote)
        return any(binding.flow == here for binding in self._registrar.contacts(name))

    def _unheard(self, request: Request, flow: Flow, name: str) -> bool:
        """Whether a password is not to be looked at, as too many were wrong from there."""
        host, port = flow.remote
        return not self._is_own(flow, name) and self._guesses.unheard(
            flow.transport, host, port, name, request.method, same_request(request, flow)
        )

    def _wrong_password(self, request: Request, flow: Flow, name: str) -> Answer:
        """The next challenge, which whoever goes on guessing waits for."""
        host, port = flow.remote
        self._bans.stranger(host, guess=True)
        own = self._is_own(flow, name)
        key = same_request(request, flow)
        late = self._guesses.wrong(flow.transport, host, port, name, request.method, key, own)
        if late == 0.0:
            return self._challenge(False)
        if late is not None:
            self._timers.after(late, partial(self._challenge_late, request, flow, key))
        return Answer(0)

    def _challenge_late(self, request: Request, flow: Flow, key: int) -> None:
        self._guesses.answered(flow.remote[0], key)
        self._refuse(request, flow, *self._challenge(False))

    def _password(self, username: str) -> Secret | None:
        extension = self._extensions.get(username)
        if extension is None:
            return None
        return extension.password if extension.ha1 is None else extension.ha1
