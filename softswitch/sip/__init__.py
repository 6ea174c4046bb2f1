"""SIP (RFC 3261), one file per layer; no layer imports one above it, and only transport has
sockets.
"""
