"""Calls: the legs of a call, their forking and their bridge."""
