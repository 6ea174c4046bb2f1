"""The call data servers from their sources, also where they are compiled: rules can be broken in
those alone, since what is compiled calls itself directly."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

WANTED = "SIMULATE_SOURCES"
"""In the environment of a process that is to run from sources."""


class _Sources(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("cdsplugin."):
            return None
        loader = (
            importlib.machinery.SourceFileLoader,
            importlib.machinery.SOURCE_SUFFIXES,
        )
        for folder in path or ():
            spec = importlib.machinery.FileFinder(folder, loader).find_spec(fullname)
            if spec is not None:
                return spec
        return None


def prefer_if_wanted() -> None:
    """Before the first import of what is meant."""
    if os.environ.get(WANTED):
        sys.meta_path.insert(0, _Sources())
