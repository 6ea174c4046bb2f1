"""XML that others send, read without what an attacker would put there; and what they say, written
into ours so that it stays XML."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from softswitch.sip import readable


def attribute(value: str) -> str:
    """An attribute's value, in quotes."""
    return quoteattr(readable(value, len(value)))


def content(text: str) -> str:
    """Text between tags."""
    return escape(readable(text, len(text)))


class BadXml(ValueError):
    """It cannot be read, or is no such document."""


def parse_xml(body: bytes) -> Element:
    """The root element. Raises BadXml; also for a document type: its entities would grow without
    end, and no document that is sent here has any."""
    if b"<!" in body.replace(b"<![CDATA[", b"").replace(b"<!--", b""):
        raise BadXml("a document type")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in body:
        raise BadXml("not UTF-8")  # what is looked for above would not be found
    try:
        return ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadXml(str(error)) from error
