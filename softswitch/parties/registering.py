"""REGISTER (RFC 3261 §10.3): a phone that has proved who it is, and what the registrar says."""

from __future__ import annotations

from collections.abc import Callable

from softswitch.parties.registered import say_refused
from softswitch.parties.registrar import Registrar
from softswitch.parties.screening import Guesses
from softswitch.sip import (
    Authenticated,
    Flow,
    Request,
    ServerTransaction,
    parse_address,
    parse_uri,
)


class Registering:
    """Answers the REGISTERs that `Authentication` let through."""

    def __init__(self, registrar: Registrar, guesses: Guesses) -> None:
        self._registrar = registrar
        self._guesses = guesses
        self.moved: Callable[[str, tuple[str, str, int], Flow], None] | None = None
        """Told of an extension whose phone speaks from another place now: from where before."""
        self.accepted = 0
        """REGISTERs answered with 200 since the start."""

    def request(self, request: Request, transaction: ServerTransaction, flow: Flow) -> None:
        """Answer a REGISTER of the extension in `request.party`, which may be another's."""
        proved = request.party
        assert isinstance(proved, Authenticated)
        extension = proved.username
        try:
            aor = parse_uri(parse_address(request.headers["to"][0]).uri).user
        except ValueError:
            transaction.respond(400, "Bad To")
            return
        if aor != extension:
            # §10.3 step 4: it may not register for others.
            transaction.respond(403)
            say_refused(extension, flow, 403, f"registers as {aor!r}")
            return
        host, port = flow.remote
        where = flow.transport, host, port
        result = self._registrar.process(request, aor, where, proved.nonce, flow.listener)
        self.accepted += result.status == 200
        if result.status == 200:
            self._guesses.registered(host, extension)
            if self.moved is not None:
                for before in result.moved:
                    self.moved(aor, before, flow)
        transaction.respond(
            result.status,
            result.reason,
            extra="".join(f"{name}: {value}\r\n" for name, value in result.headers),
        )
        if result.status != 200:
            say_refused(extension, flow, result.status, result.reason)
