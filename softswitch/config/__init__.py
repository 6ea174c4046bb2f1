"""Configuration as people write it: its models, places in YAML, mistakes."""
