"""A stand-in for Google's image of the model evaluation: what ModelEvaluationClassificationOp,
ModelEvaluationRegressionOp and ModelEvaluationForecastingOp ask of it, done on the predictions of a batch job; what it
does with data before that is in `evaluation_data`.

There, a Dataflow job runs TensorFlow Model Analysis; the file of metrics has the same form, which
ModelImportEvaluationOp reads: `slicedMetrics`, of all rows first, each with the metrics of Vertex AI's schemas.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.jobs.worker import Context
from portico.services.aiplatform.pipelines.components import evaluation_data
from portico.services.aiplatform.pipelines.components.evaluation_attributions import attributions
from portico.services.registry.model_store import version_row
from portico.services.standard.names import location_of
from portico.services.standard.sources import find, gcs_of, pin, read_table

if TYPE_CHECKING:
    import numpy as np

_RESULTS = ("prediction.results-*", "predictions_*", "explanation.results-*")  # a batch job's files
_LABELS = ("prediction.classes", "prediction.displayNames")
_SCORES = ("prediction.scores", "prediction.confidences", "prediction")
_VALUES = ("prediction.value", "prediction")
_QUANTILES = ("prediction.quantile_predictions",)
_BUILT = ("classification", "regression", "forecasting")
_EXPLAINED = "explanation"  # the task of the component of feature attributions


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(f"The evaluation's arguments can't be read: {message}.")


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is compared: positions in `labels` and their scores (N, K), or values (N,) without labels; of forecasts also
    what they say of each of `quantiles` (N, quantiles), which may be none."""

    truth: np.ndarray
    output: np.ndarray
    labels: list[str] | None = None
    quantiles: list[float] | None = None
    of_quantiles: np.ndarray | None = None

    def metrics(self, rows: Any = slice(None)) -> dict[str, Any]:
        """By the name of their kind."""
        from portico.ml.measure.evaluate import evaluate_classification, evaluate_regression
        from portico.ml.measure.evaluate_forecast import evaluate_forecast

        truth, output = self.truth[rows], self.output[rows]
        if self.labels is not None:
            return {"classification": evaluate_classification(truth, output, self.labels)}
        if self.quantiles is None:
            return {"regression": evaluate_regression(truth, output)}
        spread = None if self.of_quantiles is None else self.of_quantiles[rows]
        return {"forecasting": evaluate_forecast(truth, output, None, self.quantiles, spread)}


