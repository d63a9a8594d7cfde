"""Portico's own API: what Google has none for. Importing this registers every method."""

from portico.services.portico import (  # noqa: F401
    clock,
    label_import,
    labels,
    prediction_search,
    service,
    stewards,
)
from portico.services.portico.steward import train  # noqa: F401
