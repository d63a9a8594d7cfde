"""The runs of model deployment monitoring jobs: which window is due, its rows in the log, and who is told.

The job that does them stands as long as its resource (`services.standard.standing`): a turn counts all that are due.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339, rfc3339
from portico.errors import Cancelled, FailedPrecondition, Internal, PorticoError, rpc_status
from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform.monitoring import baseline as baselines
from portico.services.aiplatform.monitoring import model_deployment_monitoring_jobs as jobs
from portico.services.aiplatform.monitoring import words
from portico.services.aiplatform.monitoring.baseline import Baseline
from portico.services.aiplatform.monitoring.deployed_models import WatchedModels
from portico.services.aiplatform.monitoring.window import Counted, body_of
from portico.services.call import Rooms, rooms_of
from portico.services.standard.standing import State
from portico.store import domain_clock, resources, segments, windows
from portico.store.resources import Resource
from portico.store.segments import Segments
from portico.store.windows import StoredWindow

log = logging.getLogger(__name__)

_COLUMNS = ("deployed_model_id", "logging_time", "request_payload", "response_payload")
_ROWS = 50_000  # instances that are counted at once
_SHORTEST, _LONGEST = 5.0, 300.0  # seconds until what failed is tried again


class WindowsDue:
    """A `Standing`: whose training data were not read yet, or who has a window due."""

    kind = jobs.KIND

    def __init__(self) -> None:
        self._told: dict[str, bytes] = {}

    def due(self, connection: Connection, now: float, states: Mapping[str, State]) -> Iterable[str]:
        """What failed rests, unless it could succeed now: the job was changed, or the domain clock advanced."""
        simulated = domain_clock.simulated(connection)
        told: dict[str, bytes] = {}
        for job in jobs.monitored(connection):
            state = states.get(job.name, "ready")
            if state in ("waits", "turn") or not (_unread(job) or _is_due(job, now) or _strayed(job, now)):
                told[job.name] = self._told.get(job.name, b"")
                continue
            told[job.name] = _told(job, now, simulated)
            if state == "ready" or told[job.name] != self._told.get(job.name):
                yield job.name
        self._told = told


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
        self._baselines: dict[tuple[str, str], tuple[str, Baseline]] = {}
        self._failures: dict[str, int] = {}  # of jobs, one after the other
        self._check: Callable[[], None] = lambda: None

    def turn(self, name: str, until: float, check: Callable[[], None] = lambda: None) -> Wait | None:
        """None where the job is gone. `check` raises where the turn shall end."""
        with self._database.read() as connection:
            job = resources.get(connection, name)
        if job is None:
            self._failures.pop(name, None)
            return None
        self._check = check
        if _strayed(job, until):
            self._plan(name, until)
        errors = []
        if _unread(job):
            errors.append(self._attempt(job, lambda: self._prepare(job)))
        errors.append(self._attempt(job, lambda: self._run_until(name, until)))
        if not any(errors):
            self._failures.pop(name, None)
            return Wait(math.inf)
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        return Wait(self._rooms.clock.now() + min(_SHORTEST * 2 ** (failures - 1), _LONGEST))

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
        self._baselines.clear()  # a window that could not be stored may have begun one
        self._failed(job, failed)
        return failed

    def _plan(self, name: str, now: float) -> None:
        """The next run of a job that strayed is an interval from now."""
        with self._database.write() as connection:
            job = resources.get(connection, name)
            if job is not None and _strayed(job, now):
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
        for config in _unread(job):
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
        """Stores a baseline; `job`, which the caller updates, says which one is in force."""
        token = self._rooms.ids.token()
        jobs.JobPrivate.of(job).baselines[deployed_id] = token
        windows.put_baseline(connection, job.name, deployed_id, baseline.to_json())
        self._baselines[job.name, deployed_id] = token, baseline

    def _baseline(self, job: Resource, deployed_id: str) -> Baseline:
        """The baseline that is in force."""
        token = jobs.JobPrivate.of(job).baselines[deployed_id]
        held = self._baselines.get((job.name, deployed_id))
        if held is None or held[0] != token:
            with self._database.read() as connection:
                body = windows.baseline(connection, job.name, deployed_id)
            if body is None:
                raise FailedPrecondition(f"{job.name} has lost what it compares with; update its objectives.")
            held = token, Baseline.from_json(body)
            self._baselines[job.name, deployed_id] = held
        return held[1]

    # --- a run ---

    def _run_until(self, name: str, now: float) -> None:
        """Runs the job for each interval that ended up to `now`; intervals without predictions leave no window."""
        while (job := self._due(name, now)) is not None:
            interval, length = jobs.schedule_of(job.body)
            end = parse_rfc3339(job.body["nextScheduleTime"])
            with self._database.read() as connection:
                later = segments.listed(
                    connection, stream_of(job.body["endpoint"]), start=_exact(end - length)
                )
            # Nothing was predicted until then: go on with the interval before it.
            until = min([now, *(segment.first for segment in later)])
            end = _exact(end + max(math.floor((until - end) / interval), 0) * interval)
            unread = _unread(job)
            configs = [
                one for one in job.body["modelDeploymentMonitoringObjectiveConfigs"] if one not in unread
            ]
            made = [self._window(job, config, _exact(end - length), end) for config in configs]
            found = [_Found(job, window, baseline) for window, baseline, _ in made if window is not None]
            with self._database.write() as connection:
                current = resources.get(connection, name)
                if current is None or current.revision != job.revision:
                    self._baselines.clear()  # the first window may have made some
                    return  # it was changed meanwhile: the next look runs it as it is now
                for window, baseline, begun in made:
                    if window is not None:
                        windows.put(connection, window)
                        if begun:
                            self._keep(connection, current, window.deployed_model, baseline)
                current.body |= {"state": "JOB_STATE_RUNNING", "nextScheduleTime": rfc3339(end + interval)}
                if not unread:
                    current.body.pop("error", None)
                current.body["latestMonitoringPipelineMetadata"] = {"runTime": rfc3339(end), "status": {}}
                resources.update(connection, current, self._rooms.clock.now())
                for one in found:
                    one.mail(connection, self._rooms)
            for one in found:
                one.log()

    def _due(self, name: str, now: float) -> Resource | None:
        """The job as it is now, where a run of it is due."""
        with self._database.read() as connection:
            job = resources.get(connection, name)
        return job if job is not None and _is_due(job, now) else None

    def _window(
        self, job: Resource, config: dict[str, Any], start: float, end: float
    ) -> tuple[StoredWindow | None, Baseline, bool]:
        """The window [start, end) of one deployed model, scored (None when it had no predictions).

        And its baseline, and whether the window made a part of that.
        """
        from portico.ml.watch.sketches import to_json

        deployed_id, objective = config["deployedModelId"], config["objectiveConfig"]
        baseline = self._baseline(job, deployed_id)
        known = baseline.digest()
        explain = bool((objective.get("explanationConfig") or {}).get("enableFeatureAttributes"))
        counted = Counted(baseline, start, explain)
        for rows, answers in self._instances(job, deployed_id, start, end):
            names = self._order(job) or [feature.name for feature in baseline.features.bins]
            counted.add(rows, [_features(row, names) for row in rows], answers)
        if not counted.rows:
            return None, baseline, False
        reasons, why = None, ""
        try:
            model = self._models.load(job.body["endpoint"], deployed_id) if explain else None
            reasons = counted.attributions(model)
        except PorticoError as error:
            why = error.message
        digest = baseline.digest()
        before = self._before(job.name, deployed_id, end, digest)
        body = body_of(counted, reasons, objective, before)
        if why:
            body["incomparable"] = {"attributions": why}
        sketches = to_json(counted.sketches, baseline.features.bins)
        return StoredWindow(job.name, deployed_id, start, end, body, sketches), baseline, digest != known

    def _before(self, name: str, deployed_id: str, end: float, digest: str) -> dict[str, Any] | None:
        """The body of the window before the one that ends at `end`, where it was counted in the same bins."""
        with self._database.read() as connection:
            found = windows.listed(connection, name, deployed_id, end=end - 1e-6, limit=1)
        return found[0].body if found and found[0].body["bins"] == digest else None

    def _instances(
        self, job: Resource, deployed_id: str, start: float, end: float
    ) -> Iterator[tuple[list[Any], list[Any]]]:
        """What the deployed model was asked for in [start, end), and what it answered where that is known."""
        import pyarrow as pa
        import pyarrow.compute as pc

        first, last = (pa.scalar(round(at * 1e6), pa.timestamp("us", tz="UTC")) for at in (start, end))
        time = pc.field("logging_time")
        wanted = (pc.field("deployed_model_id") == deployed_id) & (time >= first) & (time < last)
        rows: list[Any] = []
        answers: list[Any] = []
        for table in self._segments.scan(stream_of(job.body["endpoint"]), start, end, _COLUMNS):
            chosen = table.filter(wanted)
            for texts, answered in zip(
                chosen["request_payload"].to_pylist(), chosen["response_payload"].to_pylist(), strict=True
            ):
                rows += map(orjson.loads, texts)
                if answered is not None and len(answered) == len(texts):
                    answers += map(_read, answered)
                if len(rows) >= _ROWS:
                    yield rows, answers
                    rows, answers = [], []
                    self._check()
        if rows:
            yield rows, answers

    def _order(self, job: Resource) -> list[str]:
        """The names of the values of an instance that is a list: the keys of the job's sample instance."""
        sample = job.body.get("samplePredictInstance")
        return list(sample) if isinstance(sample, dict) else []

    def _failed(self, job: Resource, error: PorticoError) -> None:
        log.warning("%s can't go on: %s", job.name, error.message)
        with self._database.write() as connection:
            current = resources.get(connection, job.name)
            if current is not None and current.body.get("error") != rpc_status(error):
                current.body["error"] = rpc_status(error)
                if not jobs.JobPrivate.of(current).baselines:  # else it watches what it can
                    current.body["state"] = "JOB_STATE_FAILED"
                resources.update(connection, current, self._rooms.clock.now())


