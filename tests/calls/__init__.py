"""Tests of calls through a switch, on a network that exists in memory only."""
