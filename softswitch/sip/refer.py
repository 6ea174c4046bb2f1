"""REFER and Replaces (RFC 3515, 3891): what they ask for, and the notes about what came of it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from softswitch.sip.header_values import Uri, parse_address, parse_uri
from softswitch.sip.message import REASON_PHRASES, Request

SIPFRAG: Final = "Content-Type: message/sipfrag;version=2.0\r\n"
_PARAM_RE: Final = re.compile(r";\s*([A-Za-z0-9-]+)(?:\s*=\s*([^;\s]*))?")

# What may stand in a header as it is (RFC 3261 §25.1: callid, token).
_CALL_ID_RE: Final = re.compile(r"[!-:<-~]{1,255}")
_TAG_RE: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,255}")


class Replaces(NamedTuple):
    """The dialog that is to be replaced (RFC 3891 §6.1): its Call-ID and the tags, as the one sees
    it who is asked. `early_only`: only if it is not answered yet."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False


class Refer(NamedTuple):
    """To call `number` (percent-decoded) at `uri`, or to go on with another dialog's other side.
    `wants_notes`: not without a subscription (RFC 4488). `referred_by` is that
    header's value (RFC 3892), empty if there is none."""

    number: str
    uri: Uri
    replaces: Replaces | None
    wants_notes: bool
    referred_by: str


class BadRefer(ValueError):
    """The status and phrase that a REFER or a Replaces gets that asks for nothing one can do."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def read_replaces(value: str) -> Replaces:
    """The value of a Replaces header. Raises BadRefer."""
    call_id, params = _dialog(value, "Bad Replaces", "to-tag", "from-tag")
    return Replaces(call_id, params["to-tag"], params["from-tag"], "early-only" in params)


def read_target_dialog(request: Request) -> tuple[str, str, str]:
    """The dialog that a request outside of it is about: its Call-ID, our tag and that of the one
    who asks (RFC 4538 §7). Raises BadRefer."""
    values = request.headers.get("target-dialog", [])
    if len(values) != 1:
        raise BadRefer(400, "Bad Target-Dialog")
    call_id, params = _dialog(values[0], "Bad Target-Dialog", "remote-tag", "local-tag")
    return call_id, params["remote-tag"], params["local-tag"]


def _dialog(value: str, bad: str, *tags: str) -> tuple[str, dict[str, str]]:
    """The Call-ID and the parameters of a header that names a dialog by these tags. Raises BadRefer
    with the phrase `bad`."""
    call_id, _, rest = value.partition(";")
    params: dict[str, str] = {}
    for name, text in _PARAM_RE.findall(";" + rest):
        if name.lower() in params:
            raise BadRefer(400, bad)
        params[name.lower()] = text
    call_id = call_id.strip()
    if not _CALL_ID_RE.fullmatch(call_id) or not all(
        _TAG_RE.fullmatch(params.get(tag, "")) for tag in tags
    ):
        raise BadRefer(400, bad)
    return call_id, params


def read_refer(request: Request) -> Refer:
    """What a REFER asks for. Raises BadRefer."""
    values = request.headers.get("refer-to", [])
    if len(values) != 1:
        raise BadRefer(400, "One Refer-To Is Needed")
    try:
        uri = parse_uri(parse_address(values[0]).uri)
    except ValueError as error:
        raise BadRefer(400, "Bad Refer-To") from error
    if (uri.params.get("method") or "INVITE").upper() != "INVITE":
        raise BadRefer(501, "Only INVITE")
    replaces = None
    for part in uri.headers.lstrip("?").split("&"):
        name, _, value = part.partition("=")
        if name.lower() == "replaces":
            replaces = read_replaces(unquote(value))
    if replaces is None and not uri.user:
        raise BadRefer(404, "Nobody To Call")
    wants_notes = (request.get("refer-sub") or "").strip().lower().partition(";")[0] != "false"
    return Refer(uri.user, uri, replaces, wants_notes, request.get("referred-by") or "")


def fragment(status: int, reason: str = "") -> bytes:
    """The body of a NOTIFY about a REFER (RFC 3420, RFC 3515 §2.4.5)."""
    phrase = reason or REASON_PHRASES.get(status, "")
    return f"SIP/2.0 {status} {phrase}\r\n".encode("utf-8", "replace")
