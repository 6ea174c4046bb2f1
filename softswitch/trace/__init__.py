"""What went over the wire: the last messages, in memory, and a call's among them, as a ladder, a
picture or a capture file."""

from softswitch.trace.dialogs import CALL_BYTES, ENDED, Dialogs
from softswitch.trace.exporting import Exporter, ExportSettings
from softswitch.trace.finding import Finder, Story
from softswitch.trace.ladder import text_lines
from softswitch.trace.pcap import capture
from softswitch.trace.svg import svg_lines
from softswitch.trace.wire import Seen, call_id_of

__all__ = [
    "CALL_BYTES",
    "ENDED",
    "Dialogs",
    "ExportSettings",
    "Exporter",
    "Finder",
    "Seen",
    "Story",
    "call_id_of",
    "capture",
    "svg_lines",
    "text_lines",
]
