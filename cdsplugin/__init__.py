"""Call data servers: one record per call, shared by every server that takes part in it."""
