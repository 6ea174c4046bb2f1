"""The states of transactions (RFC 3261 §17, figures 5 to 8, and RFC 6026), and when time is up."""

from __future__ import annotations

from typing import Final

CALLING: Final = "calling"
TRYING: Final = "trying"
PROCEEDING: Final = "proceeding"
COMPLETED: Final = "completed"
CONFIRMED: Final = "confirmed"
ACCEPTED: Final = "accepted"
TERMINATED: Final = "terminated"

# A remainder this small, in seconds, is the rounding of sums and no time left.
NOTHING: Final = 1e-6
