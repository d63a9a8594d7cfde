"""How a challenger is made: trained again on what is known now, or the champion with one thing adjusted."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy.engine import Connection

from portico.errors import Cancelled, FailedPrecondition, InvalidArgument, NotFound
from portico.jobs.kinds import JobKind
from portico.jobs.kinds import register as register_kind
from portico.jobs.worker import Context
from portico.prediction.prediction_log import stream_of
from portico.services.portico.joining import COLUMNS, Joined, Outcome
from portico.services.portico.steward.evidence import moment_of, truth_of
from portico.services.registry import model_store, training_inputs
from portico.services.registry.datasets import DATASETS, data_of
from portico.services.registry.model_store import register_version
from portico.services.standard import sources
from portico.store import labels, resources
from portico.store.jobs import Job
from portico.store.segments import Segments
from portico.store.sizes import size_of

if TYPE_CHECKING:
    import pyarrow as pa

RETRAIN, ADJUST = "stewards.retrain", "stewards.adjust"
_LEARNED = 1_000_000  # labelled predictions that a retraining takes, the newest
_PROBES = 200  # single rows whose time is taken


def run_retrain(context: Context) -> dict[str, Any]:
    """Job: trains on the first model's data and every prediction that has a label and was made before the cut-off.

    The newest rows, from `cutoff` on and by the labels `withheld` or that came after `change`, are for the gates:
    nothing here sees them. A label teaches once, by the newest of its predictions.
    """
    from dataclasses import replace

    from portico.ml.errors import DataError, TrainingStopped
    from portico.ml.learn.split import SplitSpec
    from portico.ml.learn.train import train
    from portico.services.registry.trained import model_body, save_artifact

    asked = context.job.payload
    withheld = set(asked["withheld"])
    every = joined(context, asked["endpoint"], asked["cutoff"], asked.get("change")).labelled()
    newest = {row.label.name: row for row in every
              if row.label and row.judges and row.time < asked["cutoff"]
              and row.label.name not in withheld}  # fmt: skip
    spec = training_inputs.spec_of(asked["pipeline"], context.cores)
    if asked.get("objective"):
        spec = replace(spec, optimization_objective=asked["objective"])
    if asked["budget"]:
        spec = replace(spec, budget_seconds=asked["budget"] * 3.6)
    if asked["timeColumn"]:
        split = SplitSpec("timestamp", asked["timeColumn"], 0.9, 0.1, 0.0, spec.split.time_format)
    else:
        split = SplitSpec("fraction", "", 0.9, 0.1, 0.0)
    spec = replace(spec, split=split, target=asked["target"])
    regression = spec.prediction_type == "regression"
    known = [row for row in sorted(newest.values(), key=lambda row: row.place)
             if row.label and not (regression and math.isnan(truth_of(row.label.truth, ())))]  # fmt: skip
    try:
        table, pinned = _first_data(context, asked["dataset"])
        rows = _rows_of(known, asked, table.column_names, spec.weight_column)
        whole = _cut(_with_rows(table, rows), asked)
        context.progress(0.01, f"{whole.num_rows:,} rows read, {len(known):,} of them predicted before")
        trained = train(whole, spec, progress=context.progress, should_stop=context.should_stop)
    except DataError as error:
        raise InvalidArgument(f"{error.message}.", field=error.field) from None
    except TrainingStopped:
        raise Cancelled("The training was cancelled.") from None
    save_artifact(context, trained, asked["artifact"])
    model = model_body(trained)
    return {
        "model": model,
        "data": [{"uri": s.uri, "generation": str(s.generation)} for s in pinned],
        "facts": {
            "cutShort": model["metadata"].get("cutShortReason", ""),
            "trainedUntil": known[-1].time if known else None,
            "rows": whole.num_rows,
            "labelledPredictions": len(known),
            "milliNodeHours": max(1, round(trained.seconds / 3.6)),
            **_measured(context, asked["artifact"], known),
        },
    }


def run_adjust(context: Context) -> dict[str, Any]:
    """Job: a copy of the champion with what `adjustment` names changed.

    `factor`: every answer and its bounds are multiplied by it. `scale` and `shift`: scores are recalibrated (see
    `ml.recalibrate`). `threshold`: the score from which on it decides for the second class.
    """
    asked = context.job.payload
    with context.database.read() as connection:
        version = resources.get(connection, asked["champion"])
    if version is None:
        raise NotFound(f"The Model version {asked['champion']!r} was deleted meanwhile.")
    source = model_store.folder(context.home, model_store.VersionPrivate.of(version).artifact)
    target = model_store.folder(context.home, asked["artifact"])
    beside = target.with_name(target.name + ".part")
    for old in (beside, target):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(source, beside)
    (beside / "model.json").write_text(_adjusted(beside / "model.json", asked["adjustment"]))
    beside.rename(target)
    body = {key: value for key, value in version.body.items() if key in _OF_THE_MODEL}
    if "threshold" in asked["adjustment"]:
        body["metadata"] = {
            **(body.get("metadata") or {}), "decisionThreshold": asked["adjustment"]["threshold"],
        }  # fmt: skip
    facts = {**asked["adjustment"], "trainedUntil": asked["fittedUntil"], "milliNodeHours": 0}
    return {"model": body, "facts": {**facts, **_measured(context, asked["artifact"], [])}}


_OF_THE_MODEL = ("metadataSchemaUri", "metadata", "predictSchemata", "explanationSpec", "supportedExportFormats",
                 "supportedDeploymentResourcesTypes", "supportedInputStorageFormats", "supportedOutputStorageFormats",
                 "modelSourceInfo")  # fmt: skip


def _adjusted(path: Path, adjustment: dict[str, Any]) -> str:
    from portico.ml.learn.links import Link, recalibrated

    body = json.loads(path.read_text())
    if "factor" in adjustment:
        if body["link"]["kind"] != "mixture":
            raise FailedPrecondition("Only a regression can be rescaled.")
        body["link"]["weights"] = [weight * adjustment["factor"] for weight in body["link"]["weights"]]
        for part in ("edges", "lower", "upper"):
            body["bounds"][part] = [value * adjustment["factor"] for value in body["bounds"][part]]
    if "scale" in adjustment:
        link = recalibrated(Link(**body["link"]), adjustment["scale"], adjustment["shift"])
        body["link"] = asdict(link)
    if "threshold" in adjustment:
        body["threshold"] = adjustment["threshold"]
    return json.dumps(body, allow_nan=False)


def joined(context: Any, endpoint: str, until: float, change: int | None) -> Joined:
    """The predictions of an endpoint's log that may have been made before `until`, with their labels up to `change`."""
    segments = Segments(context.home, context.database, context.clock, context.ids)
    made = Joined(_LEARNED)
    with context.database.read() as connection:
        every, _ = labels.since(connection, endpoint, -1, change)
    made.add_labels(every)  # first: then each prediction meets its own when it comes, and is looked at once
    for table in segments.scan(stream_of(endpoint), end=until, columns=COLUMNS):
        made.add_predictions(table)
    return made


