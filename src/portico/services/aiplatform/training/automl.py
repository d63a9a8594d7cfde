"""The work of an AutoML tabular training: data in, a registered model's files and its evaluation out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from portico.jobs.worker import Context
from portico.ml.errors import DataError
from portico.ml.learn.plan import Plan
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.targets import read_target
from portico.ml.learn.train import TrainedModel, train
from portico.ml.measure import baseline, baseline_answers, performance
from portico.ml.measure.evaluate import evaluate_classification, evaluate_regression, not_computed
from portico.ml.measure.evaluate_slices import evaluate_slices
from portico.services.aiplatform.reruns import pins
from portico.services.aiplatform.training import evaluated_items, reading
from portico.services.registry import training_inputs
from portico.services.registry.trained import model_body, save_artifact

_SCHEMAS = "gs://google-cloud-aiplatform/schema/"
_MAX_SLICE_COLUMNS = 10


def run(context: Context) -> dict[str, Any]:
    """Job: trains as the pipeline says; returns what `training_pipelines` registers."""

    from portico.services.aiplatform.training.training_pipelines import PIPELINES

    payload = context.job.payload
    again = payload.get("rerun") or {}
    first: dict[str, Any] = again.get("record") or {}
    with context.database.read() as connection:
        pipeline = PIPELINES.require(connection, context.job.resource)
    spec = training_inputs.spec_of(pipeline.body, first.get("threads") or context.cores)
    inputs = training_inputs.inputs_of(pipeline.body)
    items = evaluated_items.place(context, inputs, pipeline.body, pipeline.name.split("/")[1])
    pinned = reading.pinned_data(context)
    plan = Plan.from_json(first["plan"]) if first else None

    def learn(table: pa.Table) -> TrainedModel:
        return train(table, spec, plan=plan, progress=context.progress, should_stop=context.should_stop)

    read, trained = reading.learned(context, pinned, learn)
    table = read.table
    context.say(
        f"learned from {len(trained.model.features):,} of them in {trained.wall_seconds:.1f} s, "
        f"{trained.seconds:.1f} node seconds"
    )
    save_artifact(context, trained, payload["artifact"])
    evaluation, slices = _evaluate(table, spec, trained)
    exported = {}
    if items is not None:
        exported["evaluatedDataItemsBigqueryUri"] = evaluated_items.export(
            context, items, table, trained, spec.target
        )
    versions = trained.model.manifest.versions
    record = reading.record_of(context, pinned, spec.threads, versions, trained.plan.to_json())
    return {
        "record": record,
        **pins.outcome(again, record, context.say),
        "model": model_body(trained),
        "evaluation": evaluation,
        "slices": slices,
        "metadata": {
            "trainCostMilliNodeHours": str(max(1, round(trained.seconds / 3.6))),
            "nodeSeconds": round(trained.seconds, 3),
            "wallSeconds": round(trained.wall_seconds, 3),
            "iterations": trained.iterations,
            "cutShort": bool(trained.cut_short),
            **({"cutShortReason": trained.cut_short} if trained.cut_short else {}),
            "rows": {
                "training": len(trained.split.training),
                "validation": len(trained.split.validation),
                "test": len(trained.split.test),
                "withoutTarget": trained.dropped_rows,
                "withoutSplit": trained.split.ignored,
            },
            "invalidSplitValues": trained.split.invalid,
            "notes": read.notes,
            "data": [{"uri": s.uri, "generation": str(s.generation)} for s in pinned],
            "seed": trained.model.manifest.seed,
            "versions": versions,
            "leaderboard": trained.leaderboard,
            **exported,
            **({"droppedLearners": trained.dropped_learners} if trained.dropped_learners else {}),
        },
    }


def _evaluate(
    table: pa.Table, spec: TrainSpec, trained: TrainedModel
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The evaluation on the test rows and its slices, as Google's schemas have them; none without test rows."""
    manifest = trained.model.manifest
    kind = manifest.prediction_type
    explained = {"meanAttributions": [{"featureAttributions": manifest.feature_importance}]}
    evaluation: dict[str, Any] = {
        "displayName": f"{spec.target}: {len(trained.split.test):,} test rows",
        "metricsSchemaUri": f"{_SCHEMAS}modelevaluation/{kind}_metrics_1.0.0.yaml",
        "modelExplanation": explained,
        "metadata": {"testRows": len(trained.split.test)},
    }
    keep = ~trained.test_predictions.bad
    unreadable = trained.test_predictions.messages
    if unreadable:
        evaluation["metadata"]["unreadableTestRows"] = len(unreadable)
    if not keep.any():
        note = "There were no test rows to measure on."
        if unreadable:
            note = f"None of the test rows can be read; the first: {unreadable[min(unreadable)]}."
        evaluation["metadata"]["note"] = note
        return evaluation, []
    truth: Any = trained.test_true[keep]
    weights = trained.test_weights[keep]
    given = weights if spec.weight_column else None
    categorical = [name for name, of in manifest.kinds.items() if of == "categorical"][:_MAX_SLICE_COLUMNS]
    rows = table.take(trained.split.test[keep])
    features = {name: rows[name].to_pylist() for name in categorical}
    output: Any
    if kind == "classification":
        assert trained.test_predictions.scores is not None
        output = trained.test_predictions.scores[keep]
        truth = truth.astype(np.int64)
        evaluation["metrics"] = evaluate_classification(truth, output, manifest.labels, given)
        slices = evaluate_slices(truth, output, labels=manifest.labels, features=features, weights=given)
        evaluation["sliceDimensions"] = ["annotationSpec"]
    else:
        assert trained.test_predictions.values is not None
        output = trained.test_predictions.values[keep]
        evaluation["metrics"] = evaluate_regression(truth, output, given)
        slices = evaluate_slices(truth, output, features=features, weights=given)
    absent = not_computed(evaluation["metrics"], truth, manifest.labels, given)
    unseen = _unseen(truth, manifest.labels)
    if unseen:
        evaluation["metadata"]["classesWithoutTestRows"] = unseen
    if given is None:
        evaluation["metadata"]["intervals"] = _intervals(trained, truth, output, keep)
    try:
        verdict = _baseline(table, spec, trained, truth, output, given, keep)
        evaluation["metadata"]["baseline"] = verdict.to_json()
    except DataError as error:
        absent["baseline"] = error.message
    if absent:
        evaluation["metadata"]["notComputed"] = absent
    return evaluation, slices


