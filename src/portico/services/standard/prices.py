"""What is used would cost on Google Cloud: an estimate by list prices that the home may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from portico.errors import FailedPrecondition
from portico.store import usage

_OURS = Path(__file__).with_name("prices.yaml")


class Prices:
    """Per unit of each sku.

    Raises:
        FailedPrecondition: the home's file can't be read, or says no price.
    """

    def __init__(self, told: dict[str, Any], path: Path) -> None:
        try:
            self.currency, self.as_of = str(told["currency"]), str(told["as of"])
            self._each = {
                sku: float(told["prices"][sku]["price"]) / float(told["prices"][sku]["per"])
                for sku in usage.SKUS
            }
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise FailedPrecondition(
                f"{path.name} must have currency, as of, and under prices for each of {', '.join(usage.SKUS)} a price "
                f"and what it is per ({error!r})."
            ) from None

    @classmethod
    def of(cls, home: Path) -> Prices:
        own = home / _OURS.name
        path = own if own.exists() else _OURS
        try:
            return cls(yaml.safe_load(path.read_text()), path)
        except (OSError, yaml.YAMLError) as error:
            raise FailedPrecondition(f"{path.name} can't be read: {error}") from None

    def cost(self, sku: str, amount: float) -> float:
        return amount * self._each[sku]

    def node_hour(self, cores: float, memory: float) -> float:
        """What a training that asks for so many cores and GiB costs an hour."""
        return 3600 * (self.cost(usage.CORES, cores) + self.cost(usage.MEMORY, memory))