def _unread(job: Resource) -> list[dict[str, Any]]:
    """The objective configs whose training data have not been read yet."""
    known = jobs.JobPrivate.of(job).baselines
    configs = job.body["modelDeploymentMonitoringObjectiveConfigs"]
    return [config for config in configs if config["deployedModelId"] not in known]


def _told(job: Resource, now: float, simulated: float | None) -> bytes:
    """What decides whether a job that failed could succeed now."""
    window = job.body["nextScheduleTime"] if _is_due(job, now) else ""
    configs = job.body["modelDeploymentMonitoringObjectiveConfigs"]
    return orjson.dumps([job.create_time, configs, job.body["endpoint"], simulated, window])


def _is_due(job: Resource, now: float) -> bool:
    if job.body["state"] == "JOB_STATE_PAUSED" or not jobs.JobPrivate.of(job).baselines:
        return False
    return parse_rfc3339(job.body["nextScheduleTime"]) <= now


def _strayed(job: Resource, now: float) -> bool:
    """Whether the next run lies further ahead than an interval: it was planned while the clock was ahead."""
    if job.body["state"] == "JOB_STATE_PAUSED" or not jobs.JobPrivate.of(job).baselines:
        return False
    return parse_rfc3339(job.body["nextScheduleTime"]) > now + jobs.schedule_of(job.body)[0] + _SHORTEST


