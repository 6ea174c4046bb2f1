"""Files of a switch."""
