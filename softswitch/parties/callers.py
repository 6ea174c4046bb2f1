"""Who calls, as far as this switch believes it."""

from __future__ import annotations

from dataclasses import replace

from softswitch.calls import Caller
from softswitch.config import Extension, NumberForm, formed
from softswitch.dialplan import Source
from softswitch.sip import Request, parse_party, readable, split_list


class Callers:
    """`max_text` is how many characters of a text of a trunk are believed, `forms` the forms that
    the numbers get of callers from a trunk."""

    def __init__(
        self,
        extensions: dict[str, Extension],
        max_text: int,
        forms: dict[str, tuple[NumberForm, ...]],
    ) -> None:
        self._extensions = extensions
        self.max_text = max_text
        self.forms = forms

    def of(self, request: Request, source: Source) -> Caller:
        """Who calls: a phone is its extension whatever it says; a trunk is believed."""
        private = "privacy" in request.headers and any(
            part.strip().lower() not in ("", "none")
            for value in request.headers["privacy"]
            for part in value.split(";")
        )
        if source.kind == "extension":
            extension = self._extensions[source.name]
            return Caller(source.name, extension.name, private)
        caller = self._believed(request, private)
        if self.forms and source.name in self.forms:
            return replace(caller, number=formed(caller.number, self.forms[source.name]))
        return caller

    def _believed(self, request: Request, private: bool) -> Caller:
        most = self.max_text
        asserted = request.headers.get("p-asserted-identity")
        if asserted:
            # Two of them are one party, by its tel URI and by its SIP URI (RFC 3325 §9.1): the name
            # may stand with either.
            number = name = ""
            for value in asserted[:2]:
                for one in split_list(value)[:2]:
                    try:
                        display, user = parse_party(one)
                    except ValueError:
                        continue
                    number, name = number or user, name or display
            if number or name:
                return Caller(readable(number, most), readable(name, most), private)
        try:
            display, user = parse_party(request.headers["from"][0])
        except (KeyError, ValueError):
            return Caller("", "", private)
        return Caller(readable(user, most), readable(display, most), private)
