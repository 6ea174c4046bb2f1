"""Messages between phones, also over switches, kept for a phone that is away (RFC 3428)."""

from softswitch.messages.messages import Messages, MessageSettings
from softswitch.messages.rows import MESSAGE

__all__ = ["MESSAGE", "MessageSettings", "Messages"]
