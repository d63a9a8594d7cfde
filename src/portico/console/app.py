"""The console's application: its routes, and what every answer of it carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from portico.console import pages
from portico.console.api import Server
from portico.console.looking import BASE, Tokens, no_page
from portico.console.sessions import Sessions
from portico.errors import NotFound

# No script but ours, nothing from another host, in nobody's frame. Plotly writes its rules into our style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_ALWAYS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_YEAR = "public, max-age=31536000, immutable"


def make_app(home: Path, secret: bytes) -> Any:
    """The ASGI application. `secret` is what the tokens of forms are made with."""
    app = Starlette(
        routes=[
            Route("/", lambda request: RedirectResponse(f"{BASE}/")),
            Route(BASE, lambda request: RedirectResponse(f"{BASE}/")),
            Route(f"{BASE}/plotly/{{version}}.js", _plotly),
            Mount(f"{BASE}/static", StaticFiles(directory=Path(__file__).with_name("static"))),
            Mount(BASE, routes=pages.routes()),
        ],
        exception_handlers={404: _nothing, 405: _nothing},
    )
    app.state.server, app.state.tokens = Server(home), Tokens(secret)
    app.state.sessions = Sessions(secret)

    async def with_headers(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                had = {name for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in _ALWAYS.items()]
                if "/static/" in scope["path"]:
                    more.append((b"cache-control", _YEAR.encode() if scope["query_string"] else b"no-cache"))
                elif b"cache-control" not in had:
                    more.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await app(scope, receive, sent)

    return with_headers


def _plotly(request: Request) -> Response:
    """The charts' library, from its wheel."""
    found = importlib.util.find_spec("plotly")
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return FileResponse(path, media_type="text/javascript", headers={"cache-control": _YEAR})


def _nothing(request: Request, error: Exception) -> Response:
    return no_page(request, NotFound(f"There is no page {request.url.path}."))
