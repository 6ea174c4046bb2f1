"""Messages that callers leave: kept on disk, counted for phones, sent by mail."""

from softswitch.voicemail.keeper import Elsewhere, Voicemail
from softswitch.voicemail.store import Message, Store
from softswitch.voicemail.wav import repaired

__all__ = ["Elsewhere", "Message", "Store", "Voicemail", "repaired"]
