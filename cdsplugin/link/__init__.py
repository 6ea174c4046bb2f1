"""Frames between servers."""
