"""What the warehouse asks for while it works on a query: objects in buckets, the project's jobs, and predictions."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.services.bigquery import external_databases, permissions
from portico.services.bigquery.external_databases import external_query
from portico.services.bigquery.remote_endpoints import Asker, endpoint
from portico.services.call import Call
from portico.services.iam import targets
from portico.services.standard.sources import find, gcs_of, pin
from portico.store import resources
from portico.warehouse.client import FOLDER

JOBS = "bigquery:jobs"  # as which jobs are written down
_ANY = re.compile(
    r"\*+"
)  # of a URI: BigQuery's goes over /, https://cloud.google.com/bigquery/docs/wildcards


@contextlib.contextmanager
def outside(call: Call, holder: str) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """Answers what is asked for, where the caller may have it; objects that were asked for stay as they are until the
    end."""
    gcs = gcs_of(call.rooms)
    pinned_any = False

    def files(uris: list[str]) -> list[dict[str, str]]:
        nonlocal pinned_any
        permissions.of_objects(call, uris, "get")
        pinned_any = True
        with named():
            pinned = pin(gcs, [_ANY.sub("**", one) for one in uris], holder, "uris")
        return [{"path": str(one.path(call.rooms.home)), "uri": one.uri} for one in pinned]

    def exists(uri: str) -> bool:
        permissions.of_objects(call, [uri], "create")
        try:
            return bool(find(gcs, [uri], "uri"))
        except (InvalidArgument, NotFound):
            return False

    def put(path: str, uri: str) -> None:
        permissions.of_objects(call, [uri], "create")
        with named():
            gcs.write(uri, Path(path))

    def jobs(project: str) -> list[dict[str, Any]]:
        permissions.require(call, [("bigquery.jobs.list", targets.project(project))])
        with call.rooms.database.read() as connection:
            return [one.body for one in resources.listed(connection, JOBS, f"projects/{project}")]

    def external(**asked: Any) -> str:
        if not folders:
            folders.append(tempfile.TemporaryDirectory(dir=call.rooms.home / FOLDER))
        return external_query(call, read, folder=Path(folders[0].name), **asked)

    def asked(text: str) -> str:
        found = endpoint(call, text)
        permissions.require(call, [("aiplatform.endpoints.predict", targets.full("aiplatform", found))])
        return found

    folders: list[tempfile.TemporaryDirectory[str]] = []
    asker = Asker(call)
    known: dict[str, Callable[..., Any]] = {
        "files": files, "exists": exists, "put": put, "jobs": jobs,
        "endpoint": asked, "predict": asker.predict,
        "external_query": external,
        "permitted": permissions.permitted(call), "needed": permissions.needed(call),
    }  # fmt: skip
    try:
        with external_databases.reading(holder) as read:
            yield lambda what, arguments: known[what](**arguments)
    finally:
        asker.close()
        for one in folders:
            one.cleanup()
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
