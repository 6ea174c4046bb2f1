"""Cost reports."""
