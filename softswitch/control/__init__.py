"""The control socket: how a running switch is asked what it does, and by whom.

A Unix socket, beside the journal; its file's permissions (0600) say who may. Both sides speak lines
of JSON. A question is `{"ask": VERB, ...}` with the verb's arguments; its answer is any number of
objects, a line each, and then `{"end": true}`, or `{"error": TEXT}`. One connection may ask one
question after the other. Large answers come in many lines, between which the switch sees to its
calls.
"""

from softswitch.control.asking import ControlError, ask, open_control, put_together
from softswitch.control.banned import Banned
from softswitch.control.listening import Asked, Control, ControlTaken, Verb, Wrong
from softswitch.control.live import SwitchCalls
from softswitch.control.media import conference_rows, media_rows, page_rows
from softswitch.control.queues import agent_rows, queue_rows
from softswitch.control.status import ROWS, SECTIONS, Status
from softswitch.control.toll import toll_rows
from softswitch.control.traced import Traced
from softswitch.control.views import SwitchViews

__all__ = [
    "ROWS",
    "SECTIONS",
    "Asked",
    "Banned",
    "Control",
    "ControlError",
    "ControlTaken",
    "Status",
    "SwitchCalls",
    "SwitchViews",
    "Traced",
    "Verb",
    "Wrong",
    "agent_rows",
    "ask",
    "conference_rows",
    "media_rows",
    "open_control",
    "page_rows",
    "put_together",
    "queue_rows",
    "toll_rows",
]
