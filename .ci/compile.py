"""Compile the modules that every call passes with mypyc: for `pip`, by backend.py, and for `make`.

    python .ci/compile.py            # in place, what pyproject.toml lists under [tool.compiled]
    python .ci/compile.py --plain    # back to plain Python

The code does the same compiled or not; compiled, a call takes three quarters of the CPU. Python
prefers the compiled module that lies beside a source file, so a change of a source takes effect
only once this has run again, or after ``--plain``. ``SOFTSWITCH_COMPILE=no`` compiles nothing,
``yes`` makes it a failure when that is not possible; without either, all is plain Python where
there is no C compiler.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
CHOICE = "SOFTSWITCH_COMPILE"
GET_IT = "apt-get install gcc python3-dev"

Built = dict[Path, Path]
"""Libraries: where each belongs, from the project's folder, and where it was built."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages() -> dict[str, list[str]]:
    """The files to compile, by package; each package becomes one library."""
    listed: dict[str, list[str]] = project()["tool"]["compiled"]
    return listed


def folder(package: str) -> Path:
    """Where a package is compiled, and what the next time need not do again is kept."""
    return Path("build", f"compiled-{sysconfig.get_config_var('SOABI')}-{package}")


def built(package: str) -> Built:
    """The libraries that a package is compiled to. Every other module's only leads to the first."""
    names = [f"{package}/compiled__mypyc", *(f.removesuffix(".py") for f in packages()[package])]
    return {Path(f"{n}{SUFFIX}"): folder(package) / "lib" / f"{n}{SUFFIX}" for n in names}


def chosen() -> str:
    """What ``SOFTSWITCH_COMPILE`` asks for: ``no``, ``yes`` or nothing. Raises SystemExit."""
    asked = os.environ.get(CHOICE, "")
    if asked not in ("", "no", "yes"):
        raise SystemExit(f"{CHOICE} is {asked!r}: it may be no, yes, or not set")
    return asked


def lacking() -> str:
    """What is missing to compile; empty if nothing is."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(compiler.split()[0]) is None:
        return "a C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python.h"
    return ""


def will_compile() -> bool:
    """Raises SystemExit when it is to and cannot."""
    asked = chosen()
    if asked == "no":
        print(f"{CHOICE}=no: all runs as plain Python", file=sys.stderr)
        return False
    missing = lacking()
    if missing and asked == "yes":
        raise SystemExit(f"{CHOICE}=yes, and {missing} is missing ({GET_IT})")
    if missing:
        print(
            f"{missing} is missing ({GET_IT}): all runs as plain Python, and a call takes a third"
            " more CPU",
            file=sys.stderr,
        )
    return not missing


def extra(name: str) -> list[str]:
    """What pyproject.toml says must be installed to test, or to compile."""
    found: list[str] = project()["project"]["optional-dependencies"][name]
    return found


def build(package: str) -> None:
    """Compile one package. Raises SystemExit when a module cannot be compiled."""
    from mypyc.build import mypycify
    from setuptools import Distribution, errors
    from setuptools.command.build_ext import build_ext

    files = packages()[package]
    extensions = mypycify(
        [f"--cache-dir={folder(package)}/mypy", "--no-warn-unused-configs", *files],
        debug_level="0",
        separate=[(files, f"{package}.compiled")],
        target_dir=str(folder(package)),
    )
    command = build_ext(Distribution({"ext_modules": extensions}))
    command.build_temp = str(folder(package))
    command.build_lib = str(folder(package) / "lib")
    command.ensure_finalized()
    try:
        command.run()
    except (errors.CompileError, errors.LinkError) as error:
        raise SystemExit(f"{package}: {error}") from None  # the compiler has said why


def build_all() -> Built:
    """Compile all packages, side by side: most is the C compiler's work. Empty if it failed."""
    print("compiling what every call passes: about a minute", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", __file__, "--package"]
    children = [
        subprocess.Popen(
            [*command, package], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for package in packages()
    ]
    said = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        sys.stderr.writelines(said)
        return {}
    return {path: library for package in packages() for path, library in built(package).items()}


def compiled(must: bool = False) -> Built:
    """What goes beside the sources; empty where all stays plain Python.

    Raises SystemExit when compiling fails and it ``must`` not, or ``SOFTSWITCH_COMPILE=yes``.
    """
    if not will_compile():
        return {}
    libraries = build_all()
    if not libraries and (must or chosen() == "yes"):
        raise SystemExit("not compiled (see above)")
    if not libraries:
        print("not compiled (see above): all runs as plain Python", file=sys.stderr)
    return libraries


def plain(but: Built | None = None) -> None:
    """Remove what was compiled in place."""
    for package in packages():
        for path in Path(package).rglob(f"*{SUFFIX}"):
            if path not in (but or {}):
                path.unlink()


def in_place(must: bool = False) -> bool:
    """Compile in place; whether anything is compiled now. Raises SystemExit as `compiled` does."""
    try:
        libraries = compiled(must)
        plain(but=libraries)  # of modules that are no longer listed, or all
        for path, library in libraries.items():
            if not path.exists() or not filecmp.cmp(path, library, shallow=False):
                # A new file: a switch that runs has the old one open, and would fall over a change.
                fresh = path.with_name(f"fresh-{path.name}")
                shutil.copyfile(library, fresh)
                fresh.replace(path)
            path.touch()  # current, also where nothing had to be done
    except BaseException:
        # One half of a compiled package does not go with the sources of the other.
        plain()
        raise
    return bool(libraries)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plain", action="store_true", help="remove what was compiled")
    parser.add_argument("--lacking", action="store_true", help="fail if something is missing")
    parser.add_argument("--extra", metavar="NAME", help="print what it asks to be installed")
    parser.add_argument("--stamp", type=Path, help="file that is there when all is compiled")
    parser.add_argument("--package", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.package:
        build(options.package)
    elif options.lacking:
        return 1 if lacking() else 0
    elif options.extra:
        print(*extra(options.extra), sep="\n")
    elif options.plain:
        plain()
    else:
        if options.stamp:
            options.stamp.unlink(missing_ok=True)
        if in_place(must=True) and options.stamp:
            options.stamp.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
