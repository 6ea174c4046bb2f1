"""What calls cost."""

from cdsplugin.accounts.report import GROUPS, Rates, RatesError, cost_report, read_rates

__all__ = [
    "GROUPS",
    "Rates",
    "RatesError",
    "cost_report",
    "read_rates",
]
