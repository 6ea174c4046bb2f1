"""Call data: entries, calls, the local store and its clients. No I/O."""
