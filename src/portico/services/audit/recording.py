"""The entry of one call in the audit log: made before the call is answered, in the transaction of its first change."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import NotFound, PermissionDenied, PorticoError, Unimplemented, rpc_status
from portico.services.audit.configured import Configured
from portico.services.audit.entry import made, shown
from portico.services.audit.kinds import Kind, kind_of, method_name
from portico.services.call import OWNER, Call
from portico.store.audit import Entry, Trail
from portico.store.beside import beside
from portico.store.objects import buckets

_PROJECT = re.compile(r"(?:^|/)projects/([^/]+)")
_NOBODYS = "-"  # the project of what belongs to none


class Recorder:
    """Says of each call whether it is recorded. `project` is that of calls which name none; `permissions` says which
    ones a method asks for."""

    def __init__(
        self,
        trail: Trail,
        project: str,
        configured: Configured,
        permissions: Callable[[str, str], Iterable[str]],
    ) -> None:
        self._trail, self._project = trail, project
        self._configured, self._permissions = configured, permissions

    def begin(self, call: Call, http: str) -> Recording | None:
        kind = kind_of(call.api, call.method, http)
        if kind != "ADMIN_WRITE" and not self._configured.is_asked():
            return None
        project = _project_of(call) or _buckets_project(call) or self._project
        if kind != "ADMIN_WRITE" and not self._configured.wants(
            project, call.api, kind, call.caller.email or OWNER
        ):
            return None
        return Recording(self._trail, call, kind, project, self._permissions(call.api, call.method))


class Recording:
    """One call that is recorded (a `store.beside.Beside`)."""

    def __init__(
        self, trail: Trail, call: Call, kind: Kind, project: str, permissions: Iterable[str]
    ) -> None:
        self._trail, self._call, self._kind, self._project = trail, call, kind, project
        self._permissions = permissions
        self._written: tuple[int, bytes] | None = None
        self._lock = threading.Lock()
        self._changed: list[str] = []
        self.is_kept = False
        self.early = call.api == "bigquery"
        """The change is kept by another process than this database's: so the entry is there before it."""

    def write(self, connection: Connection) -> None:
        with self._lock:
            if not self.is_kept:
                self._written = self._trail.insert(connection, self._entry(None))

    def kept(self) -> None:
        with self._lock:
            if not self.is_kept and self._written:
                self._trail.kept(*self._written)
                self.is_kept = True

    def changed(self, name: str) -> None:
        if name not in self._changed:
            self._changed.append(name)

    def dropped(self) -> None:
        if not self.is_kept:
            self._changed.clear()

    def end(self, error: PorticoError | None) -> None:
        """Records how the call ended, where that is not known yet. What is not built has changed nothing."""
        if (self.is_kept and error is None) or isinstance(error, Unimplemented):
            return
        token = beside.set(_Last(self._trail, self._entry(error)))
        with self._call.rooms.database.write():
            pass
        beside.reset(token)
        self.is_kept = True

    def _entry(self, error: PorticoError | None) -> Entry:
        call, resource = self._call, self._resource()
        told: dict[str, Any] = {
            "methodName": method_name(call.api, call.version, call.method),
            "authenticationInfo": {"principalEmail": call.caller.email or OWNER},
            "request": shown(call.body),
        }
        if agent := call.headers.get("user-agent"):
            told["requestMetadata"] = {"callerSuppliedUserAgent": agent}
        told["authorizationInfo"] = [
            {"permission": permission, "resource": resource, "granted": True}
            for permission in self._permissions
        ]
        if isinstance(error, PermissionDenied) and error.permission:
            told["authorizationInfo"] = [
                {"permission": error.permission, "resource": error.resource, "granted": False}
            ]
        if error is not None:
            told["status"] = {"code": rpc_status(error)["code"], "message": error.message[:2000]}
        if len(self._changed) > 1:
            told["metadata"] = {"changed": self._changed}
        bucket = call.params.get("bucket") or (
            call.body.get("name") if call.method == "buckets.insert" else ""
        )
        return made(
            self._project,
            f"{call.api}.googleapis.com",
            resource,
            told,
            call.rooms.clock.now(),
            call.rooms.ids.token(),
            log="activity" if self._kind == "ADMIN_WRITE" else "data_access",
            bucket=str(bucket) if call.api == "storage" and bucket else "",
        )

    def _resource(self) -> str:
        """What the call is about: the resource that it made, or that it names."""
        params = self._call.params
        for name in ("name", "resource", "endpoint", "model", "index", "topic", "subscription", "snapshot"):
            if params.get(name):
                return str(params[name])
        if self._changed:
            return self._changed[0]
        if self._call.api == "storage":
            bucket = params.get("bucket") or self._call.body.get("name", "")
            found = f"projects/_/buckets/{bucket}"
            return f"{found}/objects/{params['object']}" if params.get("object") else found
        if self._call.api == "bigquery":
            return _of_bigquery(self._call)
        return str(params.get("parent") or "")


class _Last:
    """An entry alone (a `store.beside.Beside`)."""

    def __init__(self, trail: Trail, entry: Entry) -> None:
        self._trail, self._entry = trail, entry
        self._written = (0, b"")

    def write(self, connection: Connection) -> None:
        self._written = self._trail.insert(connection, self._entry)

    def kept(self) -> None:
        self._trail.kept(*self._written)

    def changed(self, name: str) -> None:
        """Nothing is."""

    def dropped(self) -> None:
        """Then neither is the entry."""


def _of_bigquery(call: Call) -> str:
    named = {
        **(call.body.get("datasetReference") or {}),
        **(call.body.get("tableReference") or {}),
        **call.params,
    }
    steps = [f"projects/{named.get('projectId', _NOBODYS)}"]
    for key, collection in (("datasetId", "datasets"), ("tableId", "tables"), ("routineId", "routines"),
                            ("modelId", "models"), ("jobId", "jobs")):  # fmt: skip
        if named.get(key):
            steps.append(f"{collection}/{named[key]}")
    return "/".join(steps)


def _project_of(call: Call) -> str:
    for name, value in call.params.items():
        if name in ("projectId", "project"):
            return str(value).removeprefix("projects/")
        if isinstance(value, str) and (found := _PROJECT.search(value)):
            return found[1]
    return ""


def _buckets_project(call: Call) -> str:
    """Asked before the call, which may delete it."""
    if call.api != "storage" or not call.params.get("bucket"):
        return ""
    try:
        with call.rooms.database.read() as connection:
            return buckets.get(connection, str(call.params["bucket"])).project
    except NotFound:
        return ""
