"""The recordings of a switch, for its event loop: what waits for the disk is done elsewhere, one
thing after the other, and its outcome comes back by a callback."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

from softswitch.config import RecordingModel
from softswitch.recordings.files import (
    Finished,
    about_of,
    begin,
    expired,
    finish,
    parts,
    remainders,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST: Final = 80
"""Characters of a callID in a file's name."""
NOTHING: Final = "nothing was recorded"
LOOKS: Final = 3600.0
"""Seconds between looks for what is too old."""


class Elsewhere(Protocol):
    """Does things one after the other, not in the event loop."""

    def __call__(self, what: Callable[[], T], then: Callable[[T | None], None]) -> None:
        """`then` gets what comes of it, in the event loop; None if that has failed."""


class Recording:
    """One that is under way. `first` and `second` are where the two sides are to be written."""

    def __init__(self, keeper: Recordings, path: Path, about: dict[str, str]) -> None:
        self._keeper = keeper
        self.path = path
        self.about = about
        self.first, self.second = parts(path)

    def finish(self, then: Callable[[Finished | str], None]) -> None:
        """Both sides are written: `then` gets what there is, or why there is nothing."""
        self._keeper.finish(self.path, then)


class Recordings:
    """All of a switch. `now` is the time of day in seconds, `token` makes names that nobody else
    has, `told` gets those that a killed process has left behind."""

    def __init__(
        self,
        name: str,
        settings: RecordingModel,
        elsewhere: Elsewhere,
        after: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float],
        token: Callable[[], str],
        told: Callable[[Finished], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self._elsewhere = elsewhere
        self._after = after
        self._now = now
        self._token = token
        self._told = told
        self._closed = False
        self.on_finished: Callable[[], None] | None = None
        """Told when there is a file more."""

    def open(self) -> None:
        """Make whole what a killed process has left."""
        work = partial(_rescued, self.settings.folder, self.name, self.settings.copy_ is not None)
        self._elsewhere(work, self._rescued)
        self._look()

    def _rescued(self, found: list[Finished] | None) -> None:
        for one in found or ():
            log.warning("recording %s: made whole, %.1f s", one.path, one.seconds)
            self._told(one)
        if self.on_finished is not None:
            self.on_finished()

    def _look(self) -> None:
        if self._closed:
            return
        if self.settings.keep:
            before = self._now() - self.settings.keep * 86_400
            self._elsewhere(partial(_delete, self.settings.folder, before), _deleted)
        self._after(LOOKS, self._look)

    def begin(self, call_id: str, talk: int, then: Callable[[Recording | None], None]) -> None:
        """A talk is to be recorded; `then` gets where, or None if that cannot be."""
        now = datetime.fromtimestamp(self._now(), UTC)
        # The callID may come from another switch: it is a name here, and never a path.
        safe = _UNSAFE.sub("_", call_id)[:_LONGEST]
        name = f"{now:%H%M%S}-{safe}-{_named(self.name)}-{talk}-{self._token()[:6]}.wav"
        path = self.settings.folder / f"{now:%Y-%m-%d}" / name
        about = {
            "call_id": call_id,
            "switch": self.name,
            "talk": str(talk),
            "began": now.isoformat(timespec="milliseconds"),
        }
        recording = Recording(self, path, about)
        self._elsewhere(partial(_begun, path, about), partial(_given, recording, then))

    def finish(self, path: Path, then: Callable[[Finished | str], None]) -> None:
        """See `Recording`."""
        copied = self.settings.copy_ is not None
        self._elsewhere(partial(_finished, path, copied), partial(self._given_whole, then))

    def _given_whole(
        self, then: Callable[[Finished | str], None], found: Finished | str | None
    ) -> None:
        then(found if found is not None else NOTHING)
        if self.on_finished is not None and isinstance(found, Finished):
            self.on_finished()

    def close(self) -> None:
        """The switch stops."""
        self._closed = True


def _begun(path: Path, about: dict[str, str]) -> bool:
    begin(path, about)
    return True


def _given(
    recording: Recording, then: Callable[[Recording | None], None], begun: bool | None
) -> None:
    then(recording if begun else None)


def _finished(path: Path, copied: bool) -> Finished | str:
    try:
        return finish(path, copied) or NOTHING
    except OSError as error:
        log.error("recording %s: %s; its parts are kept", path, error.strerror)
        return error.strerror or "it cannot be written"


def _named(switch: str) -> str:
    return _UNSAFE.sub("_", switch)


def _is_of(path: Path, switch: str) -> bool:
    """Whether that switch has made it: others may have the same folder, and write there now."""
    about = about_of(path)
    if "switch" in about:
        return about["switch"] == switch
    return path.stem.rsplit("-", 2)[0].endswith(f"-{_named(switch)}")


def _rescued(folder: Path, switch: str, copied: bool) -> list[Finished]:
    found = []
    for path in remainders(folder):
        if not _is_of(path, switch):
            continue
        try:
            whole = finish(path, copied)
        except OSError as error:
            log.error("recording %s: %s", path, error.strerror)
            continue
        if whole is not None:
            found.append(whole)
    return found


def _delete(folder: Path, before: float) -> int:
    gone = 0
    for path in expired(folder, before):
        try:
            path.unlink(missing_ok=True)
            gone += 1
        except OSError as error:
            log.error("recording %s: %s", path, error.strerror)
    return gone


def _deleted(gone: int | None) -> None:
    if gone:
        log.info("recordings: %d deleted, as old as they may get", gone)
