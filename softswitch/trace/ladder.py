"""The ladder of a call: a column for the switch and for each party, an arrow for each message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from softswitch.sip import readable
from softswitch.trace.finding import Story
from softswitch.trace.wire import Seen

_WIDEST: Final = 44
_NARROWEST: Final = 26
_MARGIN: Final = 24  # of the times


@dataclass(frozen=True, slots=True)
class Column:
    """The switch, or one party's end of one dialog."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """A message: `start` and `end` are columns by number; `after` is seconds since the one before;
    `again`: the same bytes have gone the same way before."""

    message: Seen
    start: int
    end: int
    after: float
    text: str
    again: bool


@dataclass(frozen=True, slots=True)
class Ladder:
    """As it is drawn; `title` is a line of text."""

    title: str
    columns: list[Column]
    arrows: list[Arrow]


def ladder(story: Story) -> Ladder:
    """Of what was seen of a call."""
    ends: dict[tuple[str, str], int] = {}
    columns: list[Column] = []
    for message in story.messages:
        key = (message.call_id, message.address)
        if key not in ends:
            ends[key] = len(columns)
            party = story.parties.get(message.call_id, "")
            columns.append(Column(readable(party), message.address))
    # The switch stands between the one who called and the others.
    place = min(1, len(columns))
    columns.insert(place, Column(story.switch, "this switch"))
    ends = {key: at + (at >= place) for key, at in ends.items()}
    arrows: list[Arrow] = []
    before: set[tuple[bool, str, bytes]] = set()
    last: float | None = None
    for message in story.messages:
        other = ends[message.call_id, message.address]
        same = (message.sent, message.address, message.data)
        start, end = (place, other) if message.sent else (other, place)
        again = same in before
        after = 0.0 if last is None else message.at - last
        text = message.summary + (" (again)" if again else "")
        arrows.append(Arrow(message, start, end, after, text, again))
        before.add(same)
        last = message.at
    return Ladder(_title(story), columns, arrows)


def clock(at: float) -> str:
    """The time of day, UTC, in milliseconds."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03}"


def _title(story: Story) -> str:
    what = f"call {story.call_id}" if story.call_id else readable(story.asked)
    into = f", part of {story.into} since" if story.into else ""
    count = len(story.messages)
    when = ""
    if count:
        first = datetime.fromtimestamp(story.messages[0].at, UTC)
        when = f", from {first.isoformat(sep=' ', timespec='milliseconds')}"
    more = f" (the first {count} of more)" if story.more else ""
    return f"{what} at {story.switch}{into}: {count} messages{more}{when}"


def text_lines(story: Story, bodies: bool = False, whole: bool = False) -> Iterator[str]:
    """The ladder as lines of text; with the messages' `bodies` below their arrows, or all of
    them."""
    drawn = ladder(story)
    yield drawn.title
    if not drawn.arrows:
        return
    yield ""
    longest = max(
        *(len(arrow.text) + 8 for arrow in drawn.arrows),
        *(max(len(column.name), len(column.address)) + 3 for column in drawn.columns),
    )
    gap = min(max(longest, _NARROWEST), _WIDEST)
    at = [_MARGIN + gap // 2 + gap * number for number in range(len(drawn.columns))]
    for lines in ([c.name for c in drawn.columns], [c.address for c in drawn.columns]):
        row = [" "] * (at[-1] + gap // 2 + 1)
        for x, text in zip(at, lines, strict=True):
            _put(row, x, _cut(text, gap - 1))
        yield "".join(row).rstrip()
    for arrow in drawn.arrows:
        yield _arrow_row(arrow, at, gap)
        shown = arrow.message.data if whole else arrow.message.body if bodies else b""
        if shown and not arrow.again:
            text = shown.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")
            for line in text.split("\n"):
                yield " " * _MARGIN + "    " + readable(line, 2000)
    yield "".join(_bars(at)).rstrip()


def _bars(at: list[int]) -> list[str]:
    row = [" "] * (at[-1] + 1)
    for x in at:
        row[x] = "│"
    return row


def _arrow_row(arrow: Arrow, at: list[int], gap: int) -> str:
    row = _bars(at)
    left, right = sorted((at[arrow.start], at[arrow.end]))
    for x in range(left + 1, right):
        row[x] = "─"
    if arrow.end > arrow.start:
        row[right - 1] = ">"
    else:
        row[left + 1] = "<"
    # Beside the party that it concerns, whatever it passes on its way from the switch.
    middle = right - gap // 2 if max(arrow.start, arrow.end) > 1 else left + gap // 2
    _put(row, middle, f" {_cut(arrow.text, gap - 6)} ")
    after = f"+{arrow.after:.3f}"
    row[: _MARGIN - 2] = f"{clock(arrow.message.at)} {after:>9}"
    return "".join(row).rstrip()


def _put(row: list[str], middle: int, text: str) -> None:
    start = max(0, middle - len(text) // 2)
    row[start : start + len(text)] = text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
