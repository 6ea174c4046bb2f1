"""The journal and the records, on disk."""
