"""Files that outlive the process: append-only records, the journal's file."""

from softswitch.disk.journal_file import JournalError, JournalFile

__all__ = [
    "JournalError",
    "JournalFile",
]
