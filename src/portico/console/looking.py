"""A request of a person: who looks, at which place, and the page that they are shown."""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import secrets
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, quote, urlencode

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from portico.console import sessions, words
from portico.console.api import Api, Server, Visitor
from portico.errors import InvalidArgument, PermissionDenied, PorticoError

BASE = "/-/console"
OWNER = "x-portico-owner"  # what the door tells of who looks
_COOKIE = "portico-console"
_FILE = "application/octet-stream"  # the content type of a file that the pages' script sends
_MOST_FORM = 4 * 2**20  # bytes
PAGE = 25  # rows of a table
# The permissions of what pages offer to do.
ACTS = (
    "aiplatform.batchPredictionJobs.cancel", "aiplatform.customJobs.cancel", "aiplatform.endpoints.predict",
    "aiplatform.hyperparameterTuningJobs.cancel", "aiplatform.models.update", "aiplatform.pipelineJobs.cancel",
    "aiplatform.pipelineJobs.create", "aiplatform.trainingPipelines.cancel", "bigquery.jobs.create",
    "portico.alerts.silence", "portico.customJobs.rerun", "portico.episodes.approve", "portico.episodes.reject",
    "portico.episodes.replay", "portico.episodes.rollBack", "portico.stewards.pause", "portico.stewards.resume",
    "portico.trainingPipelines.rerun", "storage.buckets.create", "storage.objects.create", "storage.objects.delete",
)  # fmt: skip


class Tokens:
    """What a form must bring back, so that no other site's page can send it: of the visitor's cookie and a secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, cookie: str) -> str:
        return hmac.new(self._secret, cookie.encode(), hashlib.sha256).hexdigest()

    def check(self, request: Request, told: str) -> None:
        """
        Raises:
            PermissionDenied: the form did not come from one of our pages.
        """
        cookie = request.cookies.get(_COOKIE, "")
        same = request.headers.get("origin") or request.headers.get("sec-fetch-site") == "same-origin"
        if not (same and cookie and hmac.compare_digest(told, self.of(cookie))):
            raise PermissionDenied(
                "This form was not sent from a page of the console that is open in this browser, or the server was "
                "restarted since. Load the page again, and send it once more."
            )


class Looking:
    """One request, while it is answered."""

    def __init__(
        self, request: Request, form: Mapping[str, str], body: BinaryIO | None = None, size: int = 0
    ) -> None:
        self.request, self.form = request, form
        self.body, self.size = body, size  # of a file that was sent
        self.query = request.query_params
        self.server: Server = request.app.state.server
        owner = request.headers.get(OWNER) == "1"
        token = request.app.state.sessions.opened(request.cookies.get(sessions.COOKIE, ""))
        self.session, self.signed_in, self.person = token, bool(token), sessions.person(token)
        shown = request.headers.get("authorization", "") or (f"Bearer {token}" if token else "")
        visitor = Visitor(owner, shown)
        self.project = request.path_params.get("project", "")
        self.location = request.path_params.get("location", "")
        self.parent = f"projects/{self.project}/locations/{self.location}"
        self.visitor = visitor
        self.api = Api(self.server, visitor, self.parent)
        self.cookie = request.cookies.get(_COOKIE, "")
        self._fresh = not self.cookie
        if self._fresh:
            self.cookie = secrets.token_urlsafe(18)
        self.token = request.app.state.tokens.of(self.cookie)
        self._may: frozenset[str] | None = None

    @property
    def secure(self) -> bool:
        """Whether the visitor came by TLS."""
        return self.request.headers.get("x-forwarded-proto") == "https"

    def part(self, name: str) -> str:
        """A part of the address, as the route calls it."""
        return str(self.request.path_params[name])

    def name(self, collection: str, part: str = "id") -> str:
        """The resource name of what the address is of."""
        return f"{self.parent}/{collection}/{self.part(part)}"

    def read(self, collection: str) -> tuple[str, dict[str, Any]]:
        """The name of what the address is of, and the resource."""
        name = self.name(collection)
        return name, self.api.call("GET", f"/v1/{name}")

    def may(self, permission: str) -> bool:
        """Whether what needs this permission is offered. The API refuses it anyway to who lacks it."""
        if self._may is None:
            self._may = self.api.may(self.project, ACTS)
        return permission in self._may

    def began(self, token: str, response: Response) -> Response:
        """Answers the visitor that the token is of, or nobody in particular: with another cookie for forms."""
        self._fresh, self.cookie = True, secrets.token_urlsafe(18)
        self._known(response)
        if token:
            sealed = self.request.app.state.sessions.seal(token)
            response.set_cookie(
                sessions.COOKIE, sealed, sessions.SECONDS, path=BASE, httponly=True, samesite="strict",
                secure=self.secure,
            )  # fmt: skip
        else:
            response.delete_cookie(sessions.COOKIE, BASE, httponly=True, samesite="strict")
        return response

    def show(self, template: str, title: str, status: int = 200, **facts: Any) -> Response:
        """The page of a template."""
        content = (
            environment()
            .get_template(template)
            .render(
                title=title,
                looking=self,
                base=BASE,
                here=str(self.request.url.path),
                version=_version(),
                **facts,
            )
        )
        return self._known(HTMLResponse(content, status))

    def go(self, address: str) -> Response:
        """Leads to another page, after something was done."""
        return self._known(RedirectResponse(address, 303))

    def with_query(self, **changed: str) -> str:
        """This page's address with some parameters changed; an empty one is left out."""
        left = {k: v for k, v in ({**self.query, **changed}).items() if v}
        return str(self.request.url.path) + (f"?{urlencode(left)}" if left else "")

    def page_of(self, path: str, key: str, **query: Any) -> tuple[list[dict[str, Any]], str]:
        """The rows of a list that this address asks for (`page`, `size`), and the address of the next page, if any."""
        asked = {"pageSize": PAGE, **query}
        if token := self.query.get("page"):
            asked["pageToken"] = token
        found = self.api.call("GET", path, **{k: v for k, v in asked.items() if v})
        more = found.get("nextPageToken", "")
        return found.get(key) or [], self.with_query(page=more) if more else ""

    def _known(self, response: Response) -> Response:
        if self._fresh:
            response.set_cookie(
                _COOKIE, self.cookie, path=BASE, httponly=True, samesite="strict", secure=self.secure
            )
        return response


