"""What calls cost."""

from cdsplugin.accounts.rates import Rates, RatesError, read_rates
from cdsplugin.accounts.report import GROUPS, Report, cost_report

__all__ = [
    "GROUPS",
    "Rates",
    "RatesError",
    "Report",
    "cost_report",
    "read_rates",
]
