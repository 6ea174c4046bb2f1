"""Who may ask, and who can be reached."""
