"""BigQuery's connections, as the services that use them read them."""

from __future__ import annotations

from portico.store.resources import Private

KIND = "bigqueryconnection:connections"


class ConnectionPrivate(Private):
    """With what a connection signs in: written by a caller, and never told again."""

    username: str = ""
    password: str = ""
