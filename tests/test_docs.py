"""The documentation keeps up with the code: hooks and events have rows, links have pages."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from softswitch import events, hookspecs

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def hooks() -> list[str]:
    marked = "softswitch_spec"
    return [n for n, f in inspect.getmembers(hookspecs, inspect.isfunction) if hasattr(f, marked)]


def test_every_hook_is_documented() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    assert hooks()
    assert [name for name in hooks() if f"| `{name}(" not in page] == []


def test_every_event_is_documented() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    names = [event.__name__ for event in events.Event.__args__]
    assert len(names) == 10
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
