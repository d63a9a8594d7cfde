"""The work of an AutoML forecasting training: series in, a registered model's files and its evaluation out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from portico.jobs.worker import Context
from portico.ml.errors import DataError
from portico.ml.forecast.spec import QUANTILE_LOSS, ForecastSpec
from portico.ml.forecast.train import Tested, TrainedForecast, train
from portico.ml.measure import baseline
from portico.ml.measure.evaluate_forecast import evaluate_forecast, not_computed_of
from portico.services.aiplatform.batch.answers import Forecasts
from portico.services.aiplatform.reruns import pins
from portico.services.aiplatform.training import evaluated_items, forecast_inputs, reading
from portico.services.registry.trained import save_artifact

_SCHEMAS = "gs://google-cloud-aiplatform/schema/"
_FRAMES = {
    "level": "the level of its recent past",
    "season": "what it was a season before",
    "drift": "what it was a season before, with its change since",
}
_FORMATS = ["jsonl", "csv", "parquet", "bigquery"]


def run(context: Context) -> dict[str, Any]:
    """Job: trains as the pipeline says; returns what `training_pipelines` registers."""

    from portico.services.aiplatform.training.training_pipelines import PIPELINES

    payload = context.job.payload
    again = payload.get("rerun") or {}
    first: dict[str, Any] = again.get("record") or {}
    with context.database.read() as connection:
        pipeline = PIPELINES.require(connection, context.job.resource)
    spec = forecast_inputs.spec_of(pipeline.body, first.get("threads") or context.cores)
    asked = forecast_inputs.inputs_of(pipeline.body)
    items = evaluated_items.place(context, asked, pipeline.body, pipeline.name.split("/")[1])
    pinned = reading.pinned_data(context)

    def learn(table: pa.Table) -> TrainedForecast:
        plan = first.get("plan")
        return train(table, spec, plan=plan, progress=context.progress, should_stop=context.should_stop)

    read, trained = reading.learned(context, pinned, learn)
    context.say(f"learned in {trained.wall_seconds:.1f} s, {trained.seconds:.1f} node seconds")
    for note in trained.notes:
        context.say(note)
    save_artifact(context, trained.model, payload["artifact"])
    exported = {}
    if items is not None:
        exported["evaluatedDataItemsBigqueryUri"] = _export(context, items, read.table, spec, trained)
    method = forecast_inputs.DEFINITIONS[pipeline.body["trainingTaskDefinition"]]
    told = _told(spec, trained, method)
    record = reading.record_of(context, pinned, spec.threads, trained.versions, trained.plan)
    return {
        "record": record,
        **pins.outcome(again, record, context.say),
        "private": {"format": "forecast"},
        "model": _model_body(spec, trained, told),
        "evaluation": _evaluation(spec, trained),
        "slices": [],
        "metadata": {
            "trainCostMilliNodeHours": str(max(1, round(trained.seconds / 3.6))),
            "nodeSeconds": round(trained.seconds, 3),
            "wallSeconds": round(trained.wall_seconds, 3),
            "iterations": trained.iterations,
            **told,
            "rows": trained.rows,
            "windows": trained.windows,
            "invalidSplitValues": trained.split.invalid,
            "notes": [*read.notes, *trained.notes],
            "data": [{"uri": s.uri, "generation": str(s.generation)} for s in pinned],
            "seed": spec.seed,
            "versions": trained.versions,
            "candidates": trained.candidates,
            "leaderboard": trained.leaderboard,
            **exported,
            **({"droppedLearners": trained.dropped_learners} if trained.dropped_learners else {}),
        },
    }


def _told(spec: ForecastSpec, trained: TrainedForecast, method: str) -> dict[str, Any]:
    """What was trained, in words, and whether the budget sufficed."""
    point = trained.model.point
    parts = []
    if frames := dict.fromkeys(_FRAMES[member.frame] for member in point if member.model):
        parts.append(f"trees of all series, for the difference of a series from {'; and from '.join(frames)}")
    parts += [f"{_FRAMES[member.frame]}, as it is" for member in point if not member.model]
    learned = f"{'The mean of these: ' if len(parts) > 1 else 'Of each series: '}{'; '.join(parts)}."
    if not spec.context:
        learned = "Trees of all series, which do not look at a series' past."
    if spec.sum_weights:
        learned += " It was chosen by the errors of single forecasts and of their sums (hierarchyConfig)."
    if method:
        learned += f" {method} is a neural network that Portico has not: this model was trained in its place."
    return {
        "trained": learned,
        **({"trainedInPlaceOf": method} if method else {}),
        "cutShort": bool(trained.cut_short),
        **({"cutShortReason": trained.cut_short} if trained.cut_short else {}),
    }


def _model_body(spec: ForecastSpec, trained: TrainedForecast, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadataSchemaUri": f"{_SCHEMAS}model/metadata/automl_time_series_forecasting_1.0.0.yaml",
        "metadata": {
            "predictionType": "forecasting",
            "targetColumn": spec.target,
            "timeColumn": spec.time,
            "timeSeriesIdentifierColumn": spec.series,
            "forecastHorizon": spec.horizon,
            "contextWindow": spec.context,
            "dataGranularity": {"unit": spec.unit, "quantity": spec.count},
            "objective": spec.objective,
            "quantiles": trained.model.quantiles,
            "columns": {name: role for role, names in spec.covariates.items() for name in names},
            "featureImportance": trained.model.importance,
            **told,
            **({"notes": trained.notes} if trained.notes else {}),
        },
        "predictSchemata": {
            "instanceSchemaUri": f"{_SCHEMAS}predict/instance/time_series_forecasting_1.0.0.yaml",
            "predictionSchemaUri": f"{_SCHEMAS}predict/prediction/time_series_forecasting_1.0.0.yaml",
        },
        "supportedExportFormats": [{"id": "portico-native", "exportableContents": ["ARTIFACT"]}],
        "supportedDeploymentResourcesTypes": [],
        "supportedInputStorageFormats": _FORMATS,
        "supportedOutputStorageFormats": _FORMATS,
        "modelSourceInfo": {"sourceType": "AUTOML"},
    }


def _evaluation(spec: ForecastSpec, trained: TrainedForecast) -> dict[str, Any]:
    """The evaluation on the test windows, as Google's schema has it; without metrics where there are none."""
    tested = trained.tested
    found = tested.predicted
    windows, rows = len(tested.rows), len(np.unique(tested.rows))
    made: dict[str, Any] = {
        "displayName": f"{spec.target}: {rows:,} test rows",
        "metricsSchemaUri": f"{_SCHEMAS}modelevaluation/forecasting_metrics_1.0.0.yaml",
        "modelExplanation": {"meanAttributions": [{"featureAttributions": trained.model.importance}]},
        "metadata": {"testRows": rows, "testWindows": windows},
    }
    keep = ~found.bad & (tested.weights > 0)
    if found.messages:
        made["metadata"]["unreadableTestRows"] = len(found.messages)
    if not keep.any():
        made["metadata"]["note"] = (
            f"None of the test rows can be read; the first: {found.messages[min(found.messages)]}."
            if found.messages
            else "There were no test rows to measure on."
        )
        return made
    order = np.flatnonzero(keep)[np.argsort(tested.times[keep], kind="stable")]
    true, values = tested.true[order], found.values[order]
    weights = tested.weights[order] if spec.weight_column else None
    quantiles = found.quantiles[order]
    made["metrics"] = evaluate_forecast(true, values, weights, trained.model.quantiles, quantiles)
    if sums := tested.hierarchy:
        made["metadata"]["sums"] = {
            name: evaluate_forecast(sums.added(name, true, order), sums.added(name, values, order))
            for name in sums.sums
        }
    absent = not_computed_of(made["metrics"], true, weights)
    try:
        verdict = _verdict(spec, tested, order, true, values, weights)
        made["metadata"]["baseline"] = verdict.to_json()
    except DataError as error:
        absent["baseline"] = error.message
    if absent:
        made["metadata"]["notComputed"] = absent
    return made


