"""Whether the modules that every call passes are compiled (`make compiled`), and from what."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path

_OURS = ("softswitch.", "cdsplugin.")
_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX") or ".so"


def libraries() -> dict[Path, Path]:
    """Of the modules that are loaded and compiled: source, and library beside it."""
    found = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(_OURS) or not str(getattr(module, "__file__", "")).endswith(".so"):
            continue
        # Its ``__file__`` is wrong when another compiled module was the first to import it.
        package, *parts = name.split(".")
        home = sys.modules[package].__file__
        if home is not None:
            source = Path(home).parent.joinpath(*parts).with_suffix(".py")
            library = source.with_name(parts[-1] + _SUFFIX)
            if source.exists() and library.exists():
                found[source] = library
    return found


def state() -> str:
    """``compiled`` or ``plain Python``."""
    found = importlib.util.find_spec("softswitch.sip.message")
    return "compiled" if found and (found.origin or "").endswith(".so") else "plain Python"


def stale() -> list[Path]:
    """Sources that were changed after they were compiled: what runs is what they were before."""
    return sorted(
        source
        for source, library in libraries().items()
        if source.stat().st_mtime > library.stat().st_mtime
    )
