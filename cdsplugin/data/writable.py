"""What applications may write into call data, whether by HTTP or as programs in the process: names
that are theirs, and values that every server can hold and send on.
"""

from __future__ import annotations

from cdsplugin.data.entries import Value
from cdsplugin.data.names import check_name
from cdsplugin.data.plain_text import shown

_SCALARS = (str, int, float, bool, type(None))


class NotStorable(ValueError):
    """Call data cannot hold this, or it is not for applications to write. The text says why."""


class TooLong(NotStorable):
    """An entry has more bytes than it may have."""


def check_property(name: str, value: Value, most: int, setting: str) -> None:
    """Whether an application may set this property. Raises ``NotStorable``, and ``TooLong`` if name
    and value have more than ``most`` bytes as UTF-8 (``setting`` says so in the configuration)."""
    if type(name) is not str:
        raise NotStorable(f"found {_kind(name)} as a property's name, expected text")
    start = name[:40].encode("utf-8", "replace").decode()
    _utf8(name, shown(start))
    try:
        check_name(name)
    except ValueError as error:
        raise NotStorable(f"`{shown(start)}`: {error}") from None
    _fits(start, len(_utf8(name, start)) + _size(value, start), most, setting)


def check_line(text: str, most: int, setting: str) -> None:
    """Whether an application may write this log line. Raises as ``check_property``."""
    if type(text) is not str or not text:
        raise NotStorable(f"found {_kind(text)} as a log line, expected text")
    _fits("text", len(_utf8(text, "text")), most, setting)


def _fits(what: str, size: int, most: int, setting: str) -> None:
    if size > most:
        raise TooLong(f"`{what}` has {size} bytes, and an entry may have {most} ({setting})")


def _size(value: object, name: str) -> int:
    """Bytes, roughly as encoded."""
    if type(value) is dict:
        return sum(_text(key, name) + _scalar(v, name) + 2 for key, v in value.items())
    if type(value) is list:
        return sum(_scalar(v, name) + 1 for v in value)
    return _scalar(value, name)


def _scalar(value: object, name: str) -> int:
    # Not those derived from them: another's class is encoded in its own way, or not at all.
    if type(value) not in _SCALARS:
        raise NotStorable(
            f"`{name}`: found {_kind(value)}, expected text, a number, true, false, nothing, or a"
            " flat list or mapping of these"
        )
    if isinstance(value, str):
        return len(_utf8(value, name))
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        raise NotStorable(f"`{name}`: not a finite number")
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise NotStorable(f"`{name}`: whole numbers have at most 64 bits")
    return 8


def _text(key: object, name: str) -> int:
    if type(key) is not str:
        raise NotStorable(f"`{name}`: found {_kind(key)} as a key, expected text")
    return len(_utf8(key, name))


def _kind(value: object) -> str:
    return f"`{type(value).__name__}`" if value != "" else "an empty text"


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NotStorable(f"`{name}`: no valid Unicode text") from None
