"""Dialogs (RFC 3261 §12) and what belongs to an INVITE's 2xx within them (§13.2.2.4, §13.3.1.4).

No I/O: a dialog makes the requests to send and says where they go; who owns it sends them.
"""

from __future__ import annotations

from collections.abc import Callable

from softswitch.sip.client_transaction import ClientRequest
from softswitch.sip.flow import Flow
from softswitch.sip.header_values import Uri, parse_address, parse_uri, split_list
from softswitch.sip.message import Request, Response
from softswitch.sip.timers import Timer, Timers, TimerSettings


def address_uris(values: list[str] | None) -> list[str]:
    """The URIs of a Contact, Route or Record-Route header, in order. ValueError if one is bad."""
    if not values:
        return []
    uris = []
    for value in values:
        # The form of nearly every Contact: no list, no display name, no commas.
        if value[:1] == "<" and value.find(">") == len(value) - 1:
            uris.append(value[1:-1])
        else:
            uris.extend(parse_address(part).uri for part in split_list(value))
    return uris


class Dialog:
    """One side's view of a dialog. `local` and `remote` are From/To values, tags included.

    `routes` are the URIs of the route set, nearest first; `target` the remote target.
    """

    __slots__ = (
        "call_id",
        "confirmed",
        "flow",
        "local",
        "local_cseq",
        "local_tag",
        "remote",
        "remote_cseq",
        "remote_tag",
        "routes",
        "target",
    )

    def __init__(self, call_id: str, local: str, local_tag: str, remote: str, flow: Flow) -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = ""
        self.target = ""
        self.routes: tuple[str, ...] = ()
        self.local_cseq = 0
        self.remote_cseq = -1
        self.flow = flow
        self.confirmed = False

    @classmethod
    def from_request(cls, request: Request, local_tag: str, flow: Flow) -> Dialog:
        """The dialog of the one called (§12.1.1). ValueError if Contact or Record-Route is bad."""
        headers = request.headers
        contacts = address_uris(headers.get("contact"))
        if len(contacts) != 1:
            raise ValueError("an INVITE needs one Contact")
        _check_target(contacts[0])
        to = headers["to"][0]
        dialog = cls(
            headers["call-id"][0], f"{to};tag={local_tag}", local_tag, headers["from"][0], flow
        )
        dialog.remote_tag = request.from_tag
        dialog.remote_cseq = request.cseq
        dialog.target = contacts[0]
        if "record-route" in headers:
            dialog.routes = tuple(address_uris(headers["record-route"]))
        return dialog

    def follow(self, response: Response) -> bool:
        """Take over what a dialog-making response to our INVITE says (§12.1.2, §13.2.2.4).

        False if it belongs to another fork of the INVITE than the one this dialog follows.
        ValueError if its Contact or Record-Route is bad; of a 2xx the dialog is there then for its
        ACK and BYE, which go to where the INVITE went or an earlier response said.
        """
        if self.confirmed:
            return response.to_tag == self.remote_tag
        headers = response.headers
        confirms = response.status >= 200
        if response.to_tag != self.remote_tag:
            # Another fork, which counts for itself (§12.1.2: the remote CSeq is empty).
            self.remote_cseq = -1
            self.remote_tag = response.to_tag
        self.remote = headers["to"][0]
        # Also of a 2xx that makes no dialog one can talk in: it is to be ended (§13.2.2.4).
        self.confirmed = confirms
        contacts = address_uris(headers.get("contact"))
        if contacts:
            _check_target(contacts[0])
            self.target = contacts[0]
        elif confirms:
            raise ValueError("a 2xx to an INVITE needs a Contact")
        if "record-route" in headers:
            routes = address_uris(headers["record-route"])
            routes.reverse()
            self.routes = tuple(routes)
        elif confirms:
            self.routes = ()
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """A re-INVITE or UPDATE, or its 2xx, may bring a new remote target (§12.2). Bad: kept."""
        try:
            contacts = address_uris(message.headers.get("contact"))
            if contacts:
                _check_target(contacts[0])
                self.target = contacts[0]
        except ValueError:
            return

    def in_order(self, request: Request) -> bool:
        """Whether the CSeq of a request within the dialog goes up, as §12.2.2 wants; notes it."""
        if request.cseq <= self.remote_cseq:
            return False
        self.remote_cseq = request.cseq
        return True

    def request(
        self, method: str, branch: str, *, cseq: int = 0, extra: str = "", body: bytes = b""
    ) -> ClientRequest:
        """A request within the dialog (§12.2.1.1); `cseq` is given for an ACK, else it goes up."""
        if not cseq:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self.target, self.routes
        lines = ""
        if routes:
            if not _is_loose(routes[0]):
                # A strict router of RFC 2543: it becomes the Request-URI.
                routes = (*routes[1:], uri)
                uri = self.routes[0]
            lines = "".join(f"Route: <{route}>\r\n" for route in routes)
        return ClientRequest(
            method,
            uri,
            branch,
            self.local,
            self.remote,
            self.call_id,
            cseq,
            routes=lines,
            extra=extra,
            body=body,
        )

    def next_hop(self) -> Uri | None:
        """Where requests go: the first route, else the target. None if it is no SIP URI."""
        try:
            return parse_uri(self.routes[0] if self.routes else self.target)
        except ValueError:
            return None


def _check_target(uri: str) -> None:
    if parse_uri(uri).scheme == "tel":
        raise ValueError("a Contact must be a SIP URI")


def _is_loose(uri: str) -> bool:
    try:
        return "lr" in parse_uri(uri).params
    except ValueError:
        return True


class Unacknowledged:
    """A 2xx to an INVITE, sent again until its ACK comes (§13.3.1.4), over any transport.

    `key` is what a re-INVITE is known by if it comes again (§17.2.3). `carry`, if given, sends it
    on another connection where that of `flow` has closed (§18.2.2).
    """

    __slots__ = (
        "_carry",
        "_flow",
        "_interval",
        "_left",
        "_on_timeout",
        "_settings",
        "_timer",
        "_timers",
        "cseq",
        "data",
        "key",
    )

    def __init__(
        self,
        timers: Timers,
        settings: TimerSettings,
        flow: Flow,
        data: bytes,
        cseq: int,
        on_timeout: Callable[[], None],
        key: str = "",
        carry: Callable[[bytes, Flow], None] | None = None,
    ) -> None:
        self._timers = timers
        self._settings = settings
        self._flow = flow
        self._on_timeout: Callable[[], None] | None = on_timeout
        self._carry = carry
        self.data = data
        self.cseq = cseq
        self.key = key
        self._interval = settings.t1
        self._left = 64 * settings.t1
        self._timer: Timer = timers.after(self._interval, self._again)

    def stop(self) -> None:
        """The ACK came, or nobody waits for it any more."""
        self._timer.cancel()
        self._on_timeout = None
        self.data = b""

    def _again(self) -> None:
        self._left -= self._interval
        if self._left <= 1e-6:
            # The rounding of sums is no time left.
            on_timeout, self._on_timeout = self._on_timeout, None
            if on_timeout is not None:
                on_timeout()
            return
        if self._carry is not None:
            self._carry(self.data, self._flow)
        else:
            self._flow.send(self.data)
        self._interval = min(self._interval * 2, self._settings.t2, self._left)
        self._timer = self._timers.after(self._interval, self._again)
