"""The journal and the records, on disk."""

from cdsplugin.archive.disk import NotStored
from cdsplugin.archive.ends import joined
from cdsplugin.archive.foreign import Before, read_before
from cdsplugin.archive.journal import Journal, JournalSettings
from cdsplugin.archive.journal_file import FileSettings, JournalFile
from cdsplugin.archive.reading import (
    ReadError,
    read_legs,
    read_record,
    read_records,
    reading_records,
)
from cdsplugin.archive.record import Recorder
from cdsplugin.archive.recovery import Recovery
from cdsplugin.archive.rows import TalkRow
from cdsplugin.archive.sqlite import Archive, ArchiveSettings
from cdsplugin.archive.view import iso, talks_so_far

__all__ = [
    "Archive",
    "ArchiveSettings",
    "Before",
    "FileSettings",
    "Journal",
    "JournalFile",
    "JournalSettings",
    "NotStored",
    "ReadError",
    "Recorder",
    "Recovery",
    "TalkRow",
    "iso",
    "joined",
    "read_before",
    "read_legs",
    "read_record",
    "read_records",
    "reading_records",
    "talks_so_far",
]
