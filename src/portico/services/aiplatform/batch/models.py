"""Models as a batch job asks them: many rows at once, with the answers that online prediction gives."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from portico.errors import FailedPrecondition, InvalidArgument, PorticoError
from portico.ml.errors import DataError
from portico.services.aiplatform.batch.answers import Answers, Classes, Json, Numbers, Output, Values
from portico.services.aiplatform.batch.instances import Lines, Table

if TYPE_CHECKING:
    import numpy as np

    from portico.ml.learn.model import Predictions
    from portico.prediction.models.predictors import Predictor

Instances = Lines | Table
_PLACE = re.compile(r"instances\[(\d+)\]")


class BatchModel(Protocol):
    """A loaded model. Safe for threads."""

    def answer(self, instances: Instances, explain: bool) -> Answers:
        """Predictions, and with `explain` explanations, of all rows; rows that it refuses are `bad`."""
        ...


class PorticoModel:
    """A model that Portico's own training made: columns are encoded at once, JSON rows one by one."""

    def __init__(self, path: Path) -> None:
        from portico.ml.learn.model import Model

        self._model = Model.load(path)

    def answer(self, instances: Instances, explain: bool) -> Answers:
        if isinstance(instances, Table):
            predictions = self._model.predict_table(instances.batch)
            bad = {**predictions.messages, **instances.bad}
            answers = Answers(self._output(predictions), bad)
        else:
            answers = self._rows(instances)
        if explain:
            answers.explanations = explain_good(
                lambda chosen: self._model.explain_instances(chosen), instances, answers.bad
            )
        return answers

    def _output(self, predictions: Predictions) -> Output:
        target = self._model.manifest.target
        if predictions.scores is not None:
            return Classes(target, predictions.labels, predictions.scores, predictions.threshold)
        assert (
            predictions.values is not None and predictions.lower is not None and predictions.upper is not None
        )
        return Values(target, predictions.values, predictions.lower, predictions.upper)

    def _rows(self, lines: Lines) -> Answers:
        import numpy as np

        model = self._model
        matrix = np.full((len(lines), model.transform.width), np.nan)
        bad = dict(lines.bad)
        pack = model.transform.pack_row
        for position, value in enumerate(lines.values):
            if position in bad:
                continue
            try:
                pack(value, matrix[position])
            except DataError as error:
                bad[position] = f"instances[{lines.start + position}]: {error.message}"
        made = model.output(matrix)
        output: Output
        if model.bounds is None:
            output = Classes(model.manifest.target, model.labels, made)
        else:
            lower, upper = model.bounds.around(made[:, 0])
            output = Values(model.manifest.target, made[:, 0], lower, upper)
        return Answers(output, bad)


class LightGBMModel:
    """An uploaded booster. Columns are taken by name where some have the features' names, else by order."""

    def __init__(self, path: Path, explanation: Mapping[str, Any] | None) -> None:
        from portico.ml.learn.fastbooster import FastBooster
        from portico.prediction.models.encoding import RowEncoder
        from portico.prediction.models.lightgbm_model import categories, model_file

        self._booster = FastBooster(model_file(path))
        self._encoder = RowEncoder(self._booster.feature_names, categories(self._booster))
        self._path, self._explanation = path, explanation

    @cached_property
    def _online(self) -> Predictor:
        from portico.prediction.models import predictors

        return predictors.load("lightgbm", self._path, self._explanation)

    def answer(self, instances: Instances, explain: bool) -> Answers:
        if isinstance(instances, Table):
            names = set(self._encoder.features)
            instances.as_array = instances.as_array and not names & set(instances.batch.schema.names)
            matrix, bad = self._columns(instances)
        else:
            matrix, bad = self._rows(instances)
        answers = Answers(Numbers(self._booster.predict_matrix(matrix)), bad)
        if explain:
            answers.explanations = explain_good(
                lambda chosen: self._online.explain(chosen, None), instances, bad
            )
        return answers

    def _rows(self, lines: Lines) -> tuple[np.ndarray, dict[int, str]]:
        import numpy as np

        encode, bad = self._encoder.row, dict(lines.bad)
        empty = (np.nan,) * self._booster.num_features
        rows = []
        for position, value in enumerate(lines.values):
            try:
                rows.append(empty if position in bad else encode(value, lines.start + position))
            except InvalidArgument as error:
                bad[position] = error.message
                rows.append(empty)
        return np.array(rows, np.float64).reshape(len(rows), self._booster.num_features), bad

    def _columns(self, table: Table) -> tuple[np.ndarray, dict[int, str]]:
        import numpy as np

        from portico.ml import arrays

        features, batch = self._encoder.features, table.batch
        matrix = np.full((len(table), len(features)), np.nan)
        if table.as_array and batch.num_columns != len(features):
            complaint = (
                f"The data have {batch.num_columns} columns, none of them named as a feature; the model takes "
                f"its {len(features)} features."
            )
            return matrix, dict.fromkeys(range(len(table)), complaint)
        bad, names = dict(table.bad), set(batch.schema.names)
        for position, name in enumerate(features):
            if not table.as_array and name not in names:
                continue
            column = table.cells(position if table.as_array else name)
            if self._encoder.is_number(position):
                matrix[:, position], wrong = arrays.numbers(column)
            else:
                matrix[:, position], _, wrong = arrays.distinct(column, self._reader(position), 1)
            for row in np.flatnonzero(wrong).tolist():
                number = table.start + row
                bad.setdefault(
                    row,
                    f"instances[{number}] (row {number}): the feature {name!r} is "
                    f"{str(column[row].as_py())[:40]!r}, which is not "
                    f"{'a number' if self._encoder.is_number(position) else 'a single value'}.",
                )
        return matrix, bad

    def _reader(self, position: int) -> Callable[[Any], float]:
        return lambda value: self._encoder.cell(position, value)


