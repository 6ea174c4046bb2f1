"""Bad days: three sites, a server without a switch, an application that types notes, and faults.

Everything is killed, stopped, cut off, locked, filled up and moved away by a seed, while SIPp calls
through one, two and three sites. After the last fault is healed each call has one right row, soon,
and each note that was acknowledged is in it. ``python -m bench.faults`` runs it (``make faults``).
"""
