"""What `pip` and `make` build: compiled modules, plain ones, and never half of them.

By the project's own backend and Makefile, in a copy: of the project itself where nothing is
compiled, else of one that takes seconds to compile.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()
LISTED: dict[str, list[str]] = tomllib.loads(PYPROJECT)["tool"]["compiled"]
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")
NO_COMPILER = {"CC": "/nowhere/cc"}
BROKEN_COMPILER = {"CC": "false"}
MISTAKE = '\nmistaken: int = "text"\n'

SMALL = """
[project]
name = "small"
version = "1"
dependencies = ["what-is-imported"]

[project.optional-dependencies]
compile = ["mypy"]

[tool.setuptools.packages.find]
include = ["softswitch*", "cdsplugin*"]

[tool.compiled]
softswitch = ["softswitch/sip/parser.py", "softswitch/switch.py"]
cdsplugin = ["cdsplugin/store.py"]
"""
SOURCES = {
    "softswitch/__init__.py": "",
    "softswitch/sip/__init__.py": "",
    "softswitch/sip/parser.py": "def parse(text: str) -> int:\n    return int(text)\n",
    "softswitch/switch.py": "from softswitch.sip.parser import parse\n\nTWO = parse('2')\n",
    "softswitch/plain.py": "",
    "cdsplugin/__init__.py": "",
    "cdsplugin/store.py": "from softswitch.switch import TWO\n\nFOUR = TWO + TWO\n",
}
LIBRARIES = {
    f"{name}{SUFFIX}"
    for name in (
        "softswitch/compiled__mypyc",
        "softswitch/sip/parser",
        "softswitch/switch",
        "cdsplugin/compiled__mypyc",
        "cdsplugin/store",
    )
}


def run(
    folder: Path, *command: str | Path, env: dict[str, str] | None = None, fails: bool = False
) -> str:
    """What it said, both channels. Its environment is not that of the make that runs the tests."""
    mine = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**mine, **(env or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def hook(
    folder: Path,
    name: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    fails: bool = False,
) -> str:
    """Ask the build backend as pip does. What it returns is the last line."""
    path = tomllib.loads((folder / "pyproject.toml").read_text())["build-system"]["backend-path"]
    code = f"import sys; sys.path[:0] = {path}; import backend; print(backend.{name}(*{arguments}))"
    return run(folder, sys.executable, "-c", code, env=env, fails=fails)


def wheel(folder: Path, env: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """Its name, and what is in it."""
    name = hook(folder, "build_wheel", "dist", env=env).splitlines()[-1]
    with zipfile.ZipFile(folder / "dist" / name) as file:
        return name, set(file.namelist())


def libraries(folder: Path) -> set[str]:
    found = [*(folder / "softswitch").rglob("*.so"), *(folder / "cdsplugin").rglob("*.so")]
    return {str(path.relative_to(folder)) for path in found}


def add(folder: Path, file: str, text: str) -> None:
    path = folder / file
    path.write_text(path.read_text() + text)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, compiled in place."""
    folder = tmp_path_factory.mktemp("once")
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    shutil.copy(ROOT / "Makefile", folder)
    ours = re.findall(r"^\[(?:build-system|tool.setuptools.cmdclass)\]\n(?:.+\n)+", PYPROJECT, re.M)
    (folder / "pyproject.toml").write_text("\n".join(ours) + SMALL)
    for name, text in SOURCES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run(folder, sys.executable, ".ci/compile.py", env={"SOFTSWITCH_COMPILE": "yes"})
    return folder


@pytest.fixture
def small(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "small"))


def test_nothing_lies_at_the_top_that_does_not_belong_there() -> None:
    """Such as a wheel that was looked at once."""
    if not (ROOT / ".git").exists():
        return  # an unpacked archive: what else lies there is its user's
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-tree", "--name-only", "HEAD"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert set(listed.stdout.split()) == {
        ".ci", ".gitignore", "LICENSE", "Makefile", "README.md", "bench", "cdsplugin", "deploy",
        "dialplans", "docs", "pyproject.toml", "sipp-scenarios", "softswitch", "tests",
    }  # fmt: skip


def test_the_list_names_files_of_its_packages() -> None:
    assert LISTED
    for package, files in LISTED.items():
        assert [f for f in files if not f.startswith(f"{package}/")] == []
        assert [f for f in files if not (ROOT / f).is_file()] == []
        assert len(set(files)) == len(files)


@pytest.mark.parametrize(("kind", "asked"), [("wheel", "maybe"), ("editable", "NO")])
def test_any_other_choice_is_a_mistake(once: Path, kind: str, asked: str) -> None:
    env = {"SOFTSWITCH_COMPILE": asked}
    said = hook(once, f"get_requires_for_build_{kind}", env=env, fails=True)
    assert said == f"SOFTSWITCH_COMPILE is {asked!r}: it may be no, yes, or not set\n"