_ROUTES: list[BaseRoute] = []
Show = Callable[[Looking], Response]


def page(path: str, method: str = "GET") -> Callable[[Show], Show]:
    """Registers what answers an address below the console's; one that is posted is checked to come from our pages."""

    def register(show: Show) -> Show:
        async def answer(request: Request) -> Response:
            try:
                if method == "GET":
                    return await run_in_threadpool(show, Looking(request, {}))
                if request.headers.get("content-type", "") == _FILE:
                    with tempfile.TemporaryFile() as file:
                        size = await _spooled(request, file, request.headers.get("x-csrf", ""))
                        return await run_in_threadpool(show, Looking(request, {}, file, size))
                form = await _form(request)
                request.app.state.tokens.check(request, form.get("csrf", ""))
                return await run_in_threadpool(show, Looking(request, form))
            except PorticoError as error:
                return await run_in_threadpool(no_page, request, error)

        _ROUTES.append(Route(path, answer, methods=[method]))
        return show

    return register


def registered() -> list[BaseRoute]:
    return list(_ROUTES)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_FORM:
            raise InvalidArgument("The form is too long.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def _spooled(request: Request, file: BinaryIO, token: str) -> int:
    """Writes what is sent into a file, and says how much it is. What is refused is read too, and thrown away: else its
    sender would not hear why.

    Raises:
        PermissionDenied: it was not sent from one of our pages.
    """
    refused = None
    try:
        request.app.state.tokens.check(request, token)
    except PermissionDenied as error:
        refused = error
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if refused is None:
            await run_in_threadpool(file.write, piece)
    if refused is not None:
        raise refused
    file.seek(0)
    return size


_TRY = {
    "UNAUTHENTICATED": "Sign in, or open the console as the user of this machine who runs Portico.",
    "PERMISSION_DENIED": "Ask whoever runs this server, or go back and load the page again.",
    "NOT_FOUND": "It may have been deleted, or the address is not whole. The list above it shows what there is.",
    "UNAVAILABLE": "The server may be restarting. Load the page again in a moment.",
    "FAILED_PRECONDITION": "Somebody may have acted meanwhile. Load the page again to see how things stand.",
    "ABORTED": "Somebody changed it meanwhile. Load the page again, and repeat what you did.",
}


def no_page(request: Request, error: PorticoError) -> Response:
    """An error, with what to try."""
    looking = Looking(request, {})
    hint = _TRY.get(error.code, "Change what was sent, as the message says, and try again.")
    if error.status >= 500 and error.code not in _TRY:
        hint = "Load the page again; the server's log has the details."
    return looking.show(
        "error.html",
        "That did not work",
        error.http_status,
        error=error,
        hint=hint,
        sign_in=error.code == "UNAUTHENTICATED",
    )


@cache
def environment() -> jinja2.Environment:
    """The templates. Whatever is put into one is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= words.FILTERS
    made.globals["address"] = address
    return made


def address(name: str, **query: Any) -> str:
    """The page of a resource, by its name."""
    told = f"?{urlencode(query)}" if query else ""
    return f"{BASE}/{quote(name, safe='/:@')}{told}"


@cache
def _version() -> str:
    """Changes with what the browser may keep."""
    static = Path(__file__).with_name("static")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(static.iterdir())))
    return f"{digest.hexdigest()[:12]}-{importlib.metadata.version('plotly')}"
