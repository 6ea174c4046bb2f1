"""The headless softphone (pjsua2)."""
