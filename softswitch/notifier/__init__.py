"""Who watches what, and is told: lamps, presence, mailboxes, registrations (RFC 6665)."""

from softswitch.notifier.afar import Afar
from softswitch.notifier.notifier import PACKAGES, Notifier, NotifierSettings
from softswitch.notifier.rows import is_subscription
from softswitch.notifier.subscription import Subscription

__all__ = [
    "PACKAGES",
    "Afar",
    "Notifier",
    "NotifierSettings",
    "Subscription",
    "is_subscription",
]
