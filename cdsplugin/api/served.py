"""What the API needs of the server whose calls it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cdsplugin.archive import Archive, Recorder
from cdsplugin.config import CdsSection
from cdsplugin.data import Store, Timers
from cdsplugin.link import Link
from cdsplugin.proxy import NetworkProxy


class Served(Protocol):
    """A call data server (``cdsplugin.server``)."""

    name: str
    section: CdsSection
    store: Store
    archive: Archive
    recorder: Recorder
    link: Link
    proxy: NetworkProxy
    timers: Timers
    on_health: list[Callable[[str, bool], None]]

    async def stored(self, within: float = ...) -> None:
        """Return once everything written so far is on disk. Raises OSError with the reason."""

    def refuses(self) -> str | None:
        """Why nothing can be acknowledged at present, for people; None if it can."""

    def troubles(self) -> list[str]:
        """What is wrong with the disks at present, a line each; for people."""
