"""Copies of recordings in an object store (S3 and what speaks like it): made after the call, tried
again until they are there, also after a restart. What is still to be copied has a marker beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from softswitch.config import CopyModel
from softswitch.recordings.files import MARKER
from softswitch.recordings.keeper import Elsewhere

log = logging.getLogger(__name__)

AT_A_TIME: Final = 50
"""Files that are copied before it is looked again whether the switch stops."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    copied: int
    left: int
    error: str = ""


class Copying:
    """Of one switch. `elsewhere` waits for the network, and for nothing else."""

    def __init__(
        self,
        folder: Path,
        settings: CopyModel | None,
        elsewhere: Elsewhere,
        after: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.folder = folder
        self.settings = settings
        self._elsewhere = elsewhere
        self._after = after
        self._busy = False
        self._more = False
        self._waits = False
        self._closed = False
        self._said = ""
        self.left = 0
        """Files that are not there yet, as far as is known."""

    def look(self) -> None:
        """There may be something to be copied."""
        settings = self.settings
        if settings is None or self._closed:
            return
        if self._busy:
            self._more = True
            return
        self._busy, self._more = True, False
        self._elsewhere(partial(_copy, self.folder, settings), self._copied)

    def _copied(self, outcome: _Outcome | None) -> None:
        self._busy = False
        error = outcome.error if outcome is not None else "it cannot be looked for what to copy"
        if outcome is not None:
            self.left = outcome.left
        if error != self._said:
            self._said = error
            if error:
                log.error("recordings are not copied: %s", error)
            else:
                log.info("recordings are copied again")
        if error:
            self._again()
        elif self._more or self.left:
            self.look()

    def _again(self) -> None:
        settings = self.settings
        if settings is not None and not self._waits and not self._closed:
            self._waits = True
            self._after(settings.retry, self._try_again)

    def _try_again(self) -> None:
        self._waits = False
        self.look()

    def close(self) -> None:
        """The switch stops: what is left is copied when it is back."""
        self._closed = True


def _copy(folder: Path, settings: CopyModel) -> _Outcome:
    markers = sorted(folder.glob(f"*/*{MARKER}"))
    copied = 0
    try:
        store = store_of(settings) if markers else None
        for marker in markers[:AT_A_TIME]:
            path = marker.with_suffix(".wav")
            if path.exists():
                import_module("obstore").put(store, f"{path.parent.name}/{path.name}", path)
                if settings.remove:
                    path.unlink()
            marker.unlink()
            copied += 1
    except Exception as error:
        # Whatever that library finds wrong: it is tried again.
        return _Outcome(copied, len(markers) - copied, str(error).partition("\n")[0][:300])
    return _Outcome(copied, len(markers) - copied)


def store_of(settings: CopyModel) -> Any:
    """The store. Raises ImportError without obstore, and what that raises."""
    stores = import_module("obstore.store")
    config = {
        name: value
        for name, value in (
            ("aws_endpoint", settings.endpoint),
            ("aws_region", settings.region),
            ("aws_access_key_id", settings.key),
            ("aws_secret_access_key", settings.secret),
        )
        if value
    }
    options = {"timeout": f"{settings.timeout:g}s"}
    if settings.endpoint.startswith("http://"):
        options["allow_http"] = "true"
    if settings.to.startswith("file:"):
        return stores.from_url(settings.to, mkdir=True)
    # We try again ourselves.
    return stores.from_url(
        settings.to, config=config, client_options=options, retry_config={"max_retries": 0}
    )
