"""The runs of model deployment monitoring jobs: each window that is due, its rows in the log, and who is told.

The job that does them stands as long as its resource (`services.standard.standing`): a turn counts all that are due.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import Cancelled, FailedPrecondition, Internal, PorticoError, rpc_status
from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform.monitoring import baseline as baselines
from portico.services.aiplatform.monitoring import model_deployment_monitoring_jobs as jobs
from portico.services.aiplatform.monitoring import reader, words
from portico.services.aiplatform.monitoring.baseline import Baseline
from portico.services.aiplatform.monitoring.due import is_due, strayed, unread
from portico.services.aiplatform.monitoring.models import WatchedModels
from portico.services.aiplatform.monitoring.window import Counted, body_of
from portico.services.call import Rooms, rooms_of
from portico.store import resources, segments, windows
from portico.store.resources import Resource
from portico.store.segments import Segments
from portico.store.windows import StoredWindow

log = logging.getLogger(__name__)

_ROWS = 50_000  # instances that are counted at once
_SHORTEST, _LONGEST = 5.0, 300.0  # seconds until what failed is tried again


_windows: dict[Path, Windows] = {}  # of this process


def run(context: Context) -> Wait | None:
    """A turn: all that is due up to the payload's `until`, in domain time."""
    windows = _windows.get(context.home)
    if windows is None:
        segments = Segments(context.home, context.database, context.clock, context.ids)
        windows = _windows[context.home] = Windows(rooms_of(context), segments)
    return windows.turn(context.job.resource, float(context.job.payload["until"]), context.check)


