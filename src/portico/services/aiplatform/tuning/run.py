"""The work of a tuning job: its turns, which start trials, and the trials."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

from portico.clock import parse_rfc3339
from portico.errors import Cancelled, FailedPrecondition
from portico.jobs.engines import machine
from portico.jobs.kinds import Wait
from portico.jobs.worker import Context
from portico.sandbox import isolation
from portico.services.aiplatform.custom import contract, spec
from portico.services.aiplatform.custom.custom_jobs import CUSTOM_JOBS
from portico.services.aiplatform.custom.kept import fork
from portico.services.aiplatform.custom.run import run_spec
from portico.services.aiplatform.tuning import trials
from portico.services.aiplatform.tuning.hyperparameter_tuning_jobs import TUNING_JOBS, TuningPrivate
from portico.services.aiplatform.tuning.hypertune import MetricFile
from portico.services.aiplatform.vizier import ending, measurements, stopping, suggesting
from portico.services.call import rooms_of
from portico.services.standard.jobs import JobPrivate
from portico.services.standard.names import location_of
from portico.store import resources
from portico.store.jobs import Resources
from portico.store.resources import Resource

_LEAST = 1 << 30  # bytes of memory for a trial
_LOOK, _SELDOM = 0.5, 10.0  # seconds between two looks at what a trial has measured
_REST = 20  # times as long as a look took: all trials' measurements are written anew with each
_KEPT, _LEAST_KEPT = 20_000, 50  # measurements that a tuning job shows of all its trials; of each of many


def run_tuning(context: Context) -> Wait | dict[str, Any]:
    """Job: a turn, which starts as many trials as there may be beside those that run, and waits for the next end.

    Raises:
        FailedPrecondition: too many trials failed.
    """
    with context.database.read() as connection:
        tuning = TUNING_JOBS.require(connection, context.job.resource)
    body = tuning.body
    known: list[dict[str, Any]] = list(body.get("trials") or [])
    failed = [one for one in known if one["state"] == "INFEASIBLE"]
    most = body.get("maxFailedTrialCount") or body["maxTrialCount"] // 2 + 1
    if len(failed) >= most:
        raise FailedPrecondition(
            f"{len(failed)} trials failed; {most} end the job. Trial {failed[-1]['id']}: "
            f"{failed[-1]['infeasibleReason']}"
        )
    running = sum(one["state"] not in trials.ENDED for one in known)
    new: list[dict[str, Any]] = []
    for _ in range(min(body["parallelTrialCount"] - running, body["maxTrialCount"] - len(known))):
        number = len(known) + 1
        if ending.is_over(body["studySpec"], known, tuning.create_time, context.clock.now()):
            break
        parameters = suggesting.suggest(tuning.name, body["studySpec"], known, number)
        if parameters is None:
            break
        new.append({"id": str(number), "state": "REQUESTED", "parameters": parameters})
        known.append(new[-1])
    if not running and not new:
        context.say(f"{len(known) - len(failed)} trials succeeded, {len(failed)} failed")
        return {}
    if new:
        _start(context, new)
    return Wait(beside=running + len(new))


def _start(context: Context, new: list[dict[str, Any]]) -> None:
    """Makes the trials, their custom jobs and what runs these, at once: a crash leaves all or none."""
    rooms, now = rooms_of(context), context.clock.now()
    parent = location_of(context.job.resource)
    with context.database.write() as connection:
        tuning = TUNING_JOBS.require(connection, context.job.resource)
        for trial in new:
            asked = trials.job_spec(tuning.body, trial)
            name = f"{parent}/customJobs/{rooms.ids.number()}"
            payload = {
                "spec": asked, "job": name, "tuning": tuning.name, "trial": trial["id"],
                "workers": TuningPrivate.of(tuning).workers,
            }  # fmt: skip
            job = rooms.queue.add(
                connection, "hyperparameterTuningJobs.trials", name, payload,
                asks=_asks_of(context.home, asked, tuning.body["parallelTrialCount"]), parent=context.job.id,
            )  # fmt: skip
            body = {
                "displayName": f"{tuning.body['displayName'][:100]}-trial-{trial['id']}",
                "jobSpec": spec.shown(asked),
                "state": CUSTOM_JOBS.state("PENDING"),
            }
            resources.insert(
                connection, name=name, kind=CUSTOM_JOBS.kind, parent=parent, body=body, now=now,
                private=JobPrivate(job=job),
            )  # fmt: skip
            trial["customJob"] = name
            told = " ".join(f"{name}={value}" for name, value in trials.shown(trial))
            context.say(f"trial {trial['id']}: {told}")
        tuning.body["trials"] = [*(tuning.body.get("trials") or []), *new]
        resources.update(connection, tuning, now)
    rooms.queue.wake()


def _asks_of(home: Path, asked: dict[str, Any], parallel: int) -> Resources:
    """What a trial asks for: what its custom job does, but on this machine no more than leaves as much for those beside
    it."""
    whole, here = spec.asks_of(home, asked), machine.resources()
    if machine.elsewhere(home):
        return whole
    cores = max(1.0, min(whole.cores, here.cores // parallel))
    beside = max(1, min(parallel, int(here.cores / cores)))
    memory = min(whole.memory, max(_LEAST, here.memory // beside))
    return dataclasses.replace(whole, cores=cores, memory=memory)


def run_trial(context: Context) -> dict[str, Any]:
    """Job: the custom job of a trial. What its code measures is in the trial while it runs."""
    payload = context.job.payload
    measuring = _Measuring(context)
    if measuring.stopped:  # before a crash
        return {"exitCode": 0}
    inner = dataclasses.replace(context, should_stop=lambda: context.should_stop() or measuring.stopped)
    kept = None
    # The walls of bubblewrap hold one view of Cloud Storage for ever.
    if (
        payload.get("workers")
        and not machine.elsewhere(context.home)
        and isolation.isolation().name != "bubblewrap"
    ):
        kept = fork(inner, payload["workers"])
    asked = payload["spec"], payload["job"], {"CLOUD_ML_TRIAL_ID": payload["trial"]}
    try:
        try:
            done = run_spec(inner, *asked, kept, measuring.start)
            context.unspent = kept is not None
            return done
        except FailedPrecondition:
            if kept is None or not kept.lost:
                raise
            context.say("What kept its process is gone; the trial begins anew in one of its own.")
            return run_spec(inner, *asked, None, measuring.start)
    except Cancelled:
        if context.should_stop() or not measuring.stopped:
            raise
        context.say("The trial is stopped early: it would not be the best.")
        return {"exitCode": 0}
    finally:
        measuring.finish()
        if kept:
            kept.close()  # after which its folder is emptied


class _Measuring:
    """Writes what a trial's code reports into the trial, in a thread of its own; finds out whether it is to stop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        with context.database.read() as connection:
            tuning = self._tuning(connection)
        self._spec = tuning.body["studySpec"]
        trial = trials.find(tuning.body, context.job.payload["trial"])
        self.stopped = trial["state"] == "STOPPING"
        self._begun = parse_rfc3339(trial["startTime"])
        self._file: MetricFile | None = None

    def start(self, folder: Path) -> None:
        """From now on the trial's code runs in `folder`."""
        self._write([])  # of an attempt that a crash ended
        metrics = [metric["metricId"] for metric in self._spec["metrics"]]
        self._file = MetricFile(contract.metric_file(folder), metrics)
        if not self._thread.is_alive():
            self._thread.start()

    def finish(self) -> None:
        self._over.set()
        if self._file:
            self._thread.join()
            self._file.look(ended=True)
            self._write(self._file.measurements(self._begun))  # also what could not be written before

    def _run(self) -> None:
        pause = _LOOK
        while not self._over.wait(pause):
            began = time.monotonic()
            if self._file and self._file.look():
                known = self._write(self._file.measurements(self._begun))
                trial = trials.find({"trials": known}, self._context.job.payload["trial"])
                others = [one for one in known if one is not trial]
                if not self.stopped and stopping.should_stop(self._spec, trial, others):
                    self._write(trial["measurements"], state="STOPPING")
                    self.stopped = True
            pause = min(max(_LOOK, (time.monotonic() - began) * _REST), _SELDOM)

    def _write(self, found: list[dict[str, Any]], **more: str) -> list[dict[str, Any]]:
        """All trials of the tuning job, once this one has what was found."""
        every = measurements.ordered(found)
        with self._context.database.write() as connection:
            tuning = self._tuning(connection)
            trial = trials.find(tuning.body, self._context.job.payload["trial"])
            if trial["state"] not in trials.ENDED:
                most = max(_LEAST_KEPT, _KEPT // tuning.body["maxTrialCount"])
                trial |= {"measurements": measurements.thinned(every, self._spec, most), **more}
                resources.update(connection, tuning, self._context.clock.now())
        known: list[dict[str, Any]] = tuning.body["trials"]
        return known

    def _tuning(self, connection: Any) -> Resource:
        return TUNING_JOBS.require(connection, self._context.job.payload["tuning"])
