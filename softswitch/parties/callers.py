"""Who calls, as far as this switch believes it."""

from __future__ import annotations

from softswitch.calls import Caller
from softswitch.config import Extension
from softswitch.dialplan import Source
from softswitch.sip import Request, parse_party, readable, split_list


class Callers:
    """`max_text` is how many characters of a text of a trunk are believed."""

    def __init__(self, extensions: dict[str, Extension], max_text: int) -> None:
        self._extensions = extensions
        self.max_text = max_text

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
