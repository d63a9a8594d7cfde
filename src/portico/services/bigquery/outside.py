"""What the warehouse asks for while it works on a query: objects in buckets, the project's jobs, and predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.services.bigquery.remote_endpoints import Asker, endpoint
from portico.services.call import Call
from portico.services.standard.sources import find, gcs_of, pin
from portico.store import resources

JOBS = "bigquery:jobs"  # as which jobs are written down


@contextlib.contextmanager
def outside(call: Call, holder: str) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """Answers what is asked for; objects that were asked for stay as they are until the end."""
    gcs = gcs_of(call.rooms)
    pinned_any = False

    def files(uris: list[str]) -> list[dict[str, str]]:
        nonlocal pinned_any
        pinned_any = True
        with named():
            pinned = pin(gcs, uris, holder, "uris")
        return [{"path": str(one.path(call.rooms.home)), "uri": one.uri} for one in pinned]

    def exists(uri: str) -> bool:
        try:
            return bool(find(gcs, [uri], "uri"))
        except (InvalidArgument, NotFound):
            return False

    def put(path: str, uri: str) -> None:
        with named():
            gcs.write(uri, Path(path))

    def jobs(project: str) -> list[dict[str, Any]]:
        with call.rooms.database.read() as connection:
            return [one.body for one in resources.listed(connection, JOBS, f"projects/{project}")]

    asker = Asker(call)
    known: dict[str, Callable[..., Any]] = {
        "files": files, "exists": exists, "put": put, "jobs": jobs,
        "endpoint": lambda text: endpoint(call, text), "predict": asker.predict,
    }  # fmt: skip
    try:
        yield lambda what, arguments: known[what](**arguments)
    finally:
        asker.close()
        if pinned_any:
            gcs.unpin(holder)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """An object that is not there is not found; the rules of Vertex AI's requests say it otherwise."""
    try:
        yield
    except InvalidArgument as error:
        if error.violations:
            raise NotFound(f"Not found: {error.message}", reason="notFound") from None
        raise
