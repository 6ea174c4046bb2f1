"""What calls cost, and what became of those who waited in queues."""

from cdsplugin.accounts.queues import QUEUE_GROUPS, WITHIN, QueueLine, queue_report
from cdsplugin.accounts.rates import Rates, RatesError, read_rates
from cdsplugin.accounts.report import GROUPS, Report, cost_report

__all__ = [
    "GROUPS",
    "QUEUE_GROUPS",
    "WITHIN",
    "QueueLine",
    "Rates",
    "RatesError",
    "Report",
    "cost_report",
    "queue_report",
    "read_rates",
]
