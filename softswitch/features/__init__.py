"""What people dial stars for, and the API asks for: where their calls go, not to be disturbed, whom
they have called last, to be rung when that one is free."""

from softswitch.features.completion_rows import is_completion
from softswitch.features.completions import (
    Completions,
    CompletionSettings,
    completes,
)
from softswitch.features.features import PhoneFeatures, remembers
from softswitch.features.mailbox_rows import is_mailbox
from softswitch.features.mailboxes import Mailboxes
from softswitch.features.wishes import is_wish

__all__ = [
    "CompletionSettings",
    "Completions",
    "Mailboxes",
    "PhoneFeatures",
    "completes",
    "is_completion",
    "is_mailbox",
    "is_wish",
    "remembers",
]
