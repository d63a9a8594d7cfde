"""Metrics: logged one by one and in batches, and their histories. What goes by steps is a time series of the
experiment's TensorBoard too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.mlflow import logged_models, run_rows, runs
from portico.services.mlflow.experiments import milliseconds
from portico.services.mlflow.run_rows import RunPrivate, asked_id, number
from portico.services.mlflow.search import offset, token
from portico.services.registry import metadata
from portico.services.registry.metadata import Measured
from portico.store import run_metrics
from portico.store.resources import Resource
from portico.store.run_metrics import Logged

_MOST = {"metrics": 1000, "params": 100, "tags": 100}  # of a batch
_MOST_SHOWN = 25_000  # values of a page
_MOST_STEPS = 2_500  # of an interval
_MOST_RUNS = 100


@implements("mlflow", "runs.logMetric")
def log_metric(call: Call) -> dict[str, Any]:
    return _log(call, [call.body], {}, {})


@implements("mlflow", "runs.logBatch")
def log_batch(call: Call) -> dict[str, Any]:
    """All of it, or, where anything is wrong, nothing."""
    body = call.body
    for key, most in _MOST.items():
        if len(body.get(key) or []) > most:
            raise InvalidArgument(f"{key} has {len(body[key]):,}; a batch has at most {most:,}.", field=key)
    return _log(
        call,
        body.get("metrics") or [],
        runs.checked_params(body.get("params")),
        runs.checked_tags(body.get("tags")),
    )


def _log(
    call: Call, metrics: Sequence[Mapping[str, Any]], params: Mapping[str, str], tags: Mapping[str, str]
) -> dict[str, Any]:
    now = call.rooms.clock.now()
    logged = [_parsed(one, milliseconds(now)) for one in metrics]
    with call.rooms.database.write() as connection:
        run = run_rows.require(connection, call, asked_id(call.body), active=True)
        if params:
            runs.put_params(run, params)
        kept = runs.adopted(run)
        runs.put_tags(kept, tags)
        _add(connection, run, logged, now, call)
        logged_models.note_metrics(connection, call, run, zip(metrics, logged, strict=True))
        run_rows.write(connection, run, call.rooms)
    return {}


def _parsed(metric: Mapping[str, Any], now: int) -> Logged:
    key = runs.check_key(str(metric.get("key", "")))
    if "value" not in metric:
        raise InvalidArgument(f"The metric {key!r} has no value.", field="value")
    return Logged(
        key, float(metric["value"]), int(metric.get("timestamp") or now), int(metric.get("step") or 0)
    )


def _add(connection: Connection, run: Resource, logged: Sequence[Logged], now: float, call: Call) -> None:
    if not logged:
        return
    kept = RunPrivate.of(run)
    kept.number = kept.number or int(call.rooms.ids.number())
    run_metrics.add(connection, kept.number, kept.count, logged)
    kept.count += len(logged)
    run_rows.newest(kept, logged)
    series = _series(connection, kept, logged)
    if series:
        metadata.note_series(connection, run, series, now)


def _series(connection: Connection, kept: RunPrivate, logged: Iterable[Logged]) -> dict[str, list[Measured]]:
    """The points of those metrics that go by steps; of one that begins to, all that it has."""
    stepped = {one.key for one in logged if one.step} - set(kept.series)
    points: dict[str, list[Measured]] = {
        key: [_measured(one) for one in run_metrics.history(connection, kept.number, key)]
        for key in sorted(stepped)
    }
    for one in logged:
        if one.key in kept.series:
            points.setdefault(one.key, []).append(_measured(one))
    kept.series += sorted(stepped)
    return points


def _measured(one: Logged) -> Measured:
    return Measured(one.step, one.time, one.value)


def _forget(connection: Connection, context: Resource) -> None:
    """A run that Vertex's client deletes takes its values along."""
    if run_rows.is_run(context) and (of := RunPrivate.of(context).number):
        run_metrics.forget(connection, of)


metadata.watch_deleted(_forget)


# --- histories ---


@implements("mlflow", "metrics.getMetricHistory")
def get_history(call: Call) -> dict[str, Any]:
    asked = call.params
    key = runs.check_key(str(asked.get("metric_key", "")))
    start, limit = offset(str(asked.get("page_token") or "")), asked.get("max_results")
    if limit is not None and not 0 < limit <= _MOST_SHOWN:
        raise InvalidArgument(f"max_results goes from 1 to {_MOST_SHOWN:,}.", field="max_results")
    with call.rooms.database.read() as connection:
        run = run_rows.require(connection, call, asked_id(asked))
        found = _history(connection, run, key, None if limit is None else limit + 1, start)
    more = {}
    if limit is not None and len(found) > limit:
        found, more = found[:limit], {"next_page_token": token(start + limit)}
    return {"metrics": [_shown(one) for one in found], **more}


def _history(connection: Connection, run: Resource, key: str, limit: int | None, start: int) -> list[Logged]:
    kept = RunPrivate.of(run)
    found = run_metrics.history(connection, kept.number, key, limit=limit, offset=start)
    if not found and not start and key not in kept.metrics and key in (held := run_rows.metrics_of(run)):
        value, time, step = held[key]  # Vertex's client logged it
        return [Logged(key, float(value), time, step)]
    return found


def _shown(one: Logged) -> dict[str, Any]:
    return {"key": one.key, "value": number(one.value), "timestamp": one.time, "step": one.step}


@implements("mlflow", "metrics.getMetricHistoryBulkInterval")
def get_history_interval(call: Call) -> dict[str, Any]:
    """A metric of several runs, at so many steps of an interval, evenly spread, with each run's last."""
    asked = call.params
    key = runs.check_key(str(asked.get("metric_key", "")))
    most = int(asked.get("max_results") or _MOST_STEPS)
    given = list(asked.get("run_ids") or [])
    if not 0 < most <= _MOST_STEPS or not 0 < len(given) <= _MOST_RUNS:
        raise InvalidArgument(
            f"max_results goes from 1 to {_MOST_STEPS:,}, and there are 1 to {_MOST_RUNS} run_ids."
        )
    if ("start_step" in asked) is not ("end_step" in asked):
        raise InvalidArgument("Give start_step and end_step, or neither.", field="start_step")
    start, end = int(asked.get("start_step", -(2**63))), int(asked.get("end_step", 2**63 - 1))
    if start > end:
        raise InvalidArgument(f"end_step is {end}, before start_step {start}.", field="end_step")
    with call.rooms.database.read() as connection:
        found = runs.runs_of(connection, call, given)
        numbers = {run_rows.id_of(run): RunPrivate.of(run).number for run in found}
        steps = run_metrics.steps(connection, list(numbers.values()), key, start, end)
        spread = steps if len(steps) <= most else [steps[i * len(steps) // most] for i in range(most)]
        last = run_metrics.greatest_step(connection, list(numbers.values()), key)
        metrics = [
            {**_shown(one), "run_id": own}
            for own, of in sorted(numbers.items())
            for one in run_metrics.at_steps(
                connection,
                of,
                key,
                sorted({*spread, *([last[of]] if start <= last.get(of, end + 1) <= end else [])}),
            )
        ]
    return {"metrics": metrics}
