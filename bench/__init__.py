"""Measurements: SIPp on both sides of a switch, and what a call costs in between."""
