"""Loads what is served, keeping what has not changed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from portico.errors import FailedPrecondition, PorticoError
from portico.prediction.front.router import Deployed, Router, Target
from portico.prediction.models import predictors
from portico.prediction.models.native.files import check_digest
from portico.prediction.models.native.process import ModelProcess, Spec, try_out
from portico.store import domain_clock, served
from portico.store.database import Database, current
from portico.store.served import ServedEndpoint, ServedModel

log = logging.getLogger(__name__)

_HERE: Final = frozenset({"portico", "lightgbm"})  # trees: how long they take is known
_MOST_DEATHS: Final = 3
_SHORTEST, _LONGEST = 30.0, 600.0  # seconds until what could not be loaded is tried again


class Loader:
    """Follows the topic "served". `load` may be called from any thread, one call at a time."""

    def __init__(
        self, database: Database, deaths: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`deaths` is the file that tells the next process which model this one was loading when it died."""
        self.version = -1
        self.domain_time: float | None = None  # as it was when this version was read; None: the wall clock's
        self._database = database
        self._targets: dict[str, Target] = {}
        self._failed: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._deaths = Deaths(deaths)
        self._clock = clock
        self._rests: dict[
            tuple[str, str], tuple[float, float]
        ] = {}  # what is not loaded: until when, and how long

    def load(self) -> tuple[int, Router | None]:
        """The newest version of what is served and a router for it; None when nothing changed.

        An endpoint with a model that can't be loaded stays as it was, and `errors` says why. A new endpoint
        is served without that model. One that could not be loaded is tried again, later each time.
        """
        with self._lock:
            again = self._rested()
            with self._database.read() as connection:
                version = current(connection, served.TOPIC)
                if version == self.version and not again:
                    return version, None
                endpoints = served.load_all(connection)
                self.domain_time = domain_clock.simulated(connection)
            targets: dict[str, Target] = {}
            failed: dict[str, dict[str, str]] = {}
            for endpoint in endpoints:
                target = self._target(endpoint, again)
                before = self._targets.get(endpoint.name)
                errors = {d.served.id: d.error for d in target.deployed.values() if d.error}
                # What could not be served before is no reason to keep the rest as it was.
                known = {i for i, d in before.deployed.items() if d.error} if before is not None else set()
                fresh = {i: error for i, error in errors.items() if i not in known}
                if fresh:
                    failed[endpoint.name] = fresh
                    target = before or target
                targets[endpoint.name] = target
            if version != self.version or failed:
                self._failed = failed
            self._targets, self.version = targets, version
            self._rest(again)
            return version, Router(targets.values())

    def errors(self) -> dict[str, dict[str, str]]:
        """By endpoint and deployed model: why it could not be loaded."""
        return self._failed

    def _rested(self) -> tuple[str, str] | None:
        """Endpoint and deployed model of what is to be tried again, if it is time. One at a time: it may take long."""
        now = self._clock()
        return next((key for key, (until, _) in self._rests.items() if until <= now), None)

    def _rest(self, tried: tuple[str, str] | None) -> None:
        now, before = self._clock(), self._rests
        self._rests = {}
        for target in self._targets.values():
            for deployed in target.deployed.values():
                if not deployed.error:
                    continue
                key = (target.name, deployed.served.id)
                until, pause = before.get(key, (now + _SHORTEST, _SHORTEST))
                if key == tried:
                    pause = min(2 * pause, _LONGEST)
                    until = now + pause
                self._rests[key] = until, pause

    def _target(self, endpoint: ServedEndpoint, again: tuple[str, str] | None) -> Target:
        before = self._targets.get(endpoint.name)
        if before is not None and before.served == endpoint:
            if again is None or again[0] != endpoint.name:
                return before
            made = [
                self._deployed(d.served, endpoint, d) if d.served.id == again[1] else d
                for d in before.deployed.values()
            ]
            return Target(endpoint, made, before.metrics)
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
            return Deployed(model, endpoint.name, metrics=metrics, **self._loaded(model))
        except PorticoError as error:
            return Deployed(model, endpoint.name, metrics=metrics, error=error.message)
        except Exception as error:
            log.exception("the deployed model %s can't be loaded", model.id)
            return Deployed(model, endpoint.name, metrics=metrics, error=str(error) or type(error).__name__)

    def _loaded(self, model: ServedModel) -> dict[str, Any]:
        """What answers for `model`. A foreign file is opened here only after a process that may die has done so."""
        if model.format == "replica":
            return {"remote": _replicas(model)}
        path = Path(model.path)
        spec = Spec(model.format, model.path, model.digest, model.explanation)
        if model.format not in _HERE:
            return {"worker": ModelProcess(spec, lasting=True)}
        check_digest(path, model.digest)
        died = self._deaths.of(model.path)
        if died >= _MOST_DEATHS:
            raise FailedPrecondition(
                f"The model's file ended the process that loads it {died} times, so it is not loaded again. "
                "Undeploy the model."
            )
        if died or not (model.digest or model.format == "portico"):
            try_out(spec)
        with self._deaths.noted(model.path):
            local = predictors.load(model.format, path, model.explanation)
        return {
            "local": local,
            "worker": ModelProcess(spec, lasting=False),
            "row_seconds": _row_seconds(local),
        }


def _row_seconds(model: Any) -> float:
    """About how long a row takes, in seconds."""
    if not hasattr(model, "sample"):
        return 1e-4  # Portico's own are limited when they are trained
    rows = model.sample()[:1]
    taken = []
    for _ in range(3):  # the least: this thread may have had to wait
        started = time.perf_counter()
        try:
            model.predict(rows, None)
        except PorticoError:
            return 1e-4
        taken.append(time.perf_counter() - started)
    return min(taken)


class Deaths:
    """How often a process died while it loaded a model, by path; kept in a file while that is not nothing."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._counts: dict[str, int] = {}
        if file is not None and file.exists():
            with contextlib.suppress(OSError, ValueError):
                self._counts = dict(orjson.loads(file.read_bytes()))

    def of(self, path: str) -> int:
        return self._counts.get(path, 0)

    @contextlib.contextmanager
    def noted(self, path: str) -> Iterator[None]:
        """Within it a death of this process is one of `path`."""
        self._counts[path] = self.of(path) + 1
        self._write()
        try:
            yield
        finally:
            del self._counts[path]
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".writing")
        temporary.write_bytes(orjson.dumps(self._counts))
        temporary.rename(self._file)


def _replicas(model: ServedModel) -> Any:
    from portico.prediction.replicas.client import ReplicaClient
    from portico.prediction.replicas.shapley import Sampling

    explanation = Sampling.from_spec(model.explanation) if model.explanation else None
    return ReplicaClient(model.replicas, explanation)