class Windows:
    """What one process keeps for the turns of all jobs, which it runs one after the other."""

    def __init__(self, rooms: Rooms, segments: Segments) -> None:
        self._rooms = rooms
        self._database = rooms.database
        self._segments = segments
        self._models = WatchedModels(rooms)
        self._failures: dict[str, int] = {}  # of jobs, one after the other
        self._check: Callable[[], None] = lambda: None

    def turn(self, name: str, until: float, check: Callable[[], None] = lambda: None) -> Wait | None:
        """None where the job is gone. `check` raises where the turn shall end."""
        job = self._read(name)
        if job is None:
            self._failures.pop(name, None)
            return None
        self._check = check
        if strayed(job, until):
            self._plan(name, until)
        errors = []
        if unread(job):
            errors.append(self._attempt(job, lambda: self._prepare(job)))
        errors.append(self._attempt(job, lambda: self._run_until(name, until)))
        if not any(errors):
            self._failures.pop(name, None)
            return Wait(math.inf)
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        return Wait(self._rooms.clock.now() + min(_SHORTEST * 2 ** (failures - 1), _LONGEST))

    def _read(self, name: str) -> Resource | None:
        with self._database.read() as connection:
            return resources.get(connection, name)

    def _attempt(self, job: Resource, work: Callable[[], None]) -> PorticoError | None:
        """The error of what failed, which its job tells."""
        try:
            work()
            return None
        except Cancelled:
            raise
        except PorticoError as error:
            failed = error
        except Exception as unexpected:
            log.exception("%s can't be run", job.name)
            failed = Internal(f"The run failed unexpectedly ({type(unexpected).__name__}: {unexpected}).")
        log.warning("%s can't go on: %s", job.name, failed.message)
        with self._database.write() as connection:
            current = resources.get(connection, job.name)
            if current is not None and current.body.get("error") != rpc_status(failed):
                current.body["error"] = rpc_status(failed)
                if not jobs.JobPrivate.of(current).baselines:  # else it watches what it can
                    current.body["state"] = "JOB_STATE_FAILED"
                resources.update(connection, current, self._rooms.clock.now())
        return failed

    def _plan(self, name: str, now: float) -> None:
        """The next run of a job that strayed is an interval from now."""
        with self._database.write() as connection:
            job = resources.get(connection, name)
            if job is not None and strayed(job, now):
                job.body["nextScheduleTime"] = rfc3339(now + jobs.schedule_of(job.body)[0])
                resources.update(connection, job, self._rooms.clock.now())

    # --- the baseline ---

    def _prepare(self, job: Resource) -> None:
        """Reads the training data of each objective: what windows are compared with. One whose data can't be read is
        left out until they can.

        Raises:
            PorticoError: that of the first whose data can't be read.
        """
        made: dict[str, Baseline] = {}
        failed: list[PorticoError] = []
        for config in unread(job):
            try:
                made[config["deployedModelId"]] = baselines.make(self._rooms, self._models, job, config)
            except PorticoError as error:
                failed.append(error)
        if made:
            with self._database.write() as connection:
                current = resources.get(connection, job.name)
                if current is None or current.revision != job.revision:
                    return  # it was changed meanwhile: read again at the next look
                for deployed_id, baseline in made.items():
                    self._keep(connection, current, deployed_id, baseline)
                current.body["state"] = "JOB_STATE_RUNNING"
                current.body.pop("error", None)
                resources.update(connection, current, self._rooms.clock.now())
        if failed:
            raise failed[0]

    def _keep(self, connection: Connection, job: Resource, deployed_id: str, baseline: Baseline) -> None:
        """Stores a baseline; `job`, which the caller updates, knows when it was made."""
        jobs.JobPrivate.of(job).baselines[deployed_id] = rfc3339(self._rooms.clock.now())
        windows.put_baseline(connection, job.name, deployed_id, baseline.to_json())

    # --- a run ---

    def _run_until(self, name: str, now: float) -> None:
        """Runs the job for each interval that ended up to `now`; intervals without predictions leave no window."""
        while (job := self._read(name)) is not None and is_due(job, now):
            interval, length = jobs.schedule_of(job.body)
            end = parse_rfc3339(job.body["nextScheduleTime"])
            with self._database.read() as connection:
                later = segments.listed(
                    connection, stream_of(job.body["endpoint"]), start=_exact(end - length)
                )
            # Nothing was predicted until then: go on with the interval before it.
            until = min([now, *(segment.first for segment in later)])
            end = _exact(end + max(math.floor((until - end) / interval), 0) * interval)
            waiting = unread(job)
            configs = [one for one in job.body[jobs.OBJECTIVES] if one not in waiting]
            made = [self._window(job, config, _exact(end - length), end) for config in configs]
            with self._database.write() as connection:
                current = resources.get(connection, name)
                if current is None or current.revision != job.revision:
                    return  # it was changed meanwhile: the next look runs it as it is now
                for window, begun, told in made:
                    if window is not None:
                        windows.put(connection, window)
                        if begun is not None:
                            self._keep(connection, current, window.deployed_model, begun)
                        self._mail(connection, job, window, told)
                current.body |= {"state": "JOB_STATE_RUNNING", "nextScheduleTime": rfc3339(end + interval)}
                if not waiting:
                    current.body.pop("error", None)
                current.body["latestMonitoringPipelineMetadata"] = {"runTime": rfc3339(end), "status": {}}
                resources.update(connection, current, self._rooms.clock.now())
            for window, _, told in made:
                for line in told:
                    log.warning("%s: %s", _found_in(job, window), line)

    def _window(
        self, job: Resource, config: dict[str, Any], start: float, end: float
    ) -> tuple[StoredWindow | None, Baseline | None, list[str]]:
        """The window [start, end) of one deployed model, scored (None when it had no predictions); its baseline, where
        the window made a part of that; and its anomalies in words."""
        deployed_id, objective = config["deployedModelId"], config["objectiveConfig"]
        with self._database.read() as connection:
            stored = windows.baseline(connection, job.name, deployed_id)
            before = windows.listed(connection, job.name, deployed_id, end=end - 1e-6, limit=1)
        if stored is None:
            raise FailedPrecondition(f"{job.name} has lost what it compares with; update its objectives.")
        baseline = Baseline.from_json(stored)
        known = baseline.digest()
        explain = bool((objective.get("explanationConfig") or {}).get("enableFeatureAttributes"))
        counted = Counted(baseline, start, explain)
        for rows, answers in self._instances(job, deployed_id, start, end):
            order = list(_sample(job) or (feature.name for feature in baseline.features.bins))
            counted.add(rows, [reader.named(row, order) for row in rows], answers)
        if not counted.rows:
            return None, None, []
        reasons, why = None, ""
        try:
            model = self._models.explaining(job.body["endpoint"], deployed_id) if explain else None
            reasons = counted.attributions(model)
        except PorticoError as error:
            why = error.message
        digest = baseline.digest()
        comparable = bool(before) and before[0].body["bins"] == digest
        body = body_of(counted, reasons, objective, before[0].body if comparable else None)
        if why:
            body["incomparable"] = {"attributions": why}
        told = words.lines(body, counted.sketches) if words.anomalies(body) else []
        window = StoredWindow(job.name, deployed_id, start, end, body)
        return window, baseline if digest != known else None, told

    def _instances(
        self, job: Resource, deployed_id: str, start: float, end: float
    ) -> Iterator[tuple[list[Any], list[Any]]]:
        """What the deployed model was asked for in [start, end), and what it answered where that is known."""
        rows: list[Any] = []
        answers: list[Any] = []
        of = {"deployed_model_id": deployed_id}
        for instances, known in reader.logged(self._segments, job.body["endpoint"], of, start, end):
            rows += instances
            answers += known
            if len(rows) >= _ROWS:
                yield rows, answers
                rows, answers = [], []
                self._check()
        if rows:
            yield rows, answers

    def _mail(self, connection: Connection, job: Resource, window: StoredWindow, told: list[str]) -> None:
        """Notes the mails in the transaction that stores the window."""
        alerts = job.body.get("modelMonitoringAlertConfig") or {}
        to = (alerts.get("emailAlertConfig") or {}).get("userEmails") or []
        opening = (
            f"The deployed model {window.deployed_model} of {job.body['endpoint']} was asked for "
            f"{window.body['rows']:,} rows from {rfc3339(window.start)} to {rfc3339(window.end)}."
        )
        number, now = self._rooms.ids.number(), self._rooms.clock.now()
        words.mail(connection, job, number, to, _found_in(job, window), opening, told, now)


def _found_in(job: Resource, window: StoredWindow | None) -> str:
    assert window is not None
    count = words.anomalies(window.body)
    return f"{job.body['displayName']}: {count} anomalies in the window to {rfc3339(window.end)}"


def _sample(job: Resource) -> dict[str, Any]:
    """The job's sample instance, whose keys name the values of an instance that is a list; else empty."""
    sample = job.body.get("samplePredictInstance")
    return sample if isinstance(sample, dict) else {}


def _exact(seconds: float) -> float:
    """As precise as a Timestamp, which is what times are compared with."""
    return round(seconds, 6)
