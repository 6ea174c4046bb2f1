"""The documentation keeps up with the code: hooks and events have rows, links have pages."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from cdsplugin import hookspecs as call_data_hookspecs
from cdsplugin import local
from softswitch import events, hookspecs

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


SAMPLES = sorted((ROOT / "docs/plugins").glob("*/*.*"))


def hooks() -> list[str]:
    """Each hook as a call, with all of its arguments."""
    marked = "softswitch_spec"
    return [
        f"{name}({', '.join(inspect.signature(function).parameters)})"
        for module in (hookspecs, call_data_hookspecs)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if hasattr(function, marked)
    ]


def test_every_hook_is_documented() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    assert {"start(config, plugins)", "call_data(local, sections, plugins)"} < set(hooks())
    paragraphs = re.findall(r"^### `(\w+\(.*\))`\n\n\w", page, re.MULTILINE)
    assert sorted(paragraphs) == sorted(hooks())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_plugins_are_printed_as_they_are(sample: Path) -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    kind = {".py": "python", ".toml": "toml"}[sample.suffix]
    assert f"```{kind}\n{sample.read_text()}```\n" in page


def test_what_plugins_are_given_is_documented() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    assert len(SAMPLES) == 4
    methods = [name for name in vars(local.LocalStore) if not name.startswith("_")]
    assert [name for name in methods if not re.search(rf"\| .*`(await )?{name}\(", page)] == []
    errors = [name for name in local.__all__ if inspect.isclass(kind := getattr(local, name))
              and issubclass(kind, Exception)]  # fmt: skip
    assert len(errors) == 6
    assert [name for name in [*errors, "Client", "LocalStore"] if f"`{name}`" not in page] == []


def test_every_event_is_documented() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    names = [event.__name__ for event in events.Event.__args__]
    assert len(names) == 11
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