class AnyPredictor:
    """A model of a format that is only asked in JSON values (ONNX)."""

    def __init__(
        self, format: str, path: Path, explanation: Mapping[str, Any] | None, parameters: Any
    ) -> None:
        from portico.prediction.models import predictors

        self._predictor = predictors.load(format, path, explanation)
        self._parameters = parameters

    def answer(self, instances: Instances, explain: bool) -> Answers:
        values = instances.values
        predictions, bad = isolate(
            lambda rows: self._predictor.predict([values[row] for row in rows], self._parameters), instances
        )
        answers = Answers(Json(predictions), bad)
        if explain:
            answers.explanations = explain_good(
                lambda chosen: self._predictor.explain(chosen, self._parameters), instances, bad
            )
        return answers


class ReplicaModel:
    """A model in replica processes: each thread has a connection of its own."""

    def __init__(self, sockets: list[str], explanation: Mapping[str, Any] | None) -> None:
        from portico.prediction.replicas.shapley import Sampling

        self._sockets = sockets
        self._sampling = Sampling.from_spec(explanation) if explanation else None
        self._local = threading.local()

    def answer(self, instances: Instances, explain: bool) -> Answers:
        texts = instances.texts()
        explanations: dict[int, bytes] = {}

        def ask(rows: list[int]) -> list[Any]:
            body = b'{"instances":[' + b",".join([texts[row] for row in rows]) + b"]}"
            status, answered = self._client().predict("explain" if explain else "predict", body)
            told = orjson.loads(answered)
            if status != 200:
                raise InvalidArgument(str(told["error"]["message"]))
            predictions: list[Any] = told["predictions"]
            if len(predictions) != len(rows):
                raise FailedPrecondition(
                    f"The model gave {len(predictions)} predictions for {len(rows)} instances."
                )
            if explain:
                given = (orjson.dumps(explanation) for explanation in told["explanations"])
                explanations.update(zip(rows, given, strict=True))
            return predictions

        predictions, bad = isolate(ask, instances)
        answers = Answers(Json(predictions), bad)
        if explain:
            answers.explanations = [explanations.get(row, b"null") for row in range(len(instances))]
        return answers

    def explain(self, rows: list[Any], _parameters: Any) -> list[dict[str, Any]]:
        """As predictors explain rows.

        Raises:
            InvalidArgument: the model refuses a row.
        """
        body = orjson.dumps({"instances": [self._instance(row) for row in rows]}, default=str)
        status, answered = self._client().predict("explain", body)
        told = orjson.loads(answered)
        if status != 200:
            raise InvalidArgument(str(told["error"]["message"]))
        explanations: list[dict[str, Any]] = told["explanations"]
        return explanations

    def _instance(self, row: Any) -> Any:
        """A row by columns, as a list where the inputs of the explanation metadata are no columns."""
        sampling = self._sampling
        if sampling is None or not sampling.baselines or not isinstance(row, dict):
            return row
        inputs = {*sampling.baselines, *sampling.tensors.values()}
        if not sampling.whole and not inputs.isdisjoint(row):
            return row
        return [row.get(name) for name in sampling.features or row]

    def _client(self) -> Any:
        from portico.prediction.replicas.client import BlockingReplicaClient

        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = BlockingReplicaClient(self._sockets, self._sampling)
        return client


def isolate(ask: Callable[[list[int]], list[Any]], instances: Instances) -> tuple[list[Any], dict[int, str]]:
    """Asks for all rows that are not bad; where the model refuses, finds the rows that are the reason.

    The row that a refusal names is tried alone, else the rows are halved: n bad rows cost some n·log(rows) questions.
    """
    bad = dict(instances.bad)
    predictions: list[Any] = [None] * len(instances)
    waiting = [[row for row in range(len(instances)) if row not in bad]]
    while waiting:
        rows = waiting.pop()
        if not rows:
            continue
        try:
            for row, prediction in zip(rows, ask(rows), strict=True):
                predictions[row] = prediction
        except InvalidArgument as error:
            if len(rows) == 1:
                bad[rows[0]] = _PLACE.sub(f"instances[{instances.start + rows[0]}]", error.message)
                continue
            named = _PLACE.search(error.message)
            at = int(named[1]) if named and int(named[1]) < len(rows) else len(rows) // 2
            # The rows before the one that is named may be good or not; halving them ends in any case.
            waiting += [rows[at + 1 :], rows[:at], rows[at : at + 1]]
    return predictions, bad


def explain_good(
    explain: Callable[[list[Any]], list[dict[str, Any]]], instances: Instances, bad: dict[int, str]
) -> list[bytes]:
    """The explanation of each row as JSON; null for the bad ones. What can't be explained becomes bad."""
    values = instances.values
    texts = [b"null"] * len(values)
    good = [row for row in range(len(values)) if row not in bad]
    try:
        made = explain([values[row] for row in good]) if good else []
        for row, explanation in zip(good, made, strict=True):
            texts[row] = orjson.dumps(explanation, option=orjson.OPT_SERIALIZE_NUMPY)
    except (DataError, InvalidArgument):
        for row in good:
            try:
                texts[row] = orjson.dumps(explain([values[row]])[0], option=orjson.OPT_SERIALIZE_NUMPY)
            except (DataError, PorticoError) as error:
                bad[row] = error.message
    return texts
