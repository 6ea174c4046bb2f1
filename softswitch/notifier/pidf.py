"""Presence documents (RFC 3863; activities by RFC 4480): read, put together, written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from softswitch.notifier.xml import BadXml, attribute, content, parse_xml
from softswitch.sip import readable

PIDF: Final = "application/pidf+xml"
_NS: Final = "urn:ietf:params:xml:ns:pidf"
_DM: Final = "urn:ietf:params:xml:ns:pidf:data-model"
_RPID: Final = "urn:ietf:params:xml:ns:pidf:rpid"
_MOST: Final = 10  # tuples, notes and activities of one document
_TEXT: Final = 256

ON_THE_PHONE: Final = "on-the-phone"
BUSY: Final = "busy"


@dataclass(frozen=True, slots=True)
class Presence:
    """What a document says: whether somebody can be reached, notes, and what that one is doing (by
    RFC 4480's names)."""

    open: bool
    notes: tuple[str, ...] = ()
    activities: tuple[str, ...] = ()


def read_presence(body: bytes) -> Presence:
    """Of a PIDF document. Raises BadXml."""
    root = parse_xml(body)
    if root.tag != f"{{{_NS}}}presence":
        raise BadXml("no presence document")
    found = False
    notes: list[str] = []
    for one in root.findall(f"{{{_NS}}}tuple")[:_MOST]:
        basic = (one.findtext(f"{{{_NS}}}status/{{{_NS}}}basic") or "").strip().lower()
        found = found or basic == "open"
        notes += _notes(one.findall(f"{{{_NS}}}note"))
    notes += _notes(root.findall(f"{{{_NS}}}note"))
    activities: list[str] = []
    for person in root.findall(f"{{{_DM}}}person")[:_MOST]:
        notes += _notes(person.findall(f"{{{_DM}}}note"))
        for doing in person.findall(f"{{{_RPID}}}activities"):
            for activity in list(doing)[:_MOST]:
                namespace, _, name = activity.tag.rpartition("}")
                if namespace == f"{{{_RPID}" and name not in ("note", "unknown"):
                    activities.append(name[:64])
    return Presence(found, _once(notes), _once(activities))


def together(all_of_it: Iterable[Presence]) -> Presence:
    """What several say of one party."""
    said = list(all_of_it)
    return Presence(
        any(one.open for one in said),
        _once([note for one in said for note in one.notes]),
        _once([activity for one in said for activity in one.activities]),
    )


def write_presence(entity: str, contact: str, presence: Presence) -> bytes:
    """The document about `entity`; `contact` is where it can be reached (both URIs)."""
    # The prefixes are those of the RFCs' examples: some phones look for these letters.
    status = "open" if presence.open else "closed"
    person = ""
    if presence.activities:
        doing = "".join(f"<rpid:{one}/>" for one in presence.activities)
        person = f'<dm:person id="p1"><rpid:activities>{doing}</rpid:activities></dm:person>\n'
    notes = "".join(f"<note>{content(note)}</note>\n" for note in presence.notes)
    where = f'<contact priority="0.8">{content(contact)}</contact>' if presence.open else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="{_NS}" xmlns:dm="{_DM}"'
        f' xmlns:rpid="{_RPID}" entity={attribute(entity)}>\n'
        f'<tuple id="t1"><status><basic>{status}</basic></status>{where}</tuple>\n'
        f"{notes}{person}</presence>\n"
    ).encode("utf-8", "replace")


def _notes(elements: Iterable[object]) -> list[str]:
    texts = [getattr(one, "text", None) or "" for one in list(elements)[:_MOST]]
    return [readable(text.strip(), _TEXT) for text in texts if text.strip()]


def _once(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))[:_MOST]
