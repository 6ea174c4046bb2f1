"""Messages between phones, also over switches, kept for a phone that is away (RFC 3428)."""

from softswitch.messages.messages import Messages, MessageSettings
from softswitch.messages.rows import is_message

__all__ = ["MessageSettings", "Messages", "is_message"]