def _exact(seconds: float) -> float:
    """As precise as a Timestamp, which is what times are compared with."""
    return round(seconds, 6)


def _features(instance: Any, names: list[str]) -> dict[str, Any]:
    """An instance as named features: an object's own names, a list's by position."""
    if isinstance(instance, dict):
        return instance
    cells = instance if isinstance(instance, list) else [instance]
    return {(names[i] if i < len(names) else f"feature_{i}"): cell for i, cell in enumerate(cells)}


def _read(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None  # a raw prediction, whose answer is text


class _Found:
    """The anomalies of a window, for the server's log and the job's mail addresses: which feature, how far, what moved
    most."""

    def __init__(self, job: Resource, window: StoredWindow, baseline: Baseline) -> None:
        self._job, self._window = job, window
        count = words.anomalies(window.body)
        self._told = words.lines(window.body, window.sketches, baseline) if count else []
        self._where = f"{job.body['displayName']}: {count} anomalies in the window to {rfc3339(window.end)}"

    def mail(self, connection: Connection, rooms: Rooms) -> None:
        """Notes the mails in the transaction that stores the window."""
        alerts = self._job.body.get("modelMonitoringAlertConfig") or {}
        to = (alerts.get("emailAlertConfig") or {}).get("userEmails") or []
        if not self._told:
            return
        window = self._window
        opening = (
            f"The deployed model {window.deployed_model} of {self._job.body['endpoint']} was asked for "
            f"{window.body['rows']:,} rows from {rfc3339(window.start)} to {rfc3339(window.end)}."
        )
        number, now = rooms.ids.number(), rooms.clock.now()
        words.mail(connection, self._job, number, to, self._where, opening, self._told, now)

    def log(self) -> None:
        for line in self._told:
            log.warning("%s: %s", self._where, line)
