"""The console's pages, a module a subject; importing one registers its addresses."""

from __future__ import annotations

from starlette.routing import BaseRoute

from portico.console.looking import registered
from portico.console.pages import (  # noqa: F401
    alerts,
    audit,
    cost,
    data,
    endpoints,
    experiments,
    home,
    models,
    people,
    pipelines,
    sign_in,
    sql,
    stewards,
    system,
    training,
)


def routes() -> list[BaseRoute]:
    return registered()
