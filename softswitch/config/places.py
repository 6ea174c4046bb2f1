"""A YAML file as plain values, together with the line and column of every one of them.

People write the configuration and the dialplan by hand, so each mistake is reported at its place,
and all of them at once. PyYAML's ``compose`` gives nodes with marks; from those come plain values
(dict, list, str, int, float, bool, None) and, beside them, where each key and value stands.
Lines and columns are counted from 1.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from softswitch.config import yaml_hints

Where: TypeAlias = tuple[str | int, ...]
"""Way from the root of a file to a value: keys and list indices."""

MAX_VALUES = 1_000_000
"""Values of one file, aliases counted each time: few lines of nested aliases can mean billions."""

MAX_DEPTH = 64
"""Levels of lists and mappings within each other, aliases followed."""

_YAML_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*)?\.?[0-9_]*([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake in a file: ``line`` and ``column`` from 1; ``message``: found, expected."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigErrors(Exception):
    """A configuration or dialplan cannot be used; ``mistakes`` holds all reasons, in file order.

    ``files`` are those that were looked for, with what they were then: the mistakes may be put
    right in any of them.
    """

    def __init__(
        self, mistakes: Iterable[Mistake], files: Iterable[tuple[Path, Stamp]] = ()
    ) -> None:
        self.mistakes: tuple[Mistake, ...] = tuple(dict.fromkeys(mistakes))
        self.files = tuple(files)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))

    def __reduce__(
        self,
    ) -> tuple[type[ConfigErrors], tuple[tuple[Mistake, ...], tuple[tuple[Path, Stamp], ...]]]:
        # By its text, as exceptions are pickled, it could not be made again.
        return ConfigErrors, (self.mistakes, self.files)


class WrittenInt(int):
    """A number that also keeps its text: an extension written as 007 is not the number 7."""

    text: str


class WrittenFloat(float):
    """As ``WrittenInt``, for numbers with a point."""

    text: str


def as_written(value: object) -> object:
    """The text of a number as it stands in the file; anything else unchanged."""
    return value.text if isinstance(value, WrittenInt | WrittenFloat) else value


@dataclass(slots=True)
class YamlFile:
    """What was read: ``value``, and the place of each value and key by its ``Where``."""

    file: str
    value: object = None
    mistakes: list[Mistake] = field(default_factory=list)
    values: dict[Where, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)
    found: dict[Where, str] = field(default_factory=dict)

    def at(self, where: Where, message: str) -> None:
        """Note a mistake at the value ``where`` (or the nearest value around it that exists)."""
        self._note(self.values.get(self.nearest(where), (1, 1)), message)

    def at_key(self, where: Where, message: str) -> None:
        """Note a mistake at the key of ``where``; items and the root have none: their start."""
        where = self.nearest(where)
        self._note(self.keys.get(where) or self.values.get(where, (1, 1)), message)

    def nearest(self, where: Iterable[str | int]) -> Where:
        """``where`` without the steps that lead nowhere in this file (pydantic's union tags)."""
        way: Where = ()
        for step in where:
            if (*way, step) in self.values:
                way = (*way, step)
        return way

    def line(self, where: Where) -> int:
        """The line at which the value ``where`` begins."""
        return self.values[self.nearest(where)][0]

    def _note(self, place: tuple[int, int], message: str) -> None:
        # One mistake, one line, whatever characters the file holds.
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        self.mistakes.append(Mistake(self.file, *place, shown))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``: did you mean `x`?`` when a known name is close, else the list of the known ones."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f": did you mean `{close[0]}`?"
    if not names:
        return ""
    return (
        ", expected " + ("one of " if len(names) > 1 else "") + ", ".join(f"`{n}`" for n in names)
    )


def read_yaml(path: Path) -> YamlFile:
    """Read a file. Never raises for what is in it or for its absence: see ``mistakes``."""
    read = YamlFile(str(path))
    read.values[()] = (1, 1)
    try:
        content = path.read_bytes()
    except OSError as error:
        read.at((), f"cannot be read: {error.strerror}")
        return read
    except ValueError as error:
        read.at((), f"cannot be read: {error}")
        return read
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        read._note(_place(before, len(before)), "not UTF-8 text")
        return read
    try:
        deep = _too_deep(text)
        if deep is not None:
            read._note(deep, f"nested too deeply: more than {MAX_DEPTH} levels")
            return read
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        known = yaml_hints.place_of(text, *place)
        if known is not None:
            line, column, what = known
            read._note((line, column), f"not YAML: {what}")
            return read
        about = f" ({error.context})" if error.context else ""
        read._note(place, f"not YAML: {error.problem or 'cannot be understood'}{about}")
        return read
    except yaml.reader.ReaderError as error:
        reason = f"character {chr(error.character)!r} is not allowed in YAML"
        read._note(_place(text, error.position), f"not YAML: {reason}")
        return read
    if node is not None:
        try:
            read.value = _Plain(read, text).value(node, ())
        except _TooMuch:
            read.at(
                (),
                f"too large: more than {MAX_VALUES} values or {MAX_DEPTH} levels, aliases followed",
            )
    return read


def _too_deep(text: str) -> tuple[int, int] | None:
    """Where the file is nested too deeply. PyYAML's composer would overrun the C stack there, and a
    file that is only being reloaded must not end the switch."""
    depth = read = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            read = event.end_mark.index if event.end_mark else read
            if isinstance(event, CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    mark = event.start_mark
                    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
            elif isinstance(event, CollectionEndEvent):
                depth -= 1
    except yaml.MarkedYAMLError as error:
        if "nesting depth" not in str(error.problem):
            raise
        # The parser's own limit, which it meets reading ahead: what opens first is ours.
        opens = [at for at in range(read, len(text)) if text[at] in "[{"][: MAX_DEPTH - depth + 1]
        return _place(text, opens[-1] if opens else read)
    return None


def _place(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


class _TooMuch(Exception):
    pass


class _Plain:
    """Turns nodes into plain values and notes their places."""

    def __init__(self, read: YamlFile, text: str) -> None:
        self.read = read
        self.text = text
        self.open: set[int] = set()

    def value(self, node: Node, where: Where) -> object:
        read = self.read
        mark = node.start_mark
        read.values[where] = (mark.line + 1, mark.column + 1)
        if len(read.values) > MAX_VALUES or len(where) > MAX_DEPTH:
            raise _TooMuch
        if not node.tag.startswith(_YAML_TAG):
            hint = yaml_hints.about_value(self.text, node.start_mark.index)
            read.at(where, f"unknown tag `{node.tag}`{hint or ': tags have no meaning here'}")
        if isinstance(node, ScalarNode):
            return self._scalar(node, where)
        if id(node) in self.open:
            read.at(where, "an alias to something that it is part of itself")
            return None
        self.open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                read.found[where] = "a mapping" if node.value else "an empty mapping"
                return self._mapping(node, where)
            assert isinstance(node, SequenceNode)
            read.found[where] = "a list" if node.value else "an empty list"
            return [self.value(item, (*where, i)) for i, item in enumerate(node.value)]
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, object]:
        plain: dict[str, object] = {}
        merged: list[tuple[Node, Node]] = []
        for key_node, value_node in node.value:
            if key_node.tag == _YAML_TAG + "merge":
                merged += self._merged(value_node, where)
                continue
            self._entry(plain, key_node, value_node, where, merging=False)
        for key_node, value_node in merged:
            self._entry(plain, key_node, value_node, where, merging=True)
        return plain

    def _merged(self, node: Node, where: Where) -> list[tuple[Node, Node]]:
        """What ``<<: *anchor`` brings in: entries that the mapping itself does not have."""
        if isinstance(node, MappingNode):
            return list(node.value)
        if isinstance(node, SequenceNode):
            return [entry for item in node.value for entry in self._merged(item, where)]
        mark = node.start_mark
        self.read._note((mark.line + 1, mark.column + 1), "`<<` takes an alias to a mapping")
        return []

    def _entry(
        self,
        plain: dict[str, object],
        key_node: Node,
        value_node: Node,
        where: Where,
        merging: bool,
    ) -> None:
        mark = key_node.start_mark
        place = (mark.line + 1, mark.column + 1)
        if not isinstance(key_node, ScalarNode):
            self.read._note(place, "a list or mapping cannot be a key")
            return
        key: str = key_node.value
        if key in plain:
            if not merging:
                first = self.read.keys[(*where, key)][0]
                self.read._note(place, f"duplicate key `{key}`: already in line {first}")
            return
        self.read.keys[(*where, key)] = place
        plain[key] = self.value(value_node, (*where, key))

    def _scalar(self, node: ScalarNode, where: Where) -> object:
        text: str = node.value
        kind = node.tag.removeprefix(_YAML_TAG)
        if kind == "null":
            hint = "" if text else yaml_hints.about_value(self.text, node.start_mark.index)
            self.read.found[where] = f"nothing{hint}"
            return None
        self.read.found[where] = f"`{text}`" if text else "an empty text"
        # YAML 1.1 reads 010 as 8 and 12:30 as 750; nobody here means that, so they stay text.
        if kind == "int" and _INT.fullmatch(text):
            whole = WrittenInt(text.replace("_", ""))
            whole.text = text
            return whole
        if kind == "float" and text.strip("+-.") and _FLOAT.fullmatch(text):
            number = WrittenFloat(text.replace("_", ""))
            number.text = text
            return number
        if kind == "bool":
            return text.lower() in ("yes", "true", "on")
        return text


Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes when the file does: time (ns), size, inode; None if it is not there."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