def _first_data(context: Context, name: str) -> tuple[pa.Table, list[sources.Source]]:
    """The first model's data as they are now, and which generations these are."""
    from portico.store.objects import generations as objects
    from portico.store.objects.files import remove

    holder = context.job.resource
    with context.database.read() as connection:
        dataset = DATASETS.require(connection, name)
    try:
        pinned = data_of(context, dataset, holder)
        return sources.read_table(context.home, pinned, "", "data.dataset").table, pinned
    finally:
        with context.database.write() as connection:
            dropped = objects.unpin(connection, holder)
        remove(context.home, dropped)


def _rows_of(
    known: list[Outcome], asked: dict[str, Any], columns: list[str], weight: str
) -> list[dict[str, Any]]:
    """The predictions as rows of the first data; one that came without a weight weighs 1.

    Those that `_cut` will leave out for their age, most of a long log, are left out here.
    """
    rows: list[dict[str, Any]] = []
    newest = -math.inf
    for row in reversed(known):
        instance = orjson.loads(row.request)
        assert row.label is not None
        if asked["timeColumn"] and asked["duration"] and (when := moment_of(instance, asked["timeColumn"])):
            if asked["before"] is None or when < asked["before"]:
                newest = max(newest, when)
            if when < newest - asked["duration"]:
                continue
        rows.append({**{name: instance.get(name) for name in columns}, asked["target"]: row.label.truth})
        if weight and rows[-1].get(weight) is None:
            rows[-1][weight] = 1.0
    return rows[::-1]


