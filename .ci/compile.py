"""Compile the modules that every call passes, in place, with mypyc.

    python .ci/compile.py            # what pyproject.toml lists under [tool.compiled]
    python .ci/compile.py --clean    # back to plain Python

The code does the same compiled or not; compiled, a call takes three quarters of the CPU. Python
prefers the compiled module that lies beside a source file, so a change of a source takes effect
only once this has run again, or after ``--clean``. Without a C compiler it says so, and all stays
as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def packages() -> dict[str, list[str]]:
    """The files to compile, by package; each package becomes one library."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed: dict[str, list[str]] = tomllib.load(file)["tool"]["compiled"]
    return listed


def libraries(package: str) -> set[Path]:
    """What this Python prefers to the sources of a package."""
    return set((ROOT / package).rglob(f"*{SUFFIX}"))


def wanted(package: str) -> set[Path]:
    """The libraries that a package is compiled to."""
    files = packages()[package]
    names = [file.removesuffix(".py") for file in files] + [f"{package}/compiled__mypyc"]
    return {ROOT / f"{name}{SUFFIX}" for name in names}


def clean() -> None:
    """Remove what was compiled."""
    for package in packages():
        for path in libraries(package):
            path.unlink()


def lacking() -> str:
    """What is missing to compile; empty if nothing is."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return "a C compiler"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python.h"
    return ""


def build(package: str) -> None:
    """Compile one package. Raises SystemExit when a module cannot be compiled."""
    from mypyc.build import mypycify
    from setuptools import setup

    files = packages()[package]
    folder = f"build/compiled-{sysconfig.get_python_version()}-{package}"
    setup(
        name=package,
        packages=[],
        ext_modules=mypycify(
            [f"--cache-dir={folder}/mypy", "--no-warn-unused-configs", *files],
            debug_level="0",
            separate=[(files, f"{package}.compiled")],
            target_dir=folder,
        ),
        script_args=["--quiet", "build_ext", "--inplace", f"--build-temp={folder}"],
    )


def build_all() -> bool:
    """Compile all packages, side by side: most of it is the C compiler's work."""
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
        return False
    for package in packages():
        for path in libraries(package) - wanted(package):
            path.unlink()  # of a module that is no longer listed
        for path in wanted(package):
            path.touch()  # current, also where nothing had to be done
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clean", action="store_true", help="remove what was compiled")
    parser.add_argument("--lacking", action="store_true", help="fail if something is missing")
    parser.add_argument("--package", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.clean:
        clean()
        return 0
    missing = lacking()
    if options.lacking:
        return 1 if missing else 0
    if options.package:
        build(options.package)
        return 0
    if missing:
        clean()
        print(
            f"{missing} is missing: all runs as plain Python, and a call takes a third more CPU"
            " (sudo apt-get install gcc python3-dev, then make compiled)",
            file=sys.stderr,
        )
        return 0
    print("compiling what every call passes: about a minute", file=sys.stderr)
    if not build_all():
        # One half of a compiled package does not go with the sources of the other.
        clean()
        print("not compiled (see above): all runs as plain Python", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
