"""The documentation keeps up with the code: hooks and events have rows, links have pages."""

from __future__ import annotations

import fnmatch
import inspect
import re
import shlex
import subprocess
import wave
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from cdsplugin import hookspecs as call_data_hookspecs
from cdsplugin import local
from softswitch import events, hookspecs
from softswitch.calls import KNOWN_METHODS
from softswitch.cli import main as softswitch
from softswitch.config.addresses import AVAILABLE
from softswitch.config.models import Media
from softswitch.dialplan import OWN, NoSound, check_wav
from softswitch.switch import ALLOW_LINE
from tests.signed import Authority

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
    assert len(names) == 20
    assert [name for name in names if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)", page.read_text())
    nowhere = []
    for link in links:
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            nowhere.append(link)
    assert nowhere == []


def anchors(page: Path) -> list[str]:
    """What the headings of a page can be linked by, as GitHub makes it of them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def states(heading: str) -> dict[str, str]:
    """What the matrix says below a heading: the state of each feature."""
    section = (ROOT / "docs/readiness.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", section, re.MULTILINE)
    return {
        feature: state for feature, state in rows if feature not in ("method", "feature", "---")
    }


def test_the_matrix_has_states() -> None:
    page = (ROOT / "docs/readiness.md").read_text()
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    headings.remove("Phones and tools that were tried")  # by phone and feature
    assert len(headings) == 13
    for heading in headings:
        assert set(states(heading).values()) <= {"yes", "partly", "not yet"}, heading


def test_the_matrix_is_true_of_methods_transports_and_media() -> None:
    said = {
        method: state
        for methods, state in states("SIP methods").items()
        for method in methods.split(", ")
    }
    assert set(said) == set(KNOWN_METHODS)
    allowed = ALLOW_LINE.removeprefix("Allow: ").strip().split(", ")
    assert {method for method, state in said.items() if state != "not yet"} == set(allowed)
    transports = states("Transports and addresses")
    assert transports["UDP, TCP"] == "yes"
    assert sorted(AVAILABLE) == ["tcp", "tls", "udp"]
    assert transports["TLS, WebSocket (WS, WSS)"] == "yes"
    assert states("Media")["relayed audio: `relay`, `rtpengine`"] == "not yet"
    for mode in ("relay", "rtpengine"):
        with pytest.raises(ValidationError, match="not available yet"):
            Media.model_validate({"mode": mode})


def printed(page: Path) -> dict[str, str]:
    """The files that a page prints: by the name in their first line."""
    blocks = re.findall(
        r"^```(?:yaml|text)\n(# (\S+\.(?:yaml|txt))\n.*?)^```",
        page.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return {name: text for text, name in blocks}


def silence(path: Path) -> None:
    """A second of it, as a page that names such a file has one of its own."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("README.md", 2),
        ("docs/carriers.md", 4),
        ("docs/office-hours.md", 3),
        ("docs/toll.md", 2),
        ("docs/caller-id.md", 2),
        ("docs/forwarding.md", 2),
        ("docs/call-completion.md", 2),
        ("docs/tls.md", 2),
        ("docs/browser-phone.md", 2),
        ("docs/behind-nat.md", 2),
        ("docs/busy-lamps.md", 2),
        ("docs/messages.md", 2),
        ("docs/ring-groups.md", 2),
        ("docs/pickup-and-park.md", 2),
        ("docs/tracing.md", 2),
        ("docs/transfer.md", 4),
        ("docs/softphone.md", 2),
        ("docs/menus.md", 2),
        ("docs/music.md", 2),
        ("docs/voicemail.md", 2),
        ("docs/recording.md", 2),
        ("docs/queues.md", 2),
        ("docs/conferences.md", 2),
        ("docs/paging.md", 2),
        ("docs/streams.md", 4),
    ],
)
def test_configurations_run_as_printed(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / name
    files = printed(page)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
        for sound in re.findall(r"[\w/-]+\.wav", text):
            silence(tmp_path / sound)
    authority = Authority(tmp_path, "carrier-ca")
    for file in ("pbx", "other"):
        authority.issue(f"{file}.example.com", file=file)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(
        r"^\$ (?:\.venv/bin/)?softswitch ((?:check|dialplan test) .*)$",
        page.read_text(),
        re.MULTILINE,
    )
    assert len(files) == count
    assert len(commands) >= 2
    said = ""
    for command in commands:
        found = CliRunner().invoke(softswitch, shlex.split(command, comments=True))
        assert found.exit_code == 0, (command, found.output)
        assert "refuse with" not in found.output, (command, found.output)
        said += found.output
    # What a page says that is said, is.
    what = r"\S+\.yaml:\d+: .*|limited by .*|menu \w+: hears .*|presses .*"
    shown = re.findall(rf"^ {{4,}}({what})$", page.read_text(), re.MULTILINE)
    lines = [line.strip() for line in said.splitlines()]
    assert [line for line in shown if line not in lines] == []


def test_a_wav_file_is_made_as_printed(tmp_path: Path) -> None:
    """By sox, of what a computer records: two channels, 44,100 samples a second."""
    page = (ROOT / "docs/menus.md").read_text()
    (command,) = re.findall(r"^\$ (sox .*)$", page, re.MULTILINE)
    with wave.open(str(tmp_path / "recorded.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(bytes(4 * 44100))
    with pytest.raises(NoSound, match="2 channels"):
        check_wav(tmp_path / "recorded.wav")
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    assert check_wav(tmp_path / "hello.wav") == pytest.approx(1, abs=0.01)


def test_the_prompts_that_are_named_are_there() -> None:
    page = (ROOT / "docs/menus.md").read_text().split("## Prompts of your own")[1]
    listed = re.findall(r"`([\w-]+)`", page.split("`softswitch/prompts")[0])
    own = {path.stem for path in (OWN / "en").glob("*.wav")}
    assert len(listed) > 15
    assert [name for name in listed if name not in {*own, "time", "number"}] == []


def test_git_ignores_what_a_switch_writes() -> None:
    """Where `docs/durability.md` has a file, and SQLite two beside it."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    page = (ROOT / "docs/durability.md").read_text().split("## The files")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE)
    assert len(named) == 6
    files = [name.replace("DATABASE", "x.db").replace("NAME", "x") for name in named]
    files += ["x.db-wal", "x.db-shm", "x.db.journal-wal", "x.db.journal-shm", "x.calls.before"]
    assert [f for f in files if not any(fnmatch.fnmatch(f, line) for line in ignored)] == []


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {str(page.relative_to(ROOT)) for page in PAGES if page.name != "README.md"}
