"""Dialog information documents (RFC 4235): written for phones, read of our other switches."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from softswitch.notifier.lines import INITIATOR, RECIPIENT, STATES, Line
from softswitch.notifier.xml import BadXml, attribute, content, parse_xml
from softswitch.sip import escape_user

DIALOG_INFO: Final = "application/dialog-info+xml"
_NS: Final = "urn:ietf:params:xml:ns:dialog-info"
_HELD: Final = '<param pname="+sip.rendering" pvalue="no"/>'
_MOST: Final = 100  # dialogs of one document


def write_dialogs(entity: str, user: str, host: str, version: int, lines: Iterable[Line]) -> bytes:
    """The dialogs of `entity` (a URI), all of them. `user` and `host` are its parts."""
    own = f"sip:{escape_user(user)}@{host}"
    parts = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<dialog-info xmlns="{_NS}" version="{version}"'
        f' state="full" entity={attribute(entity)}>\n'
    ]
    for line in lines:
        shown = f"{zlib.crc32(line.id.encode()):08x}"
        more = ""
        if line.call_id:
            more = f" call-id={attribute(line.call_id)}"
            if line.local_tag:
                more += f" local-tag={attribute(line.local_tag)}"
            more += f" remote-tag={attribute(line.remote_tag)}"
        held = _HELD if line.held else ""
        target = (
            f"<target uri={attribute(own)}>{held}</target>"
            if held
            else (f"<target uri={attribute(own)}/>")
        )
        parts.append(
            f'<dialog id="{shown}"{more} direction="{line.direction}">\n'
            f"<state>{line.state}</state>\n"
            f"<local><identity>{content(own)}</identity>{target}</local>\n"
        )
        if line.peer:
            peer = f"sip:{escape_user(line.peer)}@{host}"
            display = f" display={attribute(line.name)}" if line.name else ""
            parts.append(
                f"<remote><identity{display}>{content(peer)}</identity>"
                f"<target uri={attribute(peer)}/></remote>\n"
            )
        parts.append("</dialog>\n")
    parts.append("</dialog-info>\n")
    return "".join(parts).encode("utf-8", "replace")


def read_dialogs(body: bytes) -> tuple[Line, ...]:
    """The dialogs that there are by a document of full state. Raises BadXml."""
    root = parse_xml(body)
    if root.tag != f"{{{_NS}}}dialog-info":
        raise BadXml("no dialog-info")
    if root.get("state", "full") != "full":
        raise BadXml("not the full state")
    lines = []
    for dialog in root.findall(f"{{{_NS}}}dialog")[:_MOST]:
        state = (dialog.findtext(f"{{{_NS}}}state") or "").strip()
        if state not in STATES:
            continue
        target = dialog.find(f"{{{_NS}}}local/{{{_NS}}}target")
        held = target is not None and any(
            param.get("pname") == "+sip.rendering" and param.get("pvalue") == "no"
            for param in target.findall(f"{{{_NS}}}param")
        )
        direction = INITIATOR if dialog.get("direction") == INITIATOR else RECIPIENT
        lines.append(Line(dialog.get("id", "")[:64], state, direction, held=held))
    return tuple(lines)
