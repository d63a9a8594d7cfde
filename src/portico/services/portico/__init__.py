"""Portico's own API: what Google has none for. Importing this registers every method."""

from portico.services.portico import clock, labels, service, steward_train, stewards  # noqa: F401
