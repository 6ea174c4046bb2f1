"""Where an INVITE goes."""

from __future__ import annotations

from softswitch.config import Trunk
from softswitch.sip import Dialog, Flow


class Destination:
    """A party to call: resolved, ready to send to.

    `line` is the party whose count of calls is held for this leg, `switch` whether
    the callID travels there, `nat` whether later requests follow the flow rather than the Contact,
    `user_agent` what the phone called itself when it registered (many leave it out of responses),
    `lines` header lines that its INVITE carries besides, `carrier` the trunk, if it is one of
    others, `expires` the session interval that it is asked for, in seconds (0: the usual one),
    `again` the dialog in which it was asked before, `reliable` whether it may answer with reliable
    provisional responses (RFC 3262).
    """

    __slots__ = (
        "again",
        "carrier",
        "expires",
        "flow",
        "line",
        "lines",
        "nat",
        "number",
        "party",
        "path",
        "reliable",
        "switch",
        "tried",
        "uri",
        "user_agent",
    )

    def __init__(
        self,
        party: str,
        number: str,
        uri: str,
        flow: Flow,
        line: str = "",
        switch: bool = False,
        nat: bool = False,
        user_agent: str = "",
        carrier: Trunk | None = None,
        reliable: bool = True,
        path: tuple[str, ...] = (),
    ) -> None:
        self.party = party
        self.number = number
        self.uri = uri
        self.flow = flow
        self.line = line
        self.switch = switch
        self.nat = nat
        self.user_agent = user_agent
        self.carrier = carrier
        self.lines = ""
        self.expires = 0
        self.again: Dialog | None = None
        self.reliable = reliable
        self.path = path
        self.tried: tuple[tuple[str, int], ...] = ()

    @property
    def address(self) -> str:
        host, port = self.flow.remote
        return f"{self.flow.transport}:{host}:{port}"
