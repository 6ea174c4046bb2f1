"""Message summaries (RFC 3842): how many messages wait in a mailbox."""

from __future__ import annotations

from typing import Final

SUMMARY: Final = "application/simple-message-summary"


def write_summary(account: str, new: int, old: int) -> bytes:
    """`account` is the mailbox's URI."""
    waiting = "yes" if new else "no"
    return (
        f"Messages-Waiting: {waiting}\r\nMessage-Account: {account}\r\n"
        f"Voice-Message: {new}/{old} (0/0)\r\n"
    ).encode("utf-8", "replace")