def _verdict(
    spec: ForecastSpec, tested: Tested, order: Any, true: Any, values: Any, weights: Any
) -> baseline.Verdict:
    """The model beside the seasonal naive forecast of the same windows, which are drawn in blocks of whole steps."""
    objective = spec.objective
    if objective in (QUANTILE_LOSS, "minimize-wape-mae"):
        objective = "minimize-mae"
    a_step = len(order) / len(np.unique(tested.times[order]))
    block = int(max(1, min(max(a_step, len(order) ** (1 / 3)), len(order) / 20)))
    naive = {tested.naive_name: tested.naive[order]}
    return baseline.compare(true, values, naive, objective, block_length=block, weights=weights)


def _export(
    context: Context, name: Any, table: pa.Table, spec: ForecastSpec, trained: TrainedForecast
) -> str:
    """The test windows as rows, each with the time from which it was forecast."""
    tested = trained.tested
    good = np.flatnonzero(~tested.predicted.bad)
    output = Forecasts(
        spec.target, tested.predicted.values, trained.model.quantiles, tested.predicted.quantiles
    )
    origins = [datetime.fromtimestamp(second, UTC) for second in tested.origins[good].tolist()]
    made = {
        **output.cells(good),
        f"predicted_on_{spec.time}": pa.array(origins, pa.timestamp("us", "UTC")),
    }
    return evaluated_items.write(context, name, table.take(pa.array(tested.rows[good])), made)
