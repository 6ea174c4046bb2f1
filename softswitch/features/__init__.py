"""What people dial stars for, and the API asks for: where their calls go, not to be disturbed, whom
they have called last."""

from softswitch.features.features import PhoneFeatures, remembers
from softswitch.features.wishes import is_wish

__all__ = ["PhoneFeatures", "is_wish", "remembers"]
