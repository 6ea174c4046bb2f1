"""Compile the modules that every call passes, in place, with mypyc.

    python .ci/compile.py            # what pyproject.toml lists under [tool.compiled]
    python .ci/compile.py --clean    # back to plain Python

The code is the same compiled or not; compiled it takes about two thirds of the CPU. Python prefers
the compiled module that lies beside a source file, so a change of a source takes effect only once
this has run again, or after ``--clean``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def packages() -> dict[str, list[str]]:
    """The files to compile, by package; each package becomes one library."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed: dict[str, list[str]] = tomllib.load(file)["tool"]["compiled"]
    return listed


def clean(package: str) -> None:
    """Remove what this Python would prefer to the sources of ``package``."""
    for path in (ROOT / package).rglob("*" + sysconfig.get_config_var("EXT_SUFFIX")):
        path.unlink()


def build(package: str) -> None:
    """Compile one package. Raises SystemExit when a module cannot be compiled."""
    from mypyc.build import mypycify
    from setuptools import setup

    files = packages()[package]
    folder = f"build/compiled-{sysconfig.get_python_version()}-{package}"
    options = [f"--cache-dir={folder}/mypy", "--no-warn-unused-configs"]
    setup(
        name=package,
        packages=[],
        ext_modules=mypycify(
            [*options, *files],
            opt_level="3",
            debug_level="0",
            separate=[(files, f"{package}.compiled")],
            target_dir=folder,
        ),
        script_args=["--quiet", "build_ext", "--inplace", f"--build-temp={folder}"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clean", action="store_true", help="remove what was compiled")
    parser.add_argument("--package", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.package:
        build(options.package)
        return 0
    for package in packages():
        clean(package)
    if options.clean:
        return 0
    # One process each: most of the time is the C compiler's, one library at a time.
    children = [
        subprocess.Popen([sys.executable, __file__, "--package", package]) for package in packages()
    ]
    failed = [child.wait() for child in children]
    if any(failed):
        # Half of a compiled package does not go with the sources of the other half.
        for package in packages():
            clean(package)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
