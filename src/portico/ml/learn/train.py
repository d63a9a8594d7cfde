"""Trains a tabular model: splits, encodes, searches, refits, measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.learn import objectives
from portico.ml.learn.bounds import fit_bounds
from portico.ml.learn.budget import Budget
from portico.ml.learn.model import Manifest, Model, Predictions
from portico.ml.learn.plan import Plan, budget_of, replay
from portico.ml.learn.search import folds_of, search
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.split import Split, split_rows
from portico.ml.learn.supervised import statistics
from portico.ml.learn.targets import Target, conditioning, read_target
from portico.ml.learn.task import Rows, Task
from portico.ml.learn.transform import fit_transform, refuse_infinite
from portico.ml.pace import Pace, Progress

_BACKGROUND_ROWS = 32


@dataclass(slots=True)
class TrainedModel:
    """A model and what its training showed.

    `split` holds row positions in the given table; `test_true` are positions in `model.labels` or values, aligned
    with `test_predictions`, `test_weights` and `split.test`. `validation_output` is what members that did not learn
    from them say of the validation rows (of all rows in folds, where those validate). `leaderboard` lists every member
    that was tried: name, parameters, loss on the validation rows, seconds, weight in the final model. `dropped_rows`
    had no target or a weight of 0. `seconds` are node seconds; `iterations` counts rounds of boosting over all members.
    `cut_short` says in words that the budget ended before the model stopped improving; "" where it did not.
    `dropped_learners` names those that could not learn from these rows and says why. `plan` trains it again.
    """

    model: Model
    split: Split
    test_true: Floats
    test_weights: Floats
    test_predictions: Predictions
    validation_loss: float
    validation_output: Floats
    leaderboard: list[dict[str, Any]]
    dropped_rows: int
    seconds: float
    wall_seconds: float
    iterations: int
    cut_short: str
    dropped_learners: dict[str, str]
    plan: Plan

    @property
    def feature_importance(self) -> dict[str, float]:
        return self.model.manifest.feature_importance

    def save(self, directory: Path) -> None:
        self.model.save(directory)


def train(
    table: pa.Table,
    spec: TrainSpec,
    *,
    plan: Plan | None = None,
    progress: Progress = lambda fraction, message: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedModel:
    """Trains on `table` as `spec` says: by a search, or as the `plan` of one that has been. That gives the same model
    where table, spec (its threads, too), libraries and machine are the same.

    `progress(fraction, message)` is called as it goes; `should_stop()` is asked often.

    Raises:
        DataError: the data or the parameters cannot be used; `field` names the column or parameter.
        TrainingStopped: `should_stop()` was true.
    """
    import_module("lightgbm")  # takes a second or more, which is no time of learning
    spec.check()
    budget = (
        budget_of(plan, spec.threads)
        if plan
        else Budget(spec.budget_seconds, spec.threads, spec.wall_seconds)
    )
    target = read_target(table, spec)
    split = _with_validation(split_rows(table, spec.split, target.rows), spec)
    objective = objectives.objective_of(spec, len(target.labels))
    progress(
        0.02,
        f"{len(split.training):,} rows train, {len(split.validation):,} choose, {len(split.test):,} test",
    )
    task = _task(spec, target, objective, budget, should_stop)

    shift, scale = 0.0, 1.0
    if not target.labels and objective != "minimize-rmsle":
        shift, scale = conditioning(target.cells[np.concatenate([split.training, split.validation])])
    cells = (target.cells - shift) / scale
    weights = target.weights / target.weights[split.training].mean()
    goals = statistics(cells[split.training], len(target.labels))
    columns = spec.columns_of(table.column_names)
    fit_rows = table.take(split.training)
    transform, matrix, keep, kinds = fit_transform(
        fit_rows,
        columns,
        goals,
        spec.seed,
        spec.split.kind == "timestamp",
        Pace(progress, "reading column", len(columns), 0.02, 0.1),
    )
    refuse_infinite(table, transform, columns)
    task.cardinalities = transform.cardinalities
    training = Rows(matrix, cells[split.training], weights[split.training]).take(keep)
    chooses = transform.transform(table.take(split.validation)).matrix
    validation = Rows(chooses, cells[split.validation], weights[split.validation])
    task.check_stop()
    progress(0.1, f"{len(transform.features)} columns read")

    afterwards = 0.03 * spec.budget_seconds  # for importance and the test rows
    if plan:
        rows = training.joined(validation)
        found = replay(task, rows, folds_of(task, rows, len(training), spec), plan, progress)
    else:
        found = search(task, training, validation, spec, spec.budget_seconds - afterwards, progress)
    if (shift, scale) != (0.0, 1.0):
        found.link.scale, found.link.shift = scale, [shift]
        found.output = found.output * scale + shift
        for entry in found.leaderboard:
            entry["loss"] *= scale
    bounds = None
    if spec.prediction_type == "regression":
        bounds = fit_bounds(found.output, training.joined(validation).target[found.positions] * scale + shift)
    manifest = Manifest(
        prediction_type=spec.prediction_type,
        target=spec.target,
        labels=target.labels,
        objective=objective,
        link=asdict(found.link),
        bounds=None if bounds is None else asdict(bounds),
        feature_importance={},
        kinds=dict(kinds),
        background=_background(matrix, spec.seed),
        seed=spec.seed,
        versions=versions(),
    )
    model = Model(manifest, transform, found.forest, spec.threads)
    manifest.feature_importance = _importance(model, validation, spec)
    progress(0.97, "measuring on the test rows")
    return TrainedModel(
        model,
        split,
        target.cells[split.test],
        target.weights[split.test],
        model.predict_table(table.take(split.test)),
        found.loss * scale,
        found.output,
        found.leaderboard,
        target.dropped,
        budget.node_seconds(),
        budget.wall(),
        budget.iterations,
        found.cut_short,
        found.dropped,
        found.plan,
    )


def _task(
    spec: TrainSpec, target: Target, objective: str, budget: Budget, should_stop: Callable[[], bool]
) -> Task:
    loss = objectives.loss_of(objective, spec)
    made = Task(objective, len(target.labels), [], loss, spec.seed, spec.threads, budget, should_stop)
    if spec.quantile is not None:
        made.quantile = spec.quantile
    return made


def _with_validation(split: Split, spec: TrainSpec) -> Split:
    """A validation set is needed to choose by: where the split has none, a tenth of the training rows are taken."""
    training, validation = split.training, split.validation
    if len(training) < 2 or len(training) + len(validation) < 10:
        raise DataError(
            f"{len(training)} rows to train on are too few; at least 10 are needed, with those to choose by",
            field="trainingFraction",
        )
    if len(validation) == 0:
        size = max(len(training) // 10, 2)
        if spec.split.kind != "timestamp":
            training = np.random.default_rng(spec.seed).permutation(training)
        training, validation = training[:-size], training[-size:]
    return replace(split, training=training, validation=validation)


def _background(matrix: Floats, seed: int) -> list[list[float | None]]:
    """Encoded training rows that stand for "the feature is not known" in explanations."""
    rows = np.random.default_rng(seed).permutation(len(matrix))[:_BACKGROUND_ROWS]
    return [[None if cell != cell else cell for cell in row] for row in matrix[rows].tolist()]


def _importance(model: Model, rows: Rows, spec: TrainSpec) -> dict[str, float]:
    """Each feature's share of the mean absolute margin contribution (TreeSHAP) over 20 to 200 rows: as many as take a
    tenth of the budget, and some seconds at most."""
    trees = model.forest.num_iterations * model.forest.num_classes
    most = min(200_000, int(5_000 * spec.budget_seconds))  # TreeSHAP takes some 20 µs per tree and row
    count = int(np.clip(most // max(trees, 1), 20, 200))
    chosen = np.random.default_rng(spec.seed).permutation(len(rows))[:count]
    contributions = np.abs(model.forest.contributions(rows.matrix[chosen])[:, :, :-1]).mean(axis=(0, 1))
    sums = [float(contributions[part].sum()) for part in model.transform.slices]
    total = sum(sums) or 1.0
    return {name: value / total for name, value in zip(model.features, sums, strict=True)}


def versions() -> dict[str, str]:
    """Of what a model is trained with."""
    from importlib.metadata import version

    return {name: version(name) for name in ("portico", "lightgbm", "catboost", "numpy", "pyarrow")}
