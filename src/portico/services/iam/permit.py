"""Refuses calls whose caller lacks a permission, in the words that the API has for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from portico.errors import InvalidArgument, PermissionDenied, PorticoError, Unauthenticated
from portico.prediction.front.peers import no_token
from portico.services.call import Caller
from portico.services.iam import accounts, checks, roles, targets
from portico.services.iam.accounts import State
from portico.services.iam.decide import Permissions
from portico.services.iam.reading import Reading
from portico.services.iam.table import permissions_of
from portico.store.database import Database
from portico.store.objects import buckets

FOR_ANYBODY: Final = frozenset({"storage", "artifactregistry"})
"""The APIs that a caller who is not known may use where a policy lets allUsers: Google's others know everybody."""
_ALL_IN_PATH: Final = frozenset({"aiplatform", "storage", "bigquery"})  # of calls without a body

_STREAMED: Final = {"bigquerystorage": "writeStream", "pubsub": "subscription"}  # what a request names


class Permit:
    """What `doors.dispatch` asks: before a call's body is read, and when it is there."""

    def __init__(self, database: Database, permissions: Permissions) -> None:
        self._database = database
        self._permissions = permissions

    def before(self, caller: Caller, api: str, method: str, path: str, params: Mapping[str, Any]) -> None:
        """
        Raises:
            PermissionDenied: the caller may not call this method of what its path names. Unauthenticated: and nobody
                knows who it is.
        """
        if caller.owner:
            return
        if api == "iamcredentials":  # whose caller may act for another: see `after`
            return
        with Reading(self._database) as reading:
            asked = list(checks.of_method(reading, caller.email, api, method, path, params))
        if caller.anonymous and not asked:
            if checks.NAMED_LATER not in params:
                raise no_token()
            asked = [("storage.objects.create", targets.bucket(str(params["bucket"])))]
        self._require(caller, api, asked)

    def after(
        self,
        caller: Caller,
        api: str,
        method: str,
        path: str,
        params: Mapping[str, Any],
        body: dict[str, Any],
    ) -> None:
        """
        Raises:
            PermissionDenied: the caller may not do what the body says. InvalidArgument: it gives a role that there
                is not.
        """
        if method.endswith("setIamPolicy"):
            _check_roles(body.get("policy") or body)
        if caller.owner or (not body and api in _ALL_IN_PATH):
            return
        if api == "iamcredentials":
            with Reading(self._database) as reading:
                asked = list(checks.of_method(reading, caller.email, api, method, path, params))
            self._delegated(caller, asked, body.get("delegates") or [])
            return
        with Reading(self._database) as reading:
            asked = list(checks.of_body(reading, api, method, params, body))
        self._require(caller, api, asked)
        if "requests" in body:
            body["requests"] = self._each(caller, api, method, body["requests"])

    def _delegated(self, caller: Caller, asked: list[checks.Check], delegates: list[str]) -> None:
        """Each of a chain acts as the next one; the last has what is asked for."""
        for each in delegates:
            with Reading(self._database) as reading:
                account = accounts.canonical(reading.connection, str(each))
                state = accounts.state(reading.connection, account.rpartition("/")[2])
            self._require(
                caller,
                "iamcredentials",
                [("iam.serviceAccounts.implicitDelegation", targets.full("iam", account))],
            )
            if state in (State.DISABLED, State.DELETED):
                raise PermissionDenied(f"{each} is {state.value}: nobody acts through it.")
            caller = Caller(account.rpartition("/")[2])
        self._require(caller, "iamcredentials", asked)

    def _require(self, caller: Caller, api: str, asked: list[checks.Check]) -> None:
        lacked = self._permissions.missing(caller, asked)
        if lacked is not None:
            if api == "storage":
                with Reading(self._database) as reading:
                    require_bucket(reading, lacked[1])
            raise denied(caller, api, *lacked)

    async def _each(
        self, caller: Caller, api: str, method: str, requests: AsyncIterator[dict[str, Any]]
    ) -> AsyncIterator[dict[str, Any]]:
        """Requests that stream in, each for a stream or a subscription of its own, or the one before."""
        seen: set[str] = set()
        async for request in requests:
            name = str(request.get(_STREAMED[api]) or "")
            if (name or not seen) and name not in seen:
                full = checks.of_stream(name) if api == "bigquerystorage" else targets.full(api, name)
                self._require(caller, api, [(one, full) for one in permissions_of(api, method)])
                seen.add(name)
            yield request


def require_bucket(reading: Reading, resource: str) -> None:
    """That there is no such bucket is told before who may do what with it: their names are everybody's.

    Raises:
        NotFound
    """
    if name := targets.target(resource).bucket:
        buckets.get(reading.connection, name)


def denied(caller: Caller, api: str, permission: str, resource: str) -> PorticoError:
    """What Google's API says of a permission that is missing."""
    found = targets.target(resource)
    kind = "object" if "/objects/" in found.relative else "bucket" if found.bucket else "project"
    if caller.anonymous:
        if not permission.startswith("storage."):
            return no_token()
        return Unauthenticated(
            f"Anonymous caller does not have {permission} access to the Google Cloud Storage {kind}. Permission "
            f"'{permission}' denied on resource (or it may not exist). {no_token().message}",
            reason="required",
        )
    if permission.startswith("storage."):
        return PermissionDenied(
            f"{caller.email} does not have {permission} access to the Google Cloud Storage {kind}. Permission "
            f"'{permission}' denied on resource (or it may not exist).",
            reason="forbidden", permission=permission, resource=resource,
        )  # fmt: skip
    if permission.startswith("bigquery."):
        parts = found.relative.split("/")
        kind = parts[-2].removesuffix("s") if len(parts) > 2 else "project"
        shown = ".".join(parts[3::2])
        name = f"{found.project}:{shown}" if shown else found.project
        return PermissionDenied(
            f"Access Denied: {kind.capitalize()} {name}: Permission {permission} denied on {kind} {name} (or it may "
            "not exist).",
            reason="accessDenied", permission=permission, resource=resource,
        )  # fmt: skip
    shown = resource if api in ("aiplatform", "portico", "mlflow") else found.relative or resource
    return PermissionDenied(
        f"Permission '{permission}' denied on resource '{shown or 'this server'}' (or it may not exist).",
        reason="forbidden", permission=permission, resource=resource,
    )  # fmt: skip


def _check_roles(policy: Mapping[str, Any]) -> None:
    """Of services that are not served here nothing is known; a policy may name their roles."""
    for position, binding in enumerate(policy.get("bindings") or ()):
        name = str(binding.get("role", ""))
        if roles.is_mistaken(name):
            raise InvalidArgument(
                f"Role {name} is not supported for this resource.", field=f"policy.bindings[{position}].role"
            )
