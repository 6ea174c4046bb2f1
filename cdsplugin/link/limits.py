"""What the link lets other servers make it hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bytes and seconds. ``buffer_bytes`` is what may wait for a slow peer before it is dropped;
    ``connections`` counts servers that passed the handshake, ``strangers`` connections that have
    not. Between two attempts to reach a server there is a pause, from ``reconnect_min`` to
    ``reconnect_max``: it grows as long as no connection lasts ``dead_after``. A connection on which
    nothing came for ``dead_after`` may be half-open.
    """

    frame_bytes: int = 16 * 1024 * 1024
    buffer_bytes: int = 64 * 1024 * 1024
    connections: int = 2000
    strangers: int = 100
    handshake: float = 5.0
    reconnect_min: float = 0.1
    reconnect_max: float = 10.0
    dead_after: float = 30.0
