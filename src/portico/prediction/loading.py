"""Loads what is served, keeping what has not changed."""

from __future__ import annotations

import logging
import threading
from typing import Any

from portico.errors import PorticoError
from portico.prediction import predictors
from portico.prediction.router import Deployed, Router, Target
from portico.store import domain_clock, served
from portico.store.database import Database, current
from portico.store.served import ServedEndpoint, ServedModel

log = logging.getLogger(__name__)


class Loader:
    """Follows the topic "served". `load` may be called from any thread, one call at a time."""

    def __init__(self, database: Database) -> None:
        self.version = -1
        self.domain_time: float | None = None  # as it was when this version was read; None: the wall clock's
        self._database = database
        self._targets: dict[str, Target] = {}
        self._failed: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def load(self) -> tuple[int, Router | None]:
        """The newest version of what is served and a router for it; None when nothing changed.

        An endpoint with a model that can't be loaded stays as it was, and `errors` says why. A new endpoint
        is served without that model.
        """
        with self._lock:
            with self._database.read() as connection:
                version = current(connection, served.TOPIC)
                if version == self.version:
                    return version, None
                endpoints = served.load_all(connection)
                self.domain_time = domain_clock.simulated(connection)
            targets: dict[str, Target] = {}
            failed: dict[str, dict[str, str]] = {}
            for endpoint in endpoints:
                target = self._target(endpoint)
                errors = {d.served.id: d.error for d in target.deployed.values() if d.error}
                if errors:
                    failed[endpoint.name] = errors
                    target = self._targets.get(endpoint.name, target)
                targets[endpoint.name] = target
            self._targets, self._failed = targets, failed
            self.version = version
            return version, Router(targets.values())

    def errors(self) -> dict[str, dict[str, str]]:
        """By endpoint and deployed model: why it could not be loaded."""
        return self._failed

    def _target(self, endpoint: ServedEndpoint) -> Target:
        before = self._targets.get(endpoint.name)
        if before is not None and before.served == endpoint:
            return before
        known = before.deployed if before is not None else {}
        return Target(
            endpoint,
            [self._deployed(model, endpoint, known.get(model.id)) for model in endpoint.deployed],
            before.metrics if before is not None else None,
        )

    def _deployed(self, model: ServedModel, endpoint: ServedEndpoint, before: Deployed | None) -> Deployed:
        metrics = before.metrics if before is not None else None
        if before is not None and not before.error and before.served == model:
            return before
        try:
            loaded: dict[str, Any]
            if model.format == "replica":
                loaded = {"remote": _replicas(model)}
            else:
                loaded = {"local": predictors.load(model.format, model.path, model.explanation)}
            return Deployed(model, endpoint.name, metrics=metrics, **loaded)
        except PorticoError as error:
            return Deployed(model, endpoint.name, metrics=metrics, error=error.message)
        except Exception as error:
            log.exception("the deployed model %s can't be loaded", model.id)
            return Deployed(model, endpoint.name, metrics=metrics, error=str(error) or type(error).__name__)


def _replicas(model: ServedModel) -> Any:
    from portico.prediction.replicas.client import ReplicaClient
    from portico.prediction.replicas.shapley import Sampling

    explanation = Sampling.from_spec(model.explanation) if model.explanation else None
    return ReplicaClient(model.replicas, explanation)