@pytest.mark.parametrize(
    ("kind", "env", "compiles"),
    [
        ("wheel", {}, True),
        ("editable", {"SOFTSWITCH_COMPILE": ""}, True),
        ("wheel", {"SOFTSWITCH_COMPILE": "yes"}, True),
        ("wheel", {"SOFTSWITCH_COMPILE": "no"}, False),
        ("editable", NO_COMPILER, False),
    ],
)
def test_what_must_be_there_to_build(
    once: Path, kind: str, env: dict[str, str], compiles: bool
) -> None:
    """Types are checked, so also what the modules import."""
    last = hook(once, f"get_requires_for_build_{kind}", env=env).splitlines()[-1]
    assert last == ("['what-is-imported', 'mypy']" if compiles else "[]")


def test_nothing_to_compile_with_is_a_failure_if_it_must(once: Path) -> None:
    env = {**NO_COMPILER, "SOFTSWITCH_COMPILE": "yes"}
    said = hook(once, "get_requires_for_build_wheel", env=env, fails=True)
    assert said.startswith("SOFTSWITCH_COMPILE=yes, and a C compiler is missing")
    assert "Traceback" not in said


def test_the_plain_wheel_is_pure_and_an_sdist_is_enough_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    for name in (".ci", "softswitch", "cdsplugin", "dialplans", "deploy"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    left = f"softswitch/sip/parser{SUFFIX}"
    for place in (".", "build/lib", f"build/bdist.{sysconfig.get_platform()}/wheel"):
        (folder / place / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / place / left).touch()
    no = {"SOFTSWITCH_COMPILE": "no"}
    name, content = wheel(folder, no)
    assert name.endswith("-py3-none-any.whl")
    assert [f for f in content if f.endswith(".so")] == []
    assert {f for files in LISTED.values() for f in files} <= content
    data = name.removesuffix("-py3-none-any.whl") + ".data/data/share/softswitch"
    # Not by `iterdir`: a switch that was run from there has left its records.
    files = [*ROOT.glob("dialplans/*.yaml"), *ROOT.glob("dialplans/*.txt")]
    files += ROOT.glob("deploy/*.service")
    assert len(files) > 10
    assert {f"{data}/{f.relative_to(ROOT)}" for f in files} <= content
    prompts = [*ROOT.glob("softswitch/prompts/*.txt"), *ROOT.glob("softswitch/prompts/*/*.wav")]
    assert len(prompts) > 100
    assert {str(f.relative_to(ROOT)) for f in prompts} <= content

    sdist = hook(folder, "build_sdist", "dist").splitlines()[-1]
    with tarfile.open(folder / "dist" / sdist) as file:
        assert [f for f in file.getnames() if f.endswith(".so")] == []
        file.extractall(tmp_path, filter="data")
    assert wheel(tmp_path / sdist.removesuffix(".tar.gz"), no) == (name, content)


def test_the_compiled_wheel_has_libraries_and_sources(small: Path) -> None:
    name, content = wheel(small, {"SOFTSWITCH_COMPILE": "yes"})
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert name.startswith(f"small-1-{tag}-{tag}-linux_")
    assert {f for f in content if f.endswith(".so")} == LIBRARIES
    assert set(SOURCES) <= content
    with zipfile.ZipFile(small / "dist" / name) as file:
        file.extractall(small / "elsewhere")
    code = "import cdsplugin.store as s, softswitch.switch as t; print(s.__file__, t.TWO, s.FOUR)"
    said = run(small / "elsewhere", sys.executable, "-c", code)
    assert re.fullmatch(r"\S+\.so 2 4\n", said)


def test_a_module_that_is_no_longer_listed(small: Path) -> None:
    wheel(small)
    pyproject = small / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"softswitch/sip/parser.py", ', ""))
    left = LIBRARIES - {f"softswitch/sip/parser{SUFFIX}"}
    _, content = wheel(small)
    assert {f for f in content if f.endswith(".so")} == left
    run(small, sys.executable, ".ci/compile.py")
    assert libraries(small) == left


def test_a_module_that_cannot_be_compiled(small: Path) -> None:
    """Of one package: nothing of the other is compiled either."""
    add(small, "cdsplugin/store.py", MISTAKE)
    said = hook(small, "build_wheel", "dist", env={"SOFTSWITCH_COMPILE": "yes"}, fails=True)
    assert "cdsplugin/store.py:5: error: Incompatible types" in said
    assert said.endswith("\nnot compiled (see above)\n")
    assert not list((small / "dist").glob("*"))
    name, content = wheel(small)
    assert name == "small-1-py3-none-any.whl"
    assert [f for f in content if f.endswith(".so")] == []


@pytest.mark.parametrize("asked", ["no", ""])
def test_an_editable_installation_compiles_in_place(small: Path, asked: str) -> None:
    run(small, sys.executable, ".ci/compile.py", "--plain")
    assert libraries(small) == set()
    hook(small, "build_editable", "dist")
    assert libraries(small) == LIBRARIES
    # A compiler that fails, or a choice, leaves nothing of an earlier time.
    add(small, "softswitch/switch.py", "THREE = parse('3')\n")
    hook(small, "build_editable", "dist", env={**BROKEN_COMPILER, "SOFTSWITCH_COMPILE": asked})
    assert libraries(small) == set()


def test_in_place_only_what_changed(small: Path) -> None:
    """The libraries of the other package stay the files they are, and are current."""
    before = {name: (small / name).stat().st_ino for name in LIBRARIES}
    add(small, "softswitch/switch.py", "THREE = parse('3')\n")
    (small / "cdsplugin/store.py").touch()
    run(small, sys.executable, ".ci/compile.py")
    after = {name: (small / name).stat().st_ino for name in LIBRARIES}
    changed = {name for name in LIBRARIES if before[name] != after[name]}
    # Nor is one that a switch has open written over.
    assert changed == {f"softswitch/compiled__mypyc{SUFFIX}"}
    for name in LIBRARIES - {f"{p}/compiled__mypyc{SUFFIX}" for p in ("softswitch", "cdsplugin")}:
        source = small / (name.removesuffix(SUFFIX) + ".py")
        assert source.stat().st_mtime <= (small / name).stat().st_mtime


def test_in_place_half_of_it_is_nothing(small: Path) -> None:
    """As when the disk is full before all libraries are there."""
    (small / f"softswitch/switch{SUFFIX}").unlink()
    code = """
import compile, shutil
def full(*names): raise OSError(28, "No space left on device")
shutil.copyfile = full
compile.in_place()
"""
    said = run(small, sys.executable, "-c", code, env={"PYTHONPATH": ".ci"}, fails=True)
    assert said.endswith("No space left on device\n")
    assert libraries(small) == set()


class Make:
    """The Makefile in the small project: its environment is this one's Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / ".venv" / "bin"
        self.bin.mkdir(parents=True)
        self.program("python", f'exec "{sys.executable}" "$@"')
        (self.bin / ".venv").touch()
        (self.bin / ".installed").touch()
        self.stamp = self.bin / ".compiled"

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def __call__(self, target: str, env: dict[str, str] | None = None, fails: bool = False) -> str:
        path = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        return run(self.folder, "make", target, env={**path, **(env or {})}, fails=fails)


def test_make_stamps_only_what_is_compiled(small: Path) -> None:
    make = Make(small)
    make("compiled")
    assert make.stamp.exists()
    assert "Nothing to be done" in make("compiled")

    source = (small / "cdsplugin/store.py").read_text()
    add(small, "cdsplugin/store.py", MISTAKE)
    said = make("compiled", fails=True)
    assert "cdsplugin/store.py:5: error: Incompatible types" in said
    assert not make.stamp.exists()
    assert libraries(small) == set()

    (small / "cdsplugin/store.py").write_text(source)
    make("compiled")
    assert make.stamp.exists()
    assert libraries(small) == LIBRARIES

    make("plain")
    assert not make.stamp.exists()
    assert libraries(small) == set()


@pytest.mark.parametrize("user", [0, 1000])
def test_make_without_a_compiler(small: Path, user: int) -> None:
    """Root gets one, here in vain; all is plain then, and the next make looks again."""
    make = Make(small)
    make.program("id", f"echo {user}")
    make.program("apt-get", 'echo "$@" >>asked')
    for _ in range(2):
        assert "a C compiler is missing" in make("compiled", NO_COMPILER)
        assert not make.stamp.exists()
        assert libraries(small) == set()
    asked = (small / "asked").read_text() if (small / "asked").exists() else ""
    assert asked.count("gcc libc6-dev python3-dev\n") == (2 if user == 0 else 0)
    make("compiled", {**NO_COMPILER, "SOFTSWITCH_COMPILE": "yes"}, fails=True)


def test_how_ci_ends_is_how_its_checks_ended() -> None:
    """What it cleans up in the end fails where there is nothing left, and must not count."""
    text = (ROOT / ".ci/run").read_text()
    (trap,) = [line for line in text.splitlines() if line.startswith("trap ")]
    for last, status in (("true", 0), ("false", 1)):
        for installed in ("installed=", "true & installed=$!; wait"):
            script = f"set -euo pipefail\nelsewhere=$(mktemp -d)\n{trap}\n{installed}\n{last}\n"
            assert subprocess.run(["bash", "-c", script]).returncode == status
