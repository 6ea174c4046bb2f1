"""Whether the modules that every call passes are compiled, and from what.

``make`` compiles beside the sources of a checkout, ``pip install`` brings both.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
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


def _installed() -> dict[Path, str]:
    """The files that a wheel brought, each with the hash that the wheel has of it."""
    try:
        files = importlib.metadata.files("softswitch") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {
        Path(str(file.locate())).resolve(): file.hash.value
        for file in files
        if file.hash is not None and file.hash.mode == "sha256"
    }


def _hash(path: Path) -> str:
    """As wheels have it: in base64, without what fills that up."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def stale() -> list[Path]:
    """Sources that were changed after they were compiled: what runs is what they were before."""
    found = libraries()
    # Installed files have the times at which they were written, sources after their libraries.
    installed = _installed() if found else {}

    def changed(source: Path) -> bool:
        hashed = installed.get(source.resolve())
        if hashed is not None:
            return hashed != _hash(source)
        return source.stat().st_mtime > found[source].stat().st_mtime

    return sorted(filter(changed, found))
