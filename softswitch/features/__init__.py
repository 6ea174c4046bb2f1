"""What people dial stars for, and the API asks for: where their calls go, not to be disturbed, whom
they have called last, to be rung when that one is free."""

from softswitch.features.completion_rows import COMPLETION
from softswitch.features.completions import (
    Completions,
    CompletionSettings,
    completes,
)
from softswitch.features.features import PhoneFeatures, remembers
from softswitch.features.mailbox_rows import MAILBOX
from softswitch.features.mailboxes import Mailboxes
from softswitch.features.wishes import WISHES

__all__ = [
    "COMPLETION",
    "MAILBOX",
    "WISHES",
    "CompletionSettings",
    "Completions",
    "Mailboxes",
    "PhoneFeatures",
    "completes",
    "remembers",
]
