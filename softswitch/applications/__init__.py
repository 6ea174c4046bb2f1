"""Applications: what the switch itself plays to callers, and does with the keys that they press.

State machines without I/O. Each has a seat: a port of a media worker, and a leg of the call; what
the worker tells comes in by it, and what is to be heard goes out.
"""

from softswitch.applications.applications import Applications
from softswitch.applications.page import PageApplication
from softswitch.applications.queues import (
    ABANDONED,
    ANSWERED,
    FREE,
    LOGGED_OUT,
    OUTCOMES,
    STATES,
    Queues,
)
from softswitch.applications.rooms import NONE_FREE
from softswitch.applications.seat import Application, Seat

__all__ = [
    "ABANDONED",
    "ANSWERED",
    "FREE",
    "LOGGED_OUT",
    "NONE_FREE",
    "OUTCOMES",
    "STATES",
    "Application",
    "Applications",
    "PageApplication",
    "Queues",
    "Seat",
]
