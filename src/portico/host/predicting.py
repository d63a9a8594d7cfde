"""Who may predict, as the fronts ask: once a head in a few seconds, so that a prediction waits for nothing."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from portico.clock import SystemClock
from portico.doors.identity import Identity
from portico.prediction.front.router import endpoint_name
from portico.services.iam import targets
from portico.services.iam.decide import Permissions
from portico.services.iam.permit import denied
from portico.store.database import Database


class Predicting:
    """Made before a front is forked, asked in it."""

    def __init__(self, home: Path, identity: Identity) -> None:
        self._home = home
        self._identity = identity

    def __call__(self, token: str, path: bytes, host: str) -> None:
        """
        Raises:
            Unauthenticated: the bearer token is not good. PermissionDenied: whose it is may not predict at this path.
        """
        caller = self._identity.caller(f"Bearer {token}", api="aiplatform", host=host)
        if caller.owner:
            return
        verb = "explain" if path.endswith(b"explain") else "predict"
        endpoint = targets.full("aiplatform", endpoint_name(path))
        asked = f"aiplatform.endpoints.{verb}"
        if self._permissions.missing(caller, [(asked, endpoint)]):
            raise denied(caller, "aiplatform", asked, endpoint)

    @cached_property
    def _permissions(self) -> Permissions:
        return Permissions(self._home, Database(self._home), SystemClock())
