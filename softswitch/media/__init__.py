"""Where the switch itself speaks and listens: media workers, which run pjsua2, and their pool.

pjsua2 is loaded by the workers alone (`softswitch.media.worker`), never by the switch.
"""

from softswitch.media.line import Nursery, WorkerLine
from softswitch.media.orders import LOOPBACK, File, Recorded, Sound, Stream, StreamEnded, Tone
from softswitch.media.pool import (
    After,
    Line,
    MediaWorker,
    Places,
    PoolSettings,
    Port,
    User,
    Workers,
)

__all__ = [
    "LOOPBACK",
    "After",
    "File",
    "Line",
    "MediaWorker",
    "Nursery",
    "Places",
    "PoolSettings",
    "Port",
    "Recorded",
    "Sound",
    "Stream",
    "StreamEnded",
    "Tone",
    "User",
    "WorkerLine",
    "Workers",
]
