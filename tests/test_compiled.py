"""What is compiled, and what compiled code must not contain."""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from softswitch import compiled

ROOT = Path(__file__).resolve().parent.parent
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")
LISTED: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "compiled"
]
FILES = [file for files in LISTED.values() for file in files]


@pytest.mark.parametrize("file", FILES)
def test_what_mypyc_does_otherwise(file: str) -> None:
    """It forgets the keywords of a class, and a function within a function holds itself."""
    tree = ast.parse((ROOT / file).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            assert not node.keywords, f"{file}:{node.lineno}: class keywords are lost"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n is not node]
            assert not inner, f"{file}:{inner[0].lineno}: keeps itself alive: use functools.partial"
            lambdas = [n for n in ast.walk(node) if isinstance(n, ast.Lambda)]
            assert len(lambdas) < 3, f"{file}:{lambdas[0].lineno}: they share all they hold"


def test_no_plain_class_has_a_compiled_base() -> None:
    """It could not be made: that shows only when all is compiled, and somebody makes one."""
    paths = [path for package in LISTED for path in (ROOT / package).rglob("*.py")]
    where: dict[tuple[str, str], str] = {}  # of each class by its module
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                where[file.removesuffix(".py").replace("/", "."), node.name] = file
    wrong = []
    for file, tree in trees.items():
        if file in FILES:
            continue
        came: dict[str, tuple[str, str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    came[alias.asname or alias.name] = node.module, alias.name
        for node in ast.walk(tree):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                found = where.get(came.get(getattr(base, "id", ""), ("", "")))
                if found in FILES and not _is_protocol(trees[found], getattr(base, "id", "")):
                    wrong.append(f"{file}: {node.name} is a {found}")
    assert wrong == []


def _is_protocol(tree: ast.Module, name: str) -> bool:
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return any(getattr(base, "id", "") == "Protocol" for base in found.bases)


def test_all_listed_are_compiled_or_none() -> None:
    """In a process that has loaded them all."""
    names = [file.removesuffix(".py").replace("/", ".") for file in FILES]
    code = f"""
import importlib, sys
files = [importlib.import_module(name).__file__ for name in {names!r}]
print(*{{file.endswith(".so") for file in files}})
from softswitch import compiled
print(len(compiled.libraries()), compiled.state())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kinds, counted = ran.stdout.splitlines()
    assert kinds in ("True", "False")
    assert counted == (f"{len(FILES)} compiled" if kinds == "True" else "0 plain Python")


@pytest.fixture
def thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A compiled module of the switch: its source and its library."""
    source, library = tmp_path / "softswitch/thing.py", tmp_path / f"softswitch/thing{SUFFIX}"
    source.parent.mkdir()
    source.write_text("")
    library.write_text("")
    module, package = type(sys)("softswitch.thing"), type(sys)("softswitch")
    module.__file__ = "/somewhere/else.so"
    package.__file__ = str(source.with_name("__init__.py"))
    monkeypatch.setitem(sys.modules, "softswitch", package)
    for name in [n for n in sys.modules if n.startswith(("softswitch.", "cdsplugin."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "softswitch.thing", module)
    os.utime(source, (1000, 1000))
    os.utime(library, (1001, 1001))
    return source, library


def test_a_source_that_is_newer_is_named(thing: tuple[Path, Path]) -> None:
    source, library = thing
    assert compiled.libraries() == {source: library}
    assert compiled.stale() == []
    os.utime(source, (1002, 1002))
    assert compiled.stale() == [source]


def test_a_source_of_a_wheel_is_named_if_it_was_changed(
    thing: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time says only when it was written: `pip` writes sources after their libraries."""
    source, _ = thing
    site = source.parent.parent
    digest = hashlib.sha256(source.read_bytes()).digest()
    hashed = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    info = site / "softswitch-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: softswitch\nVersion: 1\n")
    (info / "RECORD").write_text(f"softswitch/thing.py,sha256={hashed},0\n")
    monkeypatch.syspath_prepend(site)
    os.utime(source, (1002, 1002))
    assert compiled.stale() == []
    source.write_text("changed = True\n")
    os.utime(source, (1000, 1000))
    assert compiled.stale() == [source]