def run(context: Context, arguments: Sequence[str], executor_input: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the file of metrics; the outputs of the component, as `outputs.read` has them.

    Raises:
        InvalidArgument, FailedPrecondition: there are no predictions, or none with a truth. Unimplemented: the image
        does something else, or in a form that is not read here.
    """
    asked = _asked(arguments)
    if asked.task in evaluation_data.TASKS:
        return evaluation_data.run(context, asked, executor_input)
    if asked.task == _EXPLAINED:
        told = attributions(_predictions(context, asked))
        shown = told["explanation"]["attributions"][0]["featureAttributions"]
        return _written(context, executor_input, "feature_attributions", told, shown)
    rows = [*_predictions(context, asked)]
    truth = [*_truth(context, asked, rows)]
    of_kind = {"classification": _classified, "regression": _valued, "forecasting": _forecast}
    measured = of_kind[asked.problem_type](asked, rows, truth)
    overall = measured.metrics()
    sliced = [
        {"singleOutputSlicingSpec": {}, "metrics": overall},
        *_of_classes(measured),
        *_of_specs(asked, rows, measured),
    ]
    context.say(f"{len(rows)} predictions are evaluated in {len(sliced) - 1} slices beside the whole.")
    [(_, numbers)] = overall.items()
    shown = {name: value for name, value in numbers.items() if isinstance(value, int | float)}
    return _written(context, executor_input, "evaluation_metrics", {"slicedMetrics": sliced}, shown)


def _written(
    context: Context, executor_input: Mapping[str, Any], name: str, told: Any, shown: dict[str, Any]
) -> dict[str, Any]:
    """Writes the file of the artifact `name`; the component's outputs."""
    [output] = executor_input["outputs"]["artifacts"][name]["artifacts"]
    with tempfile.NamedTemporaryFile("w", dir=context.folder, suffix=".json") as file:
        json.dump(told, file)
        file.flush()
        gcs_of(context).write(output["uri"], Path(file.name))
    artifact = {"name": output["name"], "uri": output["uri"], "metadata": shown}
    return {
        "parameterValues": {"gcp_resources": json.dumps({"resources": []})},  # no job of Dataflow's
        "artifacts": {name: {"artifacts": [artifact]}},
    }


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    options = _Options(allow_abbrev=False, add_help=False)
    for name in ("problem_type", "target_field_name", "classification_type", "prediction_score_column",
                 "prediction_label_column", "batch_prediction_gcs_source", "batch_prediction_bigquery_source",
                 "ground_truth_bigquery_source", "ground_truth_format", "task", "bigquery_source_uri",
                 "root_dir", "model_name", "forecasting_type"):  # fmt: skip
        options.add_argument(f"--{name}", default="")
    options.add_argument("--sample_size", default="10000")
    options.add_argument("--instances_format", default="jsonl")
    options.add_argument("--batch_prediction_format", default="jsonl")
    options.add_argument("--point_evaluation_quantile", default=0.5, type=float)
    for name in ("ground_truth_gcs_source", "class_labels", "slicing_specs", "gcs_source_uris",
                 "forecasting_quantiles"):  # fmt: skip
        options.add_argument(f"--{name}", default="[]", type=lambda text: json.loads(text or "[]"))
    asked, _ = options.parse_known_args(list(arguments))
    if asked.task in (*evaluation_data.TASKS, _EXPLAINED):
        return asked
    if asked.problem_type not in _BUILT or asked.classification_type == "multilabel":
        what = (
            asked.classification_type if asked.problem_type in _BUILT else asked.problem_type or "this task"
        )
        raise Unimplemented(
            f"Of Google's image of the model evaluation there is a stand-in for {' and '.join(_BUILT)} (of one class a "
            f"row), none for {what}."
        )
    return asked


def of_table(row: Mapping[str, Any], target: str) -> dict[str, Any]:
    """A row of a batch job's table as one of its files has it. AutoML's prediction is in `predicted_TARGET`, a model of
    one's own has it in `prediction`, as the text of its JSON."""
    made = [name for name in row if name.startswith("predicted_") or name in ("prediction", "explanation")]
    name = f"predicted_{target}" if f"predicted_{target}" in made else next(iter(made), "")
    prediction = row.get(name)
    if name == "prediction" and isinstance(prediction, str):
        with contextlib.suppress(ValueError, RecursionError):  # a word, which stands for itself
            prediction = json.loads(prediction)
    return {
        "instance": {key: value for key, value in row.items() if key not in made},
        "prediction": prediction,
        "explanation": row.get("explanation"),
    }


def _predictions(context: Context, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a batch job, {"instance", "prediction"}."""
    if asked.batch_prediction_format == "bigquery":
        target = asked.target_field_name.rpartition(".")[2]
        for row in _table(context, [asked.batch_prediction_bigquery_source], ""):
            yield of_table(row, target)
        return
    if asked.batch_prediction_format != "jsonl":
        raise Unimplemented(
            f"Predictions in {asked.batch_prediction_format} are not evaluated in Portico; let the batch job "
            "write jsonl or into BigQuery (predictions_format)."
        )
    gcs, folder = gcs_of(context), asked.batch_prediction_gcs_source.rstrip("/")
    uris = [f"{folder}/{form}" for form in _RESULTS]
    files = [row for uri in uris for row in _found(gcs, uri)]
    if not files:
        raise FailedPrecondition(
            f"There are no predictions in {folder}: no file is called {' or '.join(_RESULTS)}."
        )
    for file in files:
        with gcs.path(file).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise FailedPrecondition(f"{file.uri}, line {number}: {error}.") from None
                if not isinstance(row, dict):
                    raise FailedPrecondition(f"{file.uri}, line {number} is no object.")
                yield row


def _found(gcs: Any, uri: str) -> list[Any]:
    try:
        return find(gcs, [uri], "predictions_gcs_source")
    except InvalidArgument:
        return []


def _table(context: Context, uris: Sequence[str], form: str) -> list[dict[str, Any]]:
    gcs, holder = gcs_of(context), f"{context.job.resource}/evaluation"
    try:
        pinned = pin(gcs, uris, holder, "ground_truth")
        found: list[dict[str, Any]] = read_table(context.home, pinned, form, "ground_truth").table.to_pylist()
    finally:
        gcs.unpin(holder)
    return found


def _truth(context: Context, asked: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """What is true of each row: in its instance, or of the row with the same features in the ground truth. Those of a
    forecast are its series and its time, where the model says which columns these are: others are known later."""
    sources = (
        [asked.ground_truth_bigquery_source]
        if asked.ground_truth_bigquery_source
        else asked.ground_truth_gcs_source
    )
    field = asked.target_field_name
    if not sources:
        for row in rows:
            yield _at(row, field)
        return
    name = field.removeprefix("instance.")
    keys = _keys(context, asked)
    known = {}
    for one in _table(
        context, sources, "" if asked.ground_truth_bigquery_source else asked.ground_truth_format
    ):
        known[_features(one, name, keys)] = one.get(name)
    for row in rows:
        instance = row.get("instance")
        yield known.get(_features(instance if isinstance(instance, dict) else {}, name, keys))


def _keys(context: Context, asked: argparse.Namespace) -> set[str]:
    """The columns that tell the rows of a forecasting model apart; none of another, or where none is named."""
    if asked.problem_type != "forecasting":
        return set()
    if not asked.model_name.startswith(f"{location_of(context.job.resource)}/models/"):
        return set()
    with context.database.read() as connection:
        told = version_row(connection, asked.model_name).body.get("metadata") or {}
    return {told[key] for key in ("timeColumn", "timeSeriesIdentifierColumn") if key in told}


def _features(row: Mapping[str, Any], target: str, keys: set[str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (key, _word(value))
        for key, value in row.items()
        if (key in keys if keys else key != target) and value is not None
    )


def _classified(
    asked: argparse.Namespace, rows: Sequence[Mapping[str, Any]], truth: Sequence[Any]
) -> _Measured:
    import numpy as np

    labels = [_word(one) for one in asked.class_labels]
    label_at = [asked.prediction_label_column] if asked.prediction_label_column else _LABELS
    score_at = [asked.prediction_score_column] if asked.prediction_score_column else _SCORES
    places: dict[str, int] = {label: place for place, label in enumerate(labels)}
    scored: list[dict[int, float]] = []
    for row in rows:
        scores = next((one for path in score_at if isinstance(one := _at(row, path), list)), None)
        named = next((one for path in label_at if isinstance(one := _at(row, path), list)), labels)
        if scores is None or len(scores) != len(named):
            raise FailedPrecondition(
                f"A prediction has no scores for {len(named)} classes at {' or '.join(score_at)}: name the column of "
                "its scores (prediction_score_column), and the classes (prediction_label_column or class_labels)."
            )
        scored.append(
            {
                places.setdefault(_word(label), len(places)): float(one)
                for label, one in zip(named, scores, strict=True)
            }
        )
    positions = [places.get(_word(one), -1) for one in truth]
    _require_truth(asked, [place >= 0 for place in positions], truth)
    output = np.zeros((len(rows), len(places)))
    for number, one in enumerate(scored):
        output[number, list(one)] = list(one.values())
    return _Measured(np.array(positions), output, list(places))


def _valued(asked: argparse.Namespace, rows: Sequence[Mapping[str, Any]], truth: Sequence[Any]) -> _Measured:
    import numpy as np

    paths = [asked.prediction_score_column] if asked.prediction_score_column else _VALUES
    output = [next((n for path in paths if (n := _number(_at(row, path))) is not None), None) for row in rows]
    if None in output:
        raise FailedPrecondition(
            f"A prediction has no number at {' or '.join(paths)}: name it (prediction_score_column)."
        )
    known = [_number(one) for one in truth]
    _require_truth(asked, [one is not None for one in known], truth)
    return _Measured(np.array(known, float), np.array(output, float))


def _forecast(
    asked: argparse.Namespace, rows: Sequence[Mapping[str, Any]], truth: Sequence[Any]
) -> _Measured:
    """Of points as numbers are; of quantiles the point is the one that is named."""
    import numpy as np

    if asked.forecasting_type != "quantile":
        return replace(_valued(asked, rows, truth), quantiles=[])
    quantiles, point = [float(one) for one in asked.forecasting_quantiles], asked.point_evaluation_quantile
    if point not in quantiles:
        raise InvalidArgument(
            f"point_evaluation_quantile is {point:g}; it must be one of forecasting_quantiles, which are {quantiles}."
        )
    own = asked.prediction_score_column
    paths = _QUANTILES if own in ("", "prediction.value") else (own,)
    spread = [next((one for path in paths if isinstance(one := _at(row, path), list)), []) for row in rows]
    numbers = [[_number(one) for one in row] for row in spread]
    if any(len(row) != len(quantiles) or None in row for row in numbers):
        raise FailedPrecondition(
            f"A prediction has no {len(quantiles)} numbers at {' or '.join(paths)}, one for each of "
            "forecasting_quantiles: name their column (prediction_score_column)."
        )
    known = [_number(one) for one in truth]
    _require_truth(asked, [one is not None for one in known], truth)
    made = np.array(numbers, float)
    return _Measured(np.array(known, float), made[:, quantiles.index(point)], None, quantiles, made)


def _require_truth(asked: argparse.Namespace, fits: Sequence[bool], truth: Sequence[Any]) -> None:
    if not fits:
        raise FailedPrecondition("There are no predictions to evaluate.")
    if not all(fits):
        first = truth[list(fits).index(False)]
        raise FailedPrecondition(
            f"{len(fits) - sum(fits)} of {len(fits)} predictions have no truth at {asked.target_field_name} (the first "
            f"is {first!r}): it is a column of the instances, or of ground_truth_gcs_source with the same features."
        )


def _of_classes(measured: _Measured) -> Iterator[dict[str, Any]]:
    from portico.ml.measure.evaluate_slices import evaluate_slices

    if measured.labels is not None:
        for one in evaluate_slices(measured.truth, measured.output, labels=measured.labels):
            yield {"singleOutputSlicingSpec": one["slice"], "metrics": {"classification": one["metrics"]}}


def _of_specs(
    asked: argparse.Namespace, rows: Sequence[Mapping[str, Any]], measured: _Measured
) -> Iterator[dict[str, Any]]:
    """Slices by what SlicingSpecs say: rows in which each named feature has the value, or lies in the range, or one
    slice for each value."""
    import numpy as np

    for told in asked.slicing_specs:
        spec = json.loads(told) if isinstance(told, str) else told
        parts: list[tuple[dict[str, Any], list[str], Any]] = [({}, [], np.ones(len(rows), bool))]
        for feature, config in (spec.get("configs") or {}).items():
            cells = [_at(row, f"instance.{feature}") for row in rows]
            parts = [
                ({**configs, feature: chosen}, [*words, word], mask & own)
                for configs, words, mask in parts
                for chosen, word, own in _choices(cells, config)
            ]
        for configs, words, mask in parts:
            if mask.any():
                yield {
                    "singleOutputSlicingSpec": {
                        "dimension": "slice", "value": ", ".join(words), "slicingSpec": {"configs": configs},
                    },
                    "metrics": measured.metrics(mask),
                }  # fmt: skip


def _choices(cells: Sequence[Any], config: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    import numpy as np

    given = {key.replace("_", "").lower(): value for key, value in config.items()}
    if limits := given.get("range"):
        low, high = float(limits.get("low", "-inf")), float(limits.get("high", "inf"))
        inside = [(n := _number(cell)) is not None and low <= n < high for cell in cells]
        yield {"range": limits}, f"[{low:g}, {high:g})", np.array(inside)
        return
    if "allvalues" in given:
        wanted = sorted({_word(cell) for cell in cells if cell is not None})
    else:
        value = given.get("value") or {}
        wanted = [_word(next(iter(value.values()), "") if isinstance(value, dict) else value)]
    for word in wanted:
        yield {"value": {"stringValue": word}}, word, np.array([_word(cell) == word for cell in cells])


def _at(row: Any, path: str) -> Any:
    """What lies at a path with dots; None where there is nothing."""
    for step in path.split("."):
        if not isinstance(row, dict):
            return None
        row = row.get(step)
    return row


def _word(value: Any) -> str:
    """A label, however it is written."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool | list | dict) else float(value)
    except (TypeError, ValueError):
        return None