def _unseen(truth: Any, labels: list[str]) -> list[str]:
    present = set(truth.tolist()) if labels else set()
    return [label for place, label in enumerate(labels) if place not in present]


def _intervals(trained: TrainedModel, truth: Any, output: Any, keep: Any) -> dict[str, list[float]]:
    """The metrics' 95% intervals; rows that follow each other in time are drawn in blocks."""
    if trained.split.times is None:
        return performance.intervals(truth.astype(float), output)
    times = trained.split.times[trained.split.test][keep]
    order = np.argsort(times, kind="stable")
    return performance.intervals(truth[order].astype(float), output[order], times[order])


def _baseline(
    table: pa.Table, spec: TrainSpec, trained: TrainedModel, truth: Any, output: Any, weights: Any, keep: Any
) -> baseline.Verdict:
    """The model beside the trivial answers on the same rows."""
    manifest, split = trained.model.manifest, trained.split
    past = np.concatenate([split.training, split.validation])
    target = read_target(table, spec)
    before = target.cells[past]
    times = test_times = None
    block = 1
    order = np.arange(len(truth))
    if split.times is not None:
        times, test_times = split.times[past], split.times[split.test][keep]
        order = np.argsort(test_times, kind="stable")
        block = baseline.block_length_of(test_times)
    answers: dict[str, Any]
    if manifest.prediction_type == "classification":
        answers = baseline_answers.classification_baselines(
            before.astype(np.int64), truth, len(manifest.labels), train_times=times, test_times=test_times
        )
    else:
        answers = baseline_answers.regression_baselines(
            before, truth, objective=manifest.objective, train_times=times, test_times=test_times
        )
    return baseline.compare(
        truth[order],
        output[order],
        {name: answer[order] for name, answer in answers.items()},
        manifest.objective,
        block_length=block,
        weights=None if weights is None else weights[order],
    )
