"""What `pip` builds with: setuptools, and compiled modules where they can be compiled.

pyproject.toml names it as the build backend. It compiles before setuptools begins, so that a
compiler that fails half-way leaves a wheel without libraries, and nothing of them in its name.
compile.py says what is compiled and when.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import compile as compiling
from setuptools import Extension, build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, str | list[str] | None] | None

_libraries: dict[str, Path] = {}
"""What goes into the wheel that is being built, beside the sources: library of each module."""


def _requires() -> list[str]:
    """What compiling needs. It checks types, so also whatever the modules import."""
    if not compiling.will_compile():
        return []
    dependencies: list[str] = compiling.project()["project"]["dependencies"]
    return [*dependencies, *compiling.extra("compile")]


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*_requires(), *build_meta.get_requires_for_build_wheel(config_settings)]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*_requires(), *build_meta.get_requires_for_build_editable(config_settings)]


def build_wheel(
    wheel_directory: str,
    config_settings: Settings = None,
    metadata_directory: str | None = None,
) -> str:
    for path, library in compiling.compiled().items():
        _libraries[str(path).removesuffix(compiling.SUFFIX).replace("/", ".")] = library
    # setuptools packs whatever lies there: also what an earlier build left and nobody wants now.
    for pattern in ("lib*", "bdist*"):
        for left in Path("build").glob(pattern):
            shutil.rmtree(left)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: Settings = None,
    metadata_directory: str | None = None,
) -> str:
    compiling.in_place()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


# The commands of setuptools that have to know of it; pyproject.toml names them as well.


class BdistWheel(bdist_wheel):
    def finalize_options(self) -> None:
        # Before it is asked whether the wheel is for every platform.
        self.distribution.ext_modules = [Extension(module, []) for module in _libraries]
        super().finalize_options()


class BuildExt(build_ext):
    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_libraries[ext.name], target)


class Sdist(sdist):
    def make_distribution(self) -> None:
        # A wheel can be built of it only with what builds wheels.
        self.filelist.extend([f".ci/{name}.py" for name in ("backend", "compile")])
        super().make_distribution()
