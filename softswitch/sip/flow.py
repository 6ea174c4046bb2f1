"""Flows: what the layers above the transport know of a peer and the way to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ListenError(OSError):
    """An address that cannot be listened on; the text is one line for whoever configured it."""


class Flow(Protocol):
    """Where a message came from or goes to: one peer over one transport."""

    @property
    def reliable(self) -> bool: ...
    @property
    def transport(self) -> str: ...
    @property
    def remote(self) -> tuple[str, int]: ...
    @property
    def sent_by(self) -> str: ...
    def send(self, data: bytes, on_error: Callable[[], None] | None = None) -> None: ...
