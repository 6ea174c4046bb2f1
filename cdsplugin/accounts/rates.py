"""The rate file: what calls by carriers cost (YAML)::

    currency: EUR
    rates:
      - {trunk: pstn, prefix: "0044", per_minute: 0.03, setup: 0.05, increment: 60}
      - {trunk: pstn, switch: branch, prefix: "00", per_minute: 0.10}
      - {prefix: "0", per_minute: 0.02}

The longest ``prefix`` of the number that the carrier was given wins; among equal ones a rate that
names the trunk by which the call left our switches, and the switch. ``increment`` is the seconds to
which a call is rounded up, ``setup`` is charged once for each answered call.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from softswitch.config import Section, Text, as_written, check_model, read_yaml


class RatesError(Exception):
    """The rate file cannot be used. The text has a line for each mistake, with its place."""


def _decimal(value: object) -> Decimal:
    written = as_written(value)
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise ValueError("expected a number")
    try:
        number = Decimal(str(written))
    except ArithmeticError as error:
        raise ValueError(f"found `{written}`, expected a number") from error
    if not number.is_finite() or number < 0:
        raise ValueError(f"found `{written}`, expected a number that is not negative")
    return number


Money = Annotated[Decimal, BeforeValidator(_decimal)]


class Rate(Section):
    """What calls to numbers with ``prefix`` cost, by trunk ``trunk`` and from switch ``switch`` if
    those are named."""

    prefix: Text = Field(default="", description="how the number begins")
    trunk: Text | None = Field(default=None, description="the carrier's trunk")
    switch: Text | None = Field(default=None, description="the switch that has the trunk")
    per_minute: Money = Field(description="price of a minute")
    setup: Money = Field(default=Decimal(0), description="price of each answered call")
    increment: int = Field(default=1, ge=1, description="seconds to which calls are rounded up")


class Rates(Section):
    """A rate file."""

    currency: Text = Field(default="", description="shown beside the costs")
    rates: tuple[Rate, ...] = Field(description="the rates")

    def cost(self, number: str, trunk: str, switch: str, billsec: Decimal) -> Decimal | None:
        """What an answered call costs; None if no rate covers it."""
        best: Rate | None = None
        for rate in self.rates:
            if (
                not number.startswith(rate.prefix)
                or rate.trunk not in (None, trunk)
                or rate.switch not in (None, switch)
            ):
                continue
            if best is None or _rank(rate) > _rank(best):
                best = rate
        if best is None:
            return None
        increments = (billsec / best.increment).to_integral_value(ROUND_CEILING)
        return best.setup + best.per_minute * increments * best.increment / 60


def _rank(rate: Rate) -> tuple[int, bool, bool]:
    return len(rate.prefix), rate.trunk is not None, rate.switch is not None


def read_rates(path: Path) -> Rates:
    """Read a rate file. Raises ``RatesError``."""
    read = read_yaml(path)
    model = check_model(Rates, read) if not read.mistakes or read.value is not None else None
    if read.mistakes or model is None:
        raise RatesError("\n".join(str(mistake) for mistake in sorted(read.mistakes)))
    return model
