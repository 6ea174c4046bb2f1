"""Who watches what, and is told: lamps, presence, mailboxes, registrations (RFC 6665)."""

from softswitch.notifier.afar import Afar
from softswitch.notifier.notifier import PACKAGES, Notifier, NotifierSettings
from softswitch.notifier.rows import SUBSCRIPTION
from softswitch.notifier.subscription import Subscription

__all__ = [
    "PACKAGES",
    "SUBSCRIPTION",
    "Afar",
    "Notifier",
    "NotifierSettings",
    "Subscription",
]
