"""Files that outlive the process: records that are appended, and the journal's file."""

from softswitch.disk.journal_file import JournalError, JournalFile
from softswitch.disk.record_file import (
    ForeignFile,
    Record,
    RecordFile,
    read_records,
    records_in,
    rescued,
)

__all__ = [
    "ForeignFile",
    "JournalError",
    "JournalFile",
    "Record",
    "RecordFile",
    "read_records",
    "records_in",
    "rescued",
]