def _with_rows(table: pa.Table, rows: list[dict[str, Any]]) -> pa.Table:
    """`table` and below it `rows`, in its columns; numbers meet as numbers, anything else as text."""
    import pyarrow as pa

    from portico.ml.tables import concat, rows_to_batch

    if not rows:
        return table
    below = pa.Table.from_batches([rows_to_batch(rows)])
    numeric = [
        name
        for name in table.column_names
        if all(_is_number(t.schema.field(name).type) for t in (table, below))
    ]
    return concat([_as_numbers(table, numeric), _as_numbers(below, numeric)])


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as_numbers(table: pa.Table, names: list[str]) -> pa.Table:
    import pyarrow as pa

    for name in names:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.float64()))
    return table


def _cut(table: pa.Table, asked: dict[str, Any]) -> pa.Table:
    """The rows that may be learned from: by the time column before the gates' first, and of the sliding window."""
    import numpy as np

    from portico.ml.learn.split import SplitSpec, split_rows

    if not asked["timeColumn"]:
        return table
    times = split_rows(table, SplitSpec("timestamp", asked["timeColumn"], 1.0, 0.0, 0.0)).times
    assert times is not None
    before = asked["before"] if asked["before"] is not None else np.inf
    after = -np.inf
    if asked["duration"]:
        known = times[times < before]
        after = (known.max() if len(known) else -np.inf) - asked["duration"]
    return table.filter((times < before) & (times >= after))


def _measured(context: Context, artifact: str, known: list[Outcome]) -> dict[str, Any]:
    """How large its files are, and how long one row takes, p99 over single rows."""
    import numpy as np

    from portico.ml.learn.model import Model

    folder = model_store.folder(context.home, artifact)
    model = Model.load(folder)
    taken = []
    for number in range(_PROBES):
        instance = known[-1 - number % min(len(known), _PROBES)].instance if known else {}
        started = time.perf_counter()
        model.predict_instances([instance])
        taken.append(time.perf_counter() - started)
    return {"bytes": size_of(folder), "latencySeconds": float(np.quantile(taken, 0.99))}


def _follow(connection: Connection, job: Job, now: float) -> None:
    """Registers the challenger as a version of the champion's model; the default alias stays where it is."""
    if job.state != "SUCCEEDED" or resources.get(connection, job.resource) is None:
        return
    champion = resources.get(connection, job.payload["champion"])
    if champion is None:
        return
    kept = ("displayName", "description", "labels", "trainingPipeline")
    body = {
        **{key: champion.body[key] for key in kept if key in champion.body},
        **job.result["model"],
        "versionDescription": job.payload["description"],
    }
    made = model_store.VersionPrivate(artifact=job.payload["artifact"], format="portico")
    parent, _, model_id = champion.parent.rpartition("/models/")
    version = register_version(
        connection, {"parent": parent, "modelId": model_id, "new": False}, body, made, now, []
    )
    episode = resources.get(connection, job.resource)
    assert episode is not None
    episode.body["challenger"] = {"model": version.parent, "modelVersionId": version.body["versionId"]}
    resources.update(connection, episode, now)


register_kind(JobKind(RETRAIN, f"{__name__}:run_retrain", _follow, elsewhere=training_inputs.AUTOML))
register_kind(JobKind(ADJUST, f"{__name__}:run_adjust", _follow))
