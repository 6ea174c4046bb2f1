"""The ladder of a call as a picture (SVG), which a browser and a wiki show."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from softswitch.trace.finding import Story
from softswitch.trace.ladder import Arrow, clock, ladder

_GAP: Final = 240
_ROW: Final = 30
_LEFT: Final = 190
_TOP: Final = 90
_STYLE: Final = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#222}"
    ".title{font-weight:bold}.name{font-weight:bold;text-anchor:middle}"
    ".at{text-anchor:middle;fill:#666}.time{fill:#666}.text{text-anchor:middle}"
    ".line{stroke:#bbb}.arrow{stroke:#246;stroke-width:1.4}.again{stroke-dasharray:4 3}"
    ".bad{stroke:#b22}"
)


def svg_lines(story: Story) -> Iterator[str]:
    """The picture, line by line."""
    drawn = ladder(story)
    at = [_LEFT + _GAP // 2 + _GAP * number for number in range(len(drawn.columns))]
    width = max(at[-1] + _GAP // 2, 20 + 8 * len(drawn.title))
    height = _TOP + _ROW * (len(drawn.arrows) + 1)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
    )
    yield f"<title>{_text(drawn.title)}</title><style>{_STYLE}</style>"
    yield (
        '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z" fill="#246"/></marker></defs>'
    )
    yield f'<rect width="{width}" height="{height}" fill="#fff"/>'
    yield f'<text class="title" x="12" y="24">{_text(drawn.title)}</text>'
    for x, column in zip(at, drawn.columns, strict=True):
        yield f'<text class="name" x="{x}" y="52">{_text(column.name)}</text>'
        yield f'<text class="at" x="{x}" y="70">{_text(column.address)}</text>'
        yield f'<line class="line" x1="{x}" y1="{_TOP - 10}" x2="{x}" y2="{height - 10}"/>'
    for number, arrow in enumerate(drawn.arrows):
        yield from _arrow(arrow, at, _TOP + _ROW * (number + 1) - 8)
    yield "</svg>"


def _arrow(arrow: Arrow, at: list[int], y: int) -> Iterator[str]:
    start, end = at[arrow.start], at[arrow.end]
    tip = end - 2 if end > start else end + 2
    text = arrow.text
    bad = text[:1] in "456" and text[1:3].isdigit()
    kinds = "arrow" + (" again" if arrow.again else "") + (" bad" if bad else "")
    when = f"{clock(arrow.message.at)} +{arrow.after:.3f}"
    yield f'<text class="time" x="12" y="{y + 4}">{when}</text>'
    yield (
        f'<line class="{kinds}" x1="{start}" y1="{y}" x2="{tip}" y2="{y}" marker-end="url(#head)"/>'
    )
    beside = max(start, end) - _GAP // 2 if max(arrow.start, arrow.end) > 1 else (start + end) // 2
    yield (
        f'<text class="text" x="{beside}" y="{y - 5}">{_text(text[:34])}'
        f"<title>{_text(arrow.message.start_line)}</title></text>"
    )


def _text(text: str) -> str:
    return escape(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
