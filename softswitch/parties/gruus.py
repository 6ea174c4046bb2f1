"""URIs of one phone among those of an extension (GRUU, RFC 5627), for those that ask for them.

A public one is the extension's with the phone's instance: ``sip:1001@pbx.example;gr=urn:uuid:…``. A
temporary one says nothing of either: ``sip:tgruu.…@pbx.example;gr``; it holds as long as the phone
is registered.
"""

from __future__ import annotations

from softswitch.parties.bindings import TEMPORARY
from softswitch.parties.registrar import Registrar
from softswitch.sip import Flow, Request, Response, Uri, parse_address, parse_uri


class Gruus:
    """Those that `registrar` has given out."""

    def __init__(self, registrar: Registrar) -> None:
        self._registrar = registrar

    def phone_of(self, uri: Uri) -> tuple[str, str] | None:
        """The extension and the instance that a URI is of; None if it is none of these."""
        if uri.user.startswith(TEMPORARY):
            return self._registrar.temporary.get(uri.user[len(TEMPORARY) :])
        instance = uri.params.get("gr")
        return (uri.user, f"<{instance}>") if instance else None

    def extension_of(self, number: str) -> str:
        """The extension of a temporary one's user, any other as it is."""
        found = self._registrar.temporary.get(number[len(TEMPORARY) :])
        return number if found is None else found[0]

    def translate(self, message: Request | Response, flow: Flow) -> None:
        """Where a phone names itself by one, it is at the Contact that it has registered: requests
        to it need that (§6.1). To be called with each message; believed of the phone itself."""
        contacts = message.headers.get("contact")
        if contacts is None or ";gr" not in contacts[0]:
            return
        if isinstance(message, Request) and message.method == "REGISTER":
            return
        try:
            address = parse_address(contacts[0])
            phone = self.phone_of(parse_uri(address.uri))
        except ValueError:
            return
        if phone is None:
            return
        here = (flow.transport, *flow.remote)
        for binding in self._registrar.contacts(phone[0]):
            if binding.instance == phone[1] and binding.flow == here:
                contacts[0] = f"<{binding.uri}>"
                return
